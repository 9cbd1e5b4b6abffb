//! A new tree where a service runs from, and the old one back (S3-14, ruling 12). How it is done is told in `deploy.sh`.
//!
//! What a service writes into its tree between a deploy and its restart, into files that were not there at the deploy, stays in
//! the old tree; files that are excluded or kept are the same ones in both.

use model::{Deploy, ErrorCode, Millis, OrchestrationId};

use super::backup::Once;
use super::look::Looked;
use super::said::{Said, script as sh};
use super::{Afterwards, Places};
use crate::drain::Trouble;
use crate::{Output, Script, Verdict};

const DEPLOY: &str = concat!(include_str!("put.sh"), include_str!("above.sh"), include_str!("deploy.sh"));

/// Whether nothing in it leads elsewhere than it says: the performer asks, too, whoever has asked before.
pub(super) fn check(deploy: &Deploy) -> Result<(), Trouble> {
    deploy.check().map_err(|why| Trouble::new(ErrorCode::Malformed, why))
}

/// Without what makes two texts of one path.
pub(super) fn trimmed(path: &str) -> String {
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
    format!("/{}", parts.join("/"))
}

pub(super) fn script(
    places: &Places,
    unit: &str,
    key: OrchestrationId,
    deploy: &Deploy,
    limit: Millis,
    looked: Looked,
) -> Script<Verdict> {
    // A unit file of a package is not replaced: one in our folder counts before it.
    let fragment = looked.unit.fragment;
    let own = fragment.rsplit_once('/').is_some_and(|(folder, _)| folder == places.units);
    let target = if own { fragment } else { format!("{}/{unit}", places.units) };
    begin(unit, "deploy", key, deploy, &target, limit)
}

pub(super) fn revert(unit: &str, key: OrchestrationId, deploy: &Deploy, limit: Millis) -> Script<Verdict> {
    begin(unit, "revert", key, deploy, "", limit)
}

fn begin(unit: &str, verb: &str, key: OrchestrationId, deploy: &Deploy, target: &str, limit: Millis) -> Script<Verdict> {
    let (source, destination) = (trimmed(&deploy.source), trimmed(&deploy.destination));
    let (key, patterns) = (key.to_string(), deploy.exclude.len().to_string());
    let file = deploy.unit_file.as_deref().unwrap_or_default();
    let first = [verb, &key, &source, &destination, file, target, &patterns];
    let keep: Vec<String> = deploy.keep.iter().map(|path| trimmed(path).trim_start_matches('/').to_owned()).collect();
    let more = deploy.exclude.iter().chain(&keep).map(String::as_str);
    Script::new(Once {
        run: Some(sh(DEPLOY, first.into_iter().chain(more), limit)),
        afterwards: Afterwards::new(unit),
        seen: None,
        read: Box::new(read),
    })
}

fn read(output: &Output) -> Result<(bool, Vec<String>), Trouble> {
    let said = Said::read("deploy", output)?;
    let words = || format!("deploy: {}", output.words());
    let code = match said.word.as_str() {
        "done" | "none" => return Ok((said.yes("changed")?, said.notes)),
        "missing" => ErrorCode::NotFound,
        "toolless" | "mounted" => ErrorCode::Unsupported,
        "foreign" | "reverted" | "busy" | "unsafe" => ErrorCode::Refused,
        "failed" => ErrorCode::ToolFailed,
        word => return Err(Trouble::unread(format!("the deploy ended as {word:?}"))),
    };
    Err(Trouble::new(code, words()))
}

#[cfg(test)]
mod tests;
