//! What commands said on hosts, kept below the state directory.

use std::collections::HashMap;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use crate::error::CliError;
use crate::exit::Exit;

/// One directory for one run: `HOST.out` and `HOST.err` for each host that said something, and `result.json`.
pub(super) struct Kept {
    dir: PathBuf,
    open: HashMap<(usize, bool), File>,
}

impl Kept {
    /// A new directory below `state`, named after the time.
    pub(super) fn new(state: &Path) -> Result<Self, CliError> {
        let time: String = agent::boot::wall().to_string().chars().filter(|c| !matches!(c, '-' | ':')).collect();
        let runs = state.join("runs");
        let dir = runs.join(format!("{}-{}", time.replace('.', "-"), std::process::id()));
        let made =
            DirBuilder::new().recursive(true).mode(0o700).create(&runs).and_then(|()| DirBuilder::new().mode(0o700).create(&dir));
        made.map_err(|error| trouble(&dir, &error).hint("nothing was begun; give another place with --state-dir"))?;
        Ok(Self { dir, open: HashMap::new() })
    }

    /// What it was made for did not begin.
    pub(super) fn discard(self) {
        // An empty directory that stays is in nobody's way.
        drop(std::fs::remove_dir(&self.dir));
    }

    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Keeps a line of a host; `name` is a host's, so no path.
    pub(super) fn line(&mut self, host: usize, name: &str, error: bool, line: &str) -> Result<(), CliError> {
        let path = self.dir.join(format!("{name}.{}", if error { "err" } else { "out" }));
        let wrong = |error: io::Error| trouble(&path, &error);
        let file = match self.open.entry((host, error)) {
            std::collections::hash_map::Entry::Occupied(open) => open.into_mut(),
            std::collections::hash_map::Entry::Vacant(place) => place.insert(create(&path).map_err(wrong)?),
        };
        file.write_all(format!("{line}\n").as_bytes()).map_err(wrong)
    }

    /// Nothing more comes of a host.
    pub(super) fn end(&mut self, host: usize) {
        self.open.remove(&(host, false));
        self.open.remove(&(host, true));
    }

    /// Keeps how it ended.
    pub(super) fn result(&self, document: &impl serde::Serialize) -> Result<(), CliError> {
        let path = self.dir.join("result.json");
        let json = serde_json::to_vec_pretty(document).map_err(io::Error::from);
        let written = json.and_then(|json| create(&path)?.write_all(&json));
        written.map_err(|error| trouble(&path, &error))
    }
}

fn create(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).mode(0o600).open(path)
}

fn trouble(path: &Path, error: &io::Error) -> CliError {
    CliError::new(Exit::Failed, format!("cannot keep output in {}: {error}", path.display()))
        .hint("give another place with --state-dir")
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn each_host_has_its_own_files_that_only_the_owner_reads() {
        let state = tempfile::tempdir().unwrap();
        let mut kept = Kept::new(state.path()).unwrap();
        kept.line(0, "web1", false, "one").unwrap();
        kept.line(0, "web1", false, "two").unwrap();
        kept.line(0, "web1", true, "oh").unwrap();
        kept.end(0);
        kept.result(&serde_json::json!({})).unwrap();
        let read = |name: &str| std::fs::read_to_string(kept.dir().join(name)).unwrap();
        assert_eq!((read("web1.out").as_str(), read("web1.err").as_str()), ("one\ntwo\n", "oh\n"));
        assert_eq!(std::fs::metadata(kept.dir()).unwrap().permissions().mode() & 0o777, 0o700);
    }
}
