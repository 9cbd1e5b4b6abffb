//! `reveille-agent check`: what would keep this host from being managed, said in one place.

use crate::boot::{self, wall_is_set};
use crate::config::Config;
use crate::identity;
use crate::ledger::decode;
use crate::performer::Host;

/// What was found.
#[derive(Debug, Default)]
pub struct Findings {
    /// One line each.
    pub lines: Vec<String>,
    /// At least one line begins with `FAILED`.
    pub failed: bool,
}

impl Findings {
    fn note(&mut self, what: &str, result: Result<String, String>) {
        self.failed |= result.is_err();
        self.lines.push(match result {
            Ok(found) => format!("ok      {what}: {found}"),
            Err(why) => format!("FAILED  {what}: {why}"),
        });
    }
}

/// Looks at configuration, key, enrolment, ledger, boot and tools. Changes nothing and speaks with nobody; an agent that
/// runs meanwhile is not disturbed.
pub async fn check(config: &Config) -> Findings {
    let mut findings = Findings::default();
    let text = |e: &dyn std::error::Error| e.to_string();
    let state = &config.state_dir;
    findings.note("configuration", config.check().map(|()| "valid".to_owned()).map_err(|e| text(&e)));
    let key = identity::key(state).map(|key| format!("fingerprint {}", key.public().fingerprint()));
    findings.note("key", key.map_err(|e| text(&e)));
    let enrolment = identity::enrolment(state);
    let host = enrolment.as_ref().map(|e| e.host_id).ok();
    let enrolled = enrolment.map(|e| format!("host {}, controller at {}:{}", e.host_id, e.mqtt_host, e.mqtt_port));
    findings.note("enrolment", enrolled.map_err(|e| text(&e)));
    let ledger = match std::fs::read(state.join("ledger")) {
        Ok(bytes) => decode(&bytes).map(|d| format!("{} records", d.records.len())).map_err(|e| text(&e)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok("none yet".to_owned()),
        Err(error) => Err(text(&error)),
    };
    findings.note("ledger", ledger);
    let source = config.boot_source();
    let boot = source.read();
    findings.note("boot", boot.map(|boot| boot.to_string()).map_err(|e| text(&e)));
    let wall = boot::wall();
    if !wall_is_set(wall) {
        findings.lines.push(format!("note    clock: {wall}, so it was never set; the controller's time is used"));
    }
    // The ids of children need the host's; without enrolment the tools can be tried all the same.
    let host = host.unwrap_or(model::TargetId(uuid::Uuid::nil()));
    // Named outright, so that nothing is noted.
    let expected = config.engines.clone().unwrap_or_else(|| identity::engines(state));
    let read = Host::new(config.recipes(), host, Some(expected), state.clone(), &config.hooks_dir).reading().await;
    let engines: Vec<String> = read.engines.iter().map(ToString::to_string).collect();
    let children = match read.children {
        model::Readable::Known(_) if engines.is_empty() => Ok("none (no engine was found)".to_owned()),
        model::Readable::Known(children) => Ok(format!("{} ({})", children.len(), engines.join(", "))),
        model::Readable::Unknown(why) => Err(why),
    };
    findings.note("children", children);
    let pending = match read.pending_shutdown {
        model::Readable::Known(pending) => Ok(pending.map_or_else(|| "none".to_owned(), |p| p.kind)),
        model::Readable::Unknown(why) => Err(why),
    };
    findings.note("pending shutdown", pending);
    let inhibitors = match read.inhibitors {
        model::Readable::Known(list) => Ok(if list.is_empty() { "none".to_owned() } else { list.join("; ") }),
        model::Readable::Unknown(why) => Err(why),
    };
    findings.note("shutdown inhibitors", inhibitors);
    // Not known is no fault of this host.
    findings.lines.push(match read.reboot_required {
        model::Readable::Known(None) => "ok      reboot required: no".to_owned(),
        model::Readable::Known(Some(why)) => format!("note    reboot required: {why}"),
        model::Readable::Unknown(why) => format!("note    reboot required: not known ({why})"),
    });
    findings
}
