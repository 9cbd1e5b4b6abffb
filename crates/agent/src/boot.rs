//! The identity of the present boot, and the clocks.

use std::path::{Path, PathBuf};

use model::{BootIdentity, Millis, Timestamp};
use recipe::boot::{BootError, of_kernel, of_sandbox};
use serde::{Deserialize, Serialize};

use crate::files;
use crate::machine::Clock;

/// A wall clock before this was never set: 2024-01-01.
const CLOCK_SET_SINCE: Timestamp = Timestamp::from_millis(1_704_067_200_000);
/// The unit of field 22 of `/proc/1/stat`: the kernel shows 100 per second on every architecture that this runs on.
const TICK_MS: u64 = 10;
/// Where a sandbox host keeps the begin of its present boot.
const SANDBOX_BOOT: &str = "sandbox-boot.json";

/// Where the boot identity is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BootSource {
    /// From the kernel, below this folder: `/proc`.
    Kernel(PathBuf),
    /// From the file in which a sandbox host (for demonstrations only) shows it.
    Sandbox(PathBuf),
}

/// Why the boot cannot be told. Nothing can be proven then, so the agent does not run.
#[derive(Debug, thiserror::Error)]
pub enum BootReadError {
    /// A file.
    #[error("cannot read {path}: {source}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// What is in it.
    #[error(transparent)]
    Boot(#[from] BootError),
}

impl BootSource {
    /// Reads it.
    ///
    /// # Errors
    /// [`BootReadError`].
    pub fn read(&self) -> Result<BootIdentity, BootReadError> {
        let read = |path: PathBuf| std::fs::read_to_string(&path).map_err(|source| BootReadError::File { path, source });
        match self {
            Self::Kernel(proc) => {
                let below = |path: &str| proc.join(path.trim_start_matches("/proc/"));
                let boot_id = read(below(recipe::boot::BOOT_ID_PATH))?;
                Ok(of_kernel(&boot_id, &read(below(recipe::boot::STAT_PATH))?)?)
            }
            Self::Sandbox(file) => Ok(of_sandbox(&read(file.clone())?)?),
        }
    }
}

/// The clocks of this boot.
#[derive(Clone, Copy, Debug)]
pub struct Clocks {
    /// The machine's clock since boot when *this host's* boot began: not the same in a container.
    origin: Millis,
}

#[derive(Serialize, Deserialize)]
struct SandboxBoot {
    boot: BootIdentity,
    origin: Millis,
}

impl Clocks {
    /// For a boot that was just read. A sandbox host notes the begin of its boot in `state`, since no kernel does.
    ///
    /// # Errors
    /// That note cannot be written.
    pub fn new(source: &BootSource, boot: BootIdentity, state: &Path) -> Result<Self, files::FileError> {
        let origin = match source {
            BootSource::Kernel(_) => Millis(boot.init_start_ticks().saturating_mul(TICK_MS)),
            BootSource::Sandbox(_) => {
                let path = state.join(SANDBOX_BOOT);
                let noted: Option<SandboxBoot> = files::read_json(&path).ok();
                match noted.filter(|noted| noted.boot == boot && noted.origin <= since_machine_boot()) {
                    Some(noted) => noted.origin,
                    None => {
                        let noted = SandboxBoot { boot, origin: since_machine_boot() };
                        files::write_json(&path, &noted)?;
                        noted.origin
                    }
                }
            }
        };
        Ok(Self { origin })
    }

    /// All clocks, now.
    pub fn now(&self) -> Clock {
        let wall = wall();
        let boottime = Millis(since_machine_boot().0.saturating_sub(self.origin.0));
        Clock { wall, wall_is_set: wall_is_set(wall), boottime }
    }
}

/// Whether a wall clock that shows this was ever set; a board without a battery begins in 1970.
pub fn wall_is_set(wall: Timestamp) -> bool {
    wall >= CLOCK_SET_SINCE
}

/// The wall clock.
pub fn wall() -> Timestamp {
    let ms = |d: std::time::Duration| i64::try_from(d.as_millis()).unwrap_or(i64::MAX);
    Timestamp::from_millis(match std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH) {
        Ok(since) => ms(since),
        Err(before) => -ms(before.duration()),
    })
}

fn since_machine_boot() -> Millis {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    let (seconds, nanos) = (u64::try_from(now.tv_sec).unwrap_or(0), u64::try_from(now.tv_nsec).unwrap_or(0));
    Millis(seconds.saturating_mul(1000).saturating_add(nanos / 1_000_000))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_boot_is_read_below_a_folder_and_nothing_broken_is_a_boot() {
        let folder = tempfile::tempdir().unwrap();
        let source = BootSource::Kernel(folder.path().to_owned());
        assert!(matches!(source.read(), Err(BootReadError::File { .. })));
        std::fs::create_dir_all(folder.path().join("sys/kernel/random")).unwrap();
        std::fs::create_dir_all(folder.path().join("1")).unwrap();
        std::fs::write(folder.path().join("sys/kernel/random/boot_id"), "0d4f3a52-5c1d-4a39-8ad5-5e0f5f1f9a11\n").unwrap();
        std::fs::copy("/proc/1/stat", folder.path().join("1/stat")).unwrap();
        assert_eq!(source.read().unwrap().boot_id().to_string(), "0d4f3a52-5c1d-4a39-8ad5-5e0f5f1f9a11");
        std::fs::write(folder.path().join("sys/kernel/random/boot_id"), "").unwrap();
        assert!(matches!(source.read(), Err(BootReadError::Boot(_))));
    }

    #[test]
    fn this_machine_has_a_boot_and_its_clock_began_with_it() {
        let (source, folder) = (BootSource::Kernel("/proc".into()), tempfile::tempdir().unwrap());
        let clocks = Clocks::new(&source, source.read().unwrap(), folder.path()).unwrap();
        let (first, second) = (clocks.now(), clocks.now());
        assert!(first.wall_is_set && first.boottime <= second.boottime);
        assert!(second.boottime <= since_machine_boot());
    }

    #[test]
    fn the_clock_of_a_sandbox_goes_on_over_agents_and_begins_anew_with_each_boot() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("boot_id");
        let source = BootSource::Sandbox(file.clone());
        let note = |boot: &str, origin: u64| {
            std::fs::write(&file, boot).unwrap();
            let noted = SandboxBoot { boot: source.read().unwrap(), origin: Millis(origin) };
            files::write_json(&folder.path().join(SANDBOX_BOOT), &noted).unwrap();
        };
        let origin = || Clocks::new(&source, source.read().unwrap(), folder.path()).unwrap().origin;
        note("0d4f3a52-5c1d-4a39-8ad5-5e0f5f1f9a11/0", 5);
        assert_eq!(origin(), Millis(5));
        std::fs::write(&file, "1d4f3a52-5c1d-4a39-8ad5-5e0f5f1f9a11/0").unwrap();
        let begun = origin();
        assert!(begun > Millis(5));
        assert_eq!(origin(), begun);
    }
}
