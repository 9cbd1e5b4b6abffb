//! The unit file and its drop-ins, copied beside them (S3-12, S3-13).
//!
//! `UNIT.backup` is the copy of the unit file, `UNIT.d.backup` that of its drop-ins, and `UNIT.backup.of` says whose it is. What
//! an earlier run or a person left there is kept as `….previous`, unless it holds the same. Where the unit file was replaced and the unit was not started since, the
//! copy is that of the file before: see [`replaced_unit`].

use model::{ErrorCode, InvocationId, Millis, OrchestrationId, ServiceSeen};

use super::look::Looked;
use super::said::{Said, script as sh};
use super::{Afterwards, Places, completed, failed, over};
use crate::drain::Trouble;
use crate::{Next, Output, Script, Steps, Verdict};

const BACKUP: &str = concat!(include_str!("put.sh"), include_str!("backup.sh"));
const LIMIT: Millis = Millis(60_000);

/// Where a unit file is kept when another takes its place while this run of its unit goes on. A rollback comes back to it as
/// long as that run is the present one: after another start, by whomever, it is of no more use.
#[must_use]
pub fn replaced_unit(unit_file: &str, run: InvocationId) -> String {
    format!("{unit_file}.replaced.{run}")
}

pub(super) fn script(places: &Places, unit: &str, key: OrchestrationId, looked: Looked) -> Script<Verdict> {
    if looked.unit.fragment.is_empty() {
        let why = format!("{unit} has no unit file ({}): there is nothing to back up", looked.unit);
        return failed(Trouble::new(ErrorCode::NotFound, why));
    }
    // Drop-ins of packages and of whole kinds of units are not changed by us.
    let own = format!("{}/{unit}.d/", places.units);
    let elsewhere: Vec<String> = looked.drop_ins.iter().filter(|path| !path.starts_with(&own)).cloned().collect();
    let (file, present) = (&looked.unit.fragment, looked.unit.invocation);
    // A file of a package is not put back, so that nothing takes its place either.
    let put_back = file.rsplit_once('/').is_some_and(|(folder, _)| folder == places.units);
    let replaced = present.filter(|_| put_back).map_or_else(String::new, |run| replaced_unit(file, run));
    let run = sh(BACKUP, [&key.to_string(), unit, file, &places.units, &replaced], LIMIT);
    Script::new(Once {
        run: Some(run),
        afterwards: Afterwards::new(unit),
        seen: None,
        read: Box::new(move |output| {
            let said = Said::read("backup", output)?;
            match said.word.as_str() {
                "done" | "same" => {
                    let mut notes = said.notes;
                    if !elsewhere.is_empty() {
                        notes.push(format!("not copied, as they lie elsewhere: {}", elsewhere.join(" ")));
                    }
                    Ok((true, notes))
                }
                "failed" | "damaged" => Err(Trouble::new(ErrorCode::ToolFailed, format!("backup: {}", output.words()))),
                word => Err(Trouble::unread(format!("the backup ended as {word:?}"))),
            }
        }),
    })
}

/// Whether it changed something, and what is told.
type Read = Box<dyn Fn(&Output) -> Result<(bool, Vec<String>), Trouble> + Send>;

/// One script on the host, and a look after it.
pub(super) struct Once {
    pub(super) run: Option<crate::Invocation>,
    pub(super) afterwards: Afterwards,
    pub(super) seen: Option<(bool, Vec<String>)>,
    pub(super) read: Read,
}

impl Steps<Verdict> for Once {
    fn next(&mut self, last: Option<&Output>, elapsed: Millis) -> Next<Verdict> {
        if let Some(run) = self.run.take() {
            return Next::Run(run);
        }
        let mut last = last;
        if self.seen.is_none() {
            let Some(output) = last.take() else { return over(Trouble::unread("no answer was brought")) };
            match (self.read)(output) {
                Ok(seen) => self.seen = Some(seen),
                Err(trouble) => return over(trouble),
            }
        }
        match self.afterwards.next(last, elapsed) {
            Err(next) => next,
            Ok(unit) => {
                let (changed, notes) = self.seen.clone().unwrap_or_default();
                Next::Done(completed(ServiceSeen { changed, detail: notes.join("; "), ..ServiceSeen::of(unit) }, false))
            }
        }
    }
}

#[cfg(test)]
mod tests;
