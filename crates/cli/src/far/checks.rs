//! The configured checks, asked by this process: on hosts over SSH, and from here.

use std::collections::BTreeSet;
use std::sync::Arc;

use futures_util::{StreamExt as _, stream};
use inventory::{Host, Inventory};
use model::{
    Action, Check, CheckResult, Command, CommandId, Direction, Fence, Millis, Observed, OrchestrationId, Place, Site, TargetId,
    Vars,
};
use reach::own::OwnSite;
use reach::ssh::{self, Access, Destination, Performer};
use tokio::sync::mpsc;
use tokio::time::Instant;
use uuid::Uuid;

use crate::error::CliError;
use crate::exit::Exit;
use crate::results::Given;

/// So many hosts are asked at once.
const AT_ONCE: usize = 32;
/// A host has so long to answer, beside the limits of its checks: one try, since whoever waits asks again.
const WAY: Millis = Millis::secs(15);

/// What one host is asked.
#[derive(Clone)]
pub(super) struct Asked<'a> {
    pub(super) name: &'a str,
    pub(super) host: &'a Host,
    pub(super) checks: Vec<Check>,
}

/// The checks of each host, filled in. Names that are not configured, and a host that lacks a label, are errors; so is nothing to
/// ask, since nothing would be shown by it.
pub(super) fn planned<'a>(
    inventory: &'a Inventory,
    hosts: &[(&'a str, &'a Host)],
    names: Option<&[String]>,
) -> Result<Vec<Asked<'a>>, CliError> {
    let rules = &inventory.config.checks;
    let known = || rules.keys().cloned().collect::<Vec<_>>().join(", ");
    if rules.is_empty() {
        return Err(CliError::usage("no check is configured").hint("write [check.NAME] tables into fleet.toml"));
    }
    if let Some(unknown) = names.into_iter().flatten().find(|name| !rules.contains_key(*name)) {
        return Err(CliError::usage(format!("no check is called {unknown:?}")).hint(format!("known are: {}", known())));
    }
    let wanted: Option<BTreeSet<&str>> = names.map(|names| names.iter().map(String::as_str).collect());
    let mut all = Vec::new();
    for (name, host) in hosts {
        let id = TargetId::of_ssh(name);
        let vars = vars(name, host);
        let mut checks = Vec::new();
        for (check, rule) in
            rules.iter().filter(|(check, _)| wanted.as_ref().is_none_or(|wanted| wanted.contains(check.as_str())))
        {
            if rule.on.matches(id, name, &host.labels) {
                let filled = rule.check(check).filled(&vars);
                checks.push(filled.map_err(|error| CliError::usage(format!("check {check} for {name}: {error}")))?);
            }
        }
        if !checks.is_empty() {
            all.push(Asked { name, host, checks });
        }
    }
    if all.is_empty() {
        let text = "none of these checks is for any of these hosts: nothing would be shown";
        return Err(CliError::new(Exit::NotFound, text).hint(format!("configured are: {}; their `on` says for whom", known())));
    }
    Ok(all)
}

/// What `{…}` stands for.
pub(super) fn vars(name: &str, host: &Host) -> Vars {
    let labels = host.labels.iter().map(|(key, value)| (format!("label.{key}"), value.clone()));
    let own = [("name", name), ("address", host.address.host.as_str())].map(|(key, value)| (key.to_owned(), value.to_owned()));
    own.into_iter().chain(labels).collect()
}

/// Asks.
pub(super) struct Asker {
    performer: Performer,
    own: OwnSite,
}

impl Asker {
    /// Over SSH with this access.
    pub(super) fn new(access: Arc<Access>) -> Result<Self, CliError> {
        Ok(Self { performer: Performer::new(access), own: own_site()? })
    }

    /// Every check of every host, in their order. What could not be asked, or not until then, has not passed (G5).
    pub(super) async fn ask(&self, asked: &[Asked<'_>], until: Option<Instant>) -> Vec<Given> {
        let hosts = asked.iter().map(|asked| async move {
            let Some(until) = until else { return self.host(asked).await };
            let late = |check: &Check| Given {
                host: asked.name.to_owned(),
                result: failed(check, "no answer before the time was over"),
            };
            let answered = tokio::time::timeout_at(until, self.host(asked)).await;
            answered.unwrap_or_else(|_| asked.checks.iter().map(late).collect())
        });
        let given: Vec<Vec<Given>> = stream::iter(hosts).buffered(AT_ONCE).collect().await;
        given.into_iter().flatten().collect()
    }

    async fn host(&self, asked: &Asked<'_>) -> Vec<Given> {
        let (far, near): (Vec<Check>, Vec<Check>) = asked.checks.iter().cloned().partition(|check| check.site() == Site::Target);
        let (far, near) = tokio::join!(self.over_ssh(asked, &far), self.own.check(&near));
        let results: Vec<CheckResult> = far.into_iter().chain(near).collect();
        let of = |check: &Check| {
            let result = results.iter().find(|result| result.name == check.name).cloned();
            let result = result.unwrap_or_else(|| failed(check, "it was not answered"));
            Given { host: asked.name.to_owned(), result }
        };
        asked.checks.iter().map(of).collect()
    }

    async fn over_ssh(&self, asked: &Asked<'_>, checks: &[Check]) -> Vec<CheckResult> {
        if checks.is_empty() {
            return Vec::new();
        }
        let all = |why: &str| checks.iter().map(|check| failed(check, why)).collect();
        let address = asked.host.address.to_string();
        let at: Destination = match address.parse() {
            Ok(at) => at,
            Err(error) => return all(&format!("{error}")),
        };
        let id = TargetId::of_ssh(asked.name);
        let limit = checks.iter().fold(WAY, |sum, check| Millis(sum.0.saturating_add(check.limit.0)));
        let command = command(id, checks, limit);
        let (say, mut heard) = mpsc::channel(8);
        let host = ssh::Host { id, at };
        let performing = self.performer.perform(&host, &command, say);
        let hearing = async {
            let mut last = None;
            while let Some(ack) = heard.recv().await {
                last = Some(ack);
            }
            last
        };
        let both = async { tokio::join!(performing, hearing).1 };
        let Ok(last) = tokio::time::timeout(limit.duration(), both).await else {
            return all(&format!("the host did not answer within {limit}"));
        };
        match last {
            Some(model::Ack { observed: Some(Observed::Checks(results)), .. }) => results,
            Some(model::Ack { error: Some(error), .. }) => all(&error.message),
            _ => all("the host did not answer"),
        }
    }
}

/// Where checks and drains that need nobody on a host are performed.
pub(crate) fn own_site() -> Result<OwnSite, CliError> {
    let boot = agent::boot::BootSource::Kernel("/proc".into()).read();
    let boot = boot.map_err(|error| CliError::new(Exit::Failed, format!("this machine's boot cannot be read: {error}")))?;
    Ok(OwnSite::new(reach::own::Settings { boot, roots_pem: Vec::new() }))
}

fn failed(check: &Check, why: &str) -> CheckResult {
    CheckResult { name: check.name.clone(), passed: false, detail: why.chars().take(1000).collect() }
}

/// A question of nobody's orchestration.
fn command(host: TargetId, checks: &[Check], limit: Millis) -> Command {
    let orchestration = OrchestrationId(Uuid::nil());
    let place = Place { track: 0, step: 0, direction: Direction::Do };
    let now = agent::boot::wall();
    Command {
        id: CommandId::of(orchestration, place, host, 1),
        target: host,
        subject: host,
        action: Action::Check { checks: checks.to_vec() },
        orchestration,
        attempt: 1,
        fence: Fence::default(),
        issued_at: now,
        expires_at: now + limit,
    }
}

#[cfg(test)]
mod tests {
    use inventory::Source;

    use super::*;
    use crate::fleet;

    const FLEET: &str = include_str!("checks-sample.toml");

    fn planned_for(words: &[&str], names: Option<&[&str]>) -> Result<Vec<(String, Vec<String>)>, CliError> {
        let inventory = inventory::read(&[Source { name: "fleet.toml".to_owned(), text: FLEET.to_owned() }]).unwrap();
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        let names: Option<Vec<String>> = names.map(|names| names.iter().map(|name| (*name).to_owned()).collect());
        let hosts = fleet::select(&inventory, &words).unwrap();
        let asked = planned(&inventory, &hosts, names.as_deref())?;
        let checks = |asked: &Asked<'_>| asked.checks.iter().map(|check| format!("{:?}", check.kind)).collect();
        Ok(asked.iter().map(|asked| (asked.name.to_owned(), checks(asked))).collect())
    }

    #[test]
    fn s2_13_checks_are_chosen_by_name_and_only_for_whom_they_are() {
        let api = planned_for(&["*"], Some(&["api"])).unwrap();
        assert_eq!(api.len(), 1);
        assert!(api[0].1[0].contains("http://10.0.0.1:8080/web1"), "{api:?}");
        assert_eq!(planned_for(&["web1"], None).unwrap()[0].1.len(), 2);
    }

    #[test]
    fn what_would_show_nothing_is_an_error() {
        assert!(planned_for(&["*"], Some(&["nope"])).unwrap_err().hint.unwrap().contains("api, lost, ssh"));
        assert_eq!(planned_for(&["db1"], Some(&["api"])).unwrap_err().exit, Exit::NotFound);
        assert!(planned_for(&["db1"], None).unwrap_err().message.contains("label.port"));
    }
}
