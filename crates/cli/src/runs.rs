//! Without a server: which inventory what is in the journal was begun with, beside the journal.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use model::OrchestrationId;
use serde::{Deserialize, Serialize};

use crate::error::CliError;
use crate::exit::Exit;
use crate::fleet::Hosts;

const NAME: &str = "inventory.json";
/// So many orchestrations are remembered, the newest.
const KEPT: usize = 1000;

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Document {
    /// What something was begun with last.
    files: Vec<PathBuf>,
    /// That was this machine alone.
    #[serde(default, skip_serializing_if = "is_false")]
    this_machine: bool,
    #[serde(default)]
    runs: BTreeMap<OrchestrationId, Begun>,
}

/// What one was begun with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Begun {
    pub(crate) files: Vec<PathBuf>,
    /// Without files: on this machine alone.
    #[serde(default, skip_serializing_if = "is_false")]
    pub(crate) this_machine: bool,
    /// Limit groups are in no plan: they hold as configured.
    pub(crate) limits: String,
    /// Where its services are listed. Its plan has them all: this only helps to tell more of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) manifest: Option<PathBuf>,
}

impl Begun {
    /// With these hosts.
    pub(crate) fn with(hosts: &Hosts, limits: String) -> Self {
        let (files, this_machine) = match hosts {
            Hosts::ThisMachine => (Vec::new(), true),
            Hosts::Listed(files) => (files.clone(), false),
        };
        Self { files, this_machine, limits, manifest: None }
    }

    fn hosts(&self) -> Hosts {
        if self.this_machine { Hosts::ThisMachine } else { Hosts::Listed(self.files.clone()) }
    }

    fn words(&self) -> String {
        if self.this_machine { "this machine alone".to_owned() } else { list(&self.files) }
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde asks for")]
fn is_false(flag: &bool) -> bool {
    !flag
}

/// All of them.
#[derive(Clone, Debug)]
pub(crate) struct Runs {
    path: PathBuf,
    document: Arc<Mutex<Document>>,
    /// What is begun now is begun with this.
    now: Option<Begun>,
}

impl Runs {
    /// Of a state directory. What cannot be read is no reason to leave hosts as they are: then nothing is remembered.
    pub(crate) fn of(state: &Path) -> Self {
        let path = state.join(NAME);
        let read = std::fs::read(&path).ok().and_then(|text| serde_json::from_slice(&text).ok());
        Self { path, document: Arc::new(Mutex::new(read.unwrap_or_default())), now: None }
    }

    /// The hosts for a command: those of the run that it is about, else those that are given, found, or were used last.
    ///
    /// # Errors
    /// There are none; or others are given than the run was begun with, whose limit groups might be other ones (G1).
    pub(crate) fn hosts(&self, run: Option<OrchestrationId>, given: &[PathBuf], found: Vec<PathBuf>) -> Result<Hosts, CliError> {
        let document = self.document.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((id, begun)) = run.and_then(|id| Some((id, document.runs.get(&id)?))) {
            let there = begun.files.iter().all(|file| file.exists());
            if given.is_empty() || !begun.this_machine && same(given, &begun.files) {
                return Ok(begun.hosts());
            }
            if there {
                let text = format!("{id} was begun with {}, and other limit groups may stand in {}", begun.words(), list(given));
                return Err(CliError::usage(text).hint("leave -i away: what it was begun with is remembered"));
            }
            eprintln!("note: {id} was begun with {}, which is not there any more", list(&begun.files));
        }
        let usual = if given.is_empty() { found } else { given.to_vec() };
        if usual.is_empty() && document.this_machine {
            return Ok(Hosts::ThisMachine);
        }
        let files = if usual.is_empty() { document.files.clone() } else { usual };
        if files.is_empty() {
            return Err(CliError::new(Exit::Unauthorised, "there is neither a server nor an inventory")
                .hint("log in with `reveille login https://HOST:PORT`, or list the hosts in fleet.toml (or give -i FILE)"));
        }
        Ok(Hosts::Listed(files.iter().map(|file| absolute(file)).collect()))
    }

    /// Where the services of a run are listed, if it is about services.
    pub(crate) fn manifest(&self, run: OrchestrationId) -> Option<PathBuf> {
        let document = self.document.lock().unwrap_or_else(PoisonError::into_inner);
        document.runs.get(&run)?.manifest.clone()
    }

    /// Whether a run was begun with other limit groups than these.
    pub(crate) fn differs(&self, run: OrchestrationId, limits: &str) -> bool {
        let document = self.document.lock().unwrap_or_else(PoisonError::into_inner);
        document.runs.get(&run).is_some_and(|begun| begun.limits != limits)
    }

    /// From now on things are begun with this; a process that is killed right after a start leaves it behind.
    pub(crate) fn begins_with(&mut self, now: Begun) -> Result<(), CliError> {
        let mut document = self.document.lock().unwrap_or_else(PoisonError::into_inner);
        // Where an inventory was used before, it stays the usual one.
        if !now.this_machine || document.files.is_empty() {
            document.files.clone_from(&now.files);
            document.this_machine = now.this_machine;
        }
        self.now = Some(now);
        self.write(&document)
    }

    /// This one was begun.
    pub(crate) fn begun(&self, id: OrchestrationId) {
        let Some(now) = self.now.clone() else { return };
        let mut document = self.document.lock().unwrap_or_else(PoisonError::into_inner);
        document.runs.insert(id, now);
        while document.runs.len() > KEPT {
            document.runs.pop_first();
        }
        // It runs already; what was begun with last stands in the file.
        if let Err(error) = self.write(&document) {
            eprintln!("note: {error}");
        }
    }

    /// Whole, or not at all.
    fn write(&self, document: &Document) -> Result<(), CliError> {
        let draft = self.path.with_extension("json.new");
        let write = || -> std::io::Result<()> {
            let json = serde_json::to_vec_pretty(document)?;
            let mut file = std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&draft)?;
            file.write_all(&json)?;
            file.sync_all()?;
            std::fs::rename(&draft, &self.path)
        };
        write().map_err(|error| CliError::new(Exit::Failed, format!("cannot write {}: {error}", self.path.display())))
    }
}

fn absolute(file: &Path) -> PathBuf {
    std::fs::canonicalize(file).or_else(|_| std::path::absolute(file)).unwrap_or_else(|_| file.to_owned())
}

fn same(some: &[PathBuf], others: &[PathBuf]) -> bool {
    let set = |files: &[PathBuf]| files.iter().map(|file| absolute(file)).collect::<BTreeSet<_>>();
    set(some) == set(others)
}

fn list(files: &[PathBuf]) -> String {
    files.iter().map(|file| format!("-i {}", file.display())).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use std::slice::from_ref;

    use uuid::Uuid;

    use super::*;

    #[test]
    fn a_run_goes_on_under_what_it_was_begun_with_wherever_one_stands() {
        let dir = tempfile::tempdir().unwrap();
        let [prod, other] = ["prod.toml", "fleet.toml"].map(|name| absolute(dir.path()).join(name));
        std::fs::write(&prod, "").unwrap();
        std::fs::write(&other, "").unwrap();
        let run = OrchestrationId(Uuid::from_u128(1));
        let mut runs = Runs::of(dir.path());
        let listed = |file: &PathBuf| Hosts::Listed(vec![file.clone()]);
        assert_eq!(runs.hosts(None, &[], vec![]).unwrap_err().exit, Exit::Unauthorised);
        runs.begins_with(Begun::with(&listed(&prod), "a".to_owned())).unwrap();
        runs.begun(run);
        // Another process, in another folder.
        let runs = Runs::of(dir.path());
        assert_eq!(runs.hosts(Some(run), &[], vec![other.clone()]).unwrap(), listed(&prod));
        assert_eq!(runs.hosts(Some(run), from_ref(&prod), vec![]).unwrap(), listed(&prod));
        assert_eq!(runs.hosts(None, &[], vec![other.clone()]).unwrap(), listed(&other));
        assert_eq!(runs.hosts(None, &[], vec![]).unwrap(), listed(&prod));
        let error = runs.hosts(Some(run), from_ref(&other), vec![]).unwrap_err();
        assert!(error.exit == Exit::Usage && error.message.contains("prod.toml"), "{error}");
        assert!(runs.differs(run, "b") && !runs.differs(run, "a"));
        // The file was moved.
        std::fs::remove_file(&prod).unwrap();
        assert_eq!(runs.hosts(Some(run), from_ref(&other), vec![]).unwrap(), listed(&other));
    }

    #[test]
    fn a_run_on_this_machine_goes_on_without_an_inventory() {
        let dir = tempfile::tempdir().unwrap();
        let (run, other) = (OrchestrationId(Uuid::from_u128(1)), dir.path().join("fleet.toml"));
        std::fs::write(&other, "").unwrap();
        let mut runs = Runs::of(dir.path());
        let manifest = Some(dir.path().join("reveille.toml"));
        runs.begins_with(Begun { manifest: manifest.clone(), ..Begun::with(&Hosts::ThisMachine, String::new()) }).unwrap();
        runs.begun(run);
        let mut runs = Runs::of(dir.path());
        assert_eq!(runs.hosts(Some(run), &[], vec![other.clone()]).unwrap(), Hosts::ThisMachine);
        assert_eq!((runs.hosts(None, &[], vec![]).unwrap(), runs.manifest(run)), (Hosts::ThisMachine, manifest));
        assert_eq!(runs.hosts(Some(run), from_ref(&other), vec![]).unwrap_err().exit, Exit::Usage);
        // Who has an inventory has it still.
        let listed = Hosts::Listed(vec![absolute(&other)]);
        runs.begins_with(Begun::with(&listed, String::new())).unwrap();
        runs.begins_with(Begun::with(&Hosts::ThisMachine, String::new())).unwrap();
        assert_eq!(runs.hosts(None, &[], vec![]).unwrap(), listed);
    }

    #[test]
    fn old_ones_are_forgotten() {
        let dir = tempfile::tempdir().unwrap();
        let mut runs = Runs::of(dir.path());
        runs.begins_with(Begun::with(&Hosts::Listed(vec![dir.path().join("a")]), String::new())).unwrap();
        let ids: Vec<_> = (0..=KEPT as u128).map(|n| OrchestrationId(Uuid::from_u128(n))).collect();
        let full = ids[1..].iter().map(|id| (*id, runs.now.clone().unwrap())).collect();
        runs.document.lock().unwrap().runs = full;
        runs.begun(OrchestrationId(Uuid::from_u128(u128::MAX)));
        assert_eq!(Runs::of(dir.path()).document.lock().unwrap().runs.len(), KEPT);
        assert!(!runs.document.lock().unwrap().runs.contains_key(&ids[1]));
    }
}
