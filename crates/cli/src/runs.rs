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

const NAME: &str = "inventory.json";
/// So many orchestrations are remembered, the newest.
const KEPT: usize = 1000;

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Document {
    /// What something was begun with last.
    files: Vec<PathBuf>,
    #[serde(default)]
    runs: BTreeMap<OrchestrationId, Begun>,
}

/// What one was begun with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Begun {
    pub(crate) files: Vec<PathBuf>,
    /// Limit groups are in no plan: they hold as configured.
    pub(crate) limits: String,
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

    /// The files for a command: those of the run that it is about, else those that are given, found, or were used last.
    ///
    /// # Errors
    /// There are none; or others are given than the run was begun with, whose limit groups might be other ones (G1).
    pub(crate) fn files(
        &self,
        run: Option<OrchestrationId>,
        given: &[PathBuf],
        found: Vec<PathBuf>,
    ) -> Result<Vec<PathBuf>, CliError> {
        let document = self.document.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((id, begun)) = run.and_then(|id| Some((id, document.runs.get(&id)?))) {
            let there = begun.files.iter().all(|file| file.exists());
            if given.is_empty() || same(given, &begun.files) {
                return Ok(begun.files.clone());
            }
            if there {
                let text =
                    format!("{id} was begun with {}, and other limit groups may stand in {}", list(&begun.files), list(given));
                return Err(CliError::usage(text).hint("leave -i away: what it was begun with is remembered"));
            }
            eprintln!("note: {id} was begun with {}, which is not there any more", list(&begun.files));
        }
        let usual = if given.is_empty() { found } else { given.to_vec() };
        let files = if usual.is_empty() { document.files.clone() } else { usual };
        if files.is_empty() {
            return Err(CliError::new(Exit::Unauthorised, "there is neither a server nor an inventory")
                .hint("log in with `reveille login https://HOST:PORT`, or list the hosts in fleet.toml (or give -i FILE)"));
        }
        Ok(files.iter().map(|file| absolute(file)).collect())
    }

    /// Whether a run was begun with other limit groups than these.
    pub(crate) fn differs(&self, run: OrchestrationId, limits: &str) -> bool {
        let document = self.document.lock().unwrap_or_else(PoisonError::into_inner);
        document.runs.get(&run).is_some_and(|begun| begun.limits != limits)
    }

    /// From now on things are begun with this; a process that is killed right after a start leaves it behind.
    pub(crate) fn begins_with(&mut self, files: Vec<PathBuf>, limits: String) -> Result<(), CliError> {
        let mut document = self.document.lock().unwrap_or_else(PoisonError::into_inner);
        document.files.clone_from(&files);
        self.now = Some(Begun { files, limits });
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
        assert_eq!(runs.files(None, &[], vec![]).unwrap_err().exit, Exit::Unauthorised);
        runs.begins_with(vec![prod.clone()], "a".to_owned()).unwrap();
        runs.begun(run);
        // Another process, in another folder.
        let runs = Runs::of(dir.path());
        assert_eq!(runs.files(Some(run), &[], vec![other.clone()]).unwrap(), from_ref(&prod));
        assert_eq!(runs.files(Some(run), from_ref(&prod), vec![]).unwrap(), from_ref(&prod));
        assert_eq!(runs.files(None, &[], vec![other.clone()]).unwrap(), from_ref(&other));
        assert_eq!(runs.files(None, &[], vec![]).unwrap(), from_ref(&prod));
        let error = runs.files(Some(run), from_ref(&other), vec![]).unwrap_err();
        assert!(error.exit == Exit::Usage && error.message.contains("prod.toml"), "{error}");
        assert!(runs.differs(run, "b") && !runs.differs(run, "a"));
        // The file was moved.
        std::fs::remove_file(&prod).unwrap();
        assert_eq!(runs.files(Some(run), from_ref(&other), vec![]).unwrap(), [other]);
    }

    #[test]
    fn old_ones_are_forgotten() {
        let dir = tempfile::tempdir().unwrap();
        let mut runs = Runs::of(dir.path());
        runs.begins_with(vec![dir.path().join("a")], String::new()).unwrap();
        let ids: Vec<_> = (0..=KEPT as u128).map(|n| OrchestrationId(Uuid::from_u128(n))).collect();
        let full = ids[1..].iter().map(|id| (*id, runs.now.clone().unwrap())).collect();
        runs.document.lock().unwrap().runs = full;
        runs.begun(OrchestrationId(Uuid::from_u128(u128::MAX)));
        assert_eq!(Runs::of(dir.path()).document.lock().unwrap().runs.len(), KEPT);
        assert!(!runs.document.lock().unwrap().runs.contains_key(&ids[1]));
    }
}
