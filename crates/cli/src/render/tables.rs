//! Lists as tables without lines, so that they can be cut into columns by other tools.

use comfy_table::{ContentArrangement, Table, presets};
use model::Timestamp;
use protocol::rest::access::{AuditPage, TokenList};
use protocol::rest::hosts::{Host, HostList};
use protocol::rest::orchestrations::OrchestrationList;

use crate::again;

pub(super) fn table(head: &[&str], rows: impl Iterator<Item = Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled).set_header(head.to_vec());
    for row in rows {
        table.add_row(row);
    }
    table.lines().fold(String::new(), |text, line| format!("{text}{}\n", line.trim()))
}

fn maybe(at: Option<Timestamp>) -> String {
    at.map_or_else(|| "-".to_owned(), super::time)
}

/// Hosts with their children, and what needs a person.
pub(crate) fn hosts(list: &HostList) -> String {
    if list.hosts.is_empty() {
        return "No hosts yet. Make a token with `reveille enrol-token NAME` and enrol one.\n".to_owned();
    }
    let rows = list.hosts.iter().map(|host| {
        let up = host.children.iter().filter(|child| child.status.is_up()).count();
        let children = match &host.children_unknown {
            Some(_) => "?".to_owned(),
            None => format!("{up}/{}", host.children.len()),
        };
        vec![host.name.clone(), state(host), children, maybe(host.last_heard), labels(host), host.id.to_string()]
    });
    let mut text = table(&["NAME", "STATE", "CHILDREN UP", "LAST HEARD", "LABELS", "ID"], rows);
    for host in &list.hosts {
        if let Some(id) = host.active_orchestration {
            text.push_str(&format!(
                "\n{}: orchestration {id} is active; follow it with `{}`\n",
                host.name,
                again::command(&format!("watch {id}"))
            ));
        }
        if !host.approved {
            text.push_str(&format!("\n{}: waits for approval; see `reveille approve {}`\n", host.name, host.name));
        }
        for alarm in &host.alarms {
            let back = alarm.ended_at.map(|at| format!(" (back since {})", super::time(at))).unwrap_or_default();
            let since = super::time(alarm.since);
            let how = format!("see to it, then `{}`", again::command(&format!("acknowledge {}", host.name)));
            text.push_str(&format!("\n! {} stranded since {since}{back}: {}\n  {how}\n", alarm.name, alarm.reason));
        }
    }
    text
}

fn state(host: &Host) -> String {
    match (&host.stranded, host.approved) {
        (Some(_), _) => format!("stranded, {}", host.state),
        (None, false) => "not approved".to_owned(),
        (None, true) => host.state.to_string(),
    }
}

fn labels(host: &Host) -> String {
    let labels: Vec<String> = host.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
    if labels.is_empty() { "-".to_owned() } else { labels.join(",") }
}

/// Orchestrations, the newest first.
pub(crate) fn orchestrations(list: &OrchestrationList) -> String {
    if list.orchestrations.is_empty() {
        return "No orchestrations.\n".to_owned();
    }
    let rows = list.orchestrations.iter().map(|one| {
        let state = match (&one.outcome, &one.services) {
            (Some(outcome), _) => outcome.to_string(),
            (None, Some(progress)) => super::services::state(progress),
            (None, None) => super::words(&one.status),
        };
        vec![
            super::time(one.initiated_at),
            one.host_name.clone(),
            one.operation.to_string(),
            state,
            one.initiated_by.clone(),
            one.id.to_string(),
        ]
    });
    table(&["STARTED", "HOST", "OPERATION", "STATE", "BY", "ID"], rows)
}

/// The audit log.
pub(crate) fn audit(page: &AuditPage) -> String {
    let rows = page.entries.iter().map(|entry| {
        let mark = if entry.success { "" } else { "!" };
        vec![super::time(entry.at), entry.actor.clone(), format!("{mark}{}", entry.action), entry.detail.clone()]
    });
    let text = table(&["TIME", "BY", "ACTION", "WHAT"], rows);
    match page.next {
        Some(next) => format!("{text}\nRead on with `reveille audit --before {next}`\n"),
        None => text,
    }
}

/// API tokens.
pub(crate) fn tokens(list: &TokenList) -> String {
    let rows = list.tokens.iter().map(|token| {
        let role = if token.may_force { format!("{}+force", token.role) } else { token.role.clone() };
        vec![
            token.id.to_string(),
            token.user.clone(),
            token.name.clone().unwrap_or_else(|| "(session)".to_owned()),
            role,
            token.scope.clone(),
            super::time(token.expires_at),
            maybe(token.last_used_at),
        ]
    });
    table(&["ID", "USER", "NAME", "ROLE", "SCOPE", "ENDS", "LAST USED"], rows)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::samples;

    #[test]
    fn hosts_show_what_needs_a_person() {
        let mut new = samples::host();
        (new.name, new.approved, new.children, new.last_heard) = ("shop-02".to_owned(), false, Vec::new(), None);
        new.children_unknown = Some("not heard".to_owned());
        new.alarms = Vec::new();
        new.labels.clear();
        insta::assert_snapshot!(hosts(&HostList { hosts: vec![samples::host(), new] }));
        insta::assert_snapshot!(hosts(&HostList { hosts: Vec::new() }));
    }

    #[test]
    fn orchestrations_are_listed_with_their_outcome() {
        let one = samples::orchestration(None).summary;
        let other = samples::orchestration(Some(protocol::rest::orchestrations::Outcome::Partial)).summary;
        insta::assert_snapshot!(orchestrations(&OrchestrationList { orchestrations: vec![one, other], next: None }));
    }

    #[test]
    fn the_audit_log_marks_refusals_and_says_how_to_read_on() {
        insta::assert_snapshot!(audit(&samples::audit()));
    }

    #[test]
    fn tokens_are_listed_without_secrets() {
        insta::assert_snapshot!(tokens(&samples::tokens()));
    }
}
