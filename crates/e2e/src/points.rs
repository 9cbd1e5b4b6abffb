//! Points at which a program of the product stops, in builds that ask for them: files in the directory where it keeps its state.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;

use crate::wait;

/// The points of one program.
#[derive(Debug, Clone)]
pub struct Points {
    state: PathBuf,
}

impl Points {
    /// Those of a program with this state directory.
    #[must_use]
    pub fn of(state: &Path) -> Self {
        Self { state: state.to_owned() }
    }

    /// From now on it stops at `point` when it comes to `what`: empty, or the name of a kind of entry, and its number or words of it.
    ///
    /// # Errors
    ///
    /// When the file cannot be written.
    pub fn set(&self, point: &str, what: &str) -> anyhow::Result<()> {
        // Renamed into place: an empty file would stop every turn.
        let fresh = self.state.join("pause.new");
        std::fs::write(&fresh, what)?;
        Ok(std::fs::rename(fresh, self.state.join(format!("pause-{point}")))?)
    }

    /// Whether it stands there.
    #[must_use]
    pub fn reached(&self, point: &str) -> bool {
        self.state.join(format!("paused-{point}")).exists()
    }

    /// Waits until it stands there.
    ///
    /// # Errors
    ///
    /// When it does not get there.
    pub fn wait(&self, point: &str, limit: Duration) -> anyhow::Result<()> {
        wait::until_true(&format!("a stop at {point}"), limit, || Ok(self.reached(point)))
    }

    /// Ends [`Points::set`].
    ///
    /// # Errors
    ///
    /// When a file cannot be removed.
    pub fn clear(&self, point: &str) -> anyhow::Result<()> {
        for name in [format!("pause-{point}"), format!("paused-{point}")] {
            let path = self.state.join(name);
            match std::fs::remove_file(&path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(error).with_context(|| path.display().to_string());
                }
                _ => {}
            }
        }
        Ok(())
    }
}
