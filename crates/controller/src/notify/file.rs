//! The event file: one JSON object per line (S3-71, S3-72).
//!
//! Each line is one `write` to a file that is open for appending, so that lines of several writers never mix. The file is opened
//! anew for each batch: whoever moves it away (logrotate) finds the next events in a new one.

use std::collections::HashSet;
use std::fs::{File, OpenOptions, Permissions};
use std::future::Future;
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::time::{Duration, Instant};

use engine::{EventKind, ServiceEvent};
use model::Timestamp;
use rustix::fs::{FlockOperation, flock};
use serde::Serialize;

use super::{Sink, Taken};
use crate::store::StoredEvent;

/// The event file of a server, and of somebody who is root.
pub const EVENTS_FILE: &str = "/var/log/reveille/orchestrator-events.jsonl";

const MODE: u32 = 0o640;
/// Another writer has the file for so long at most.
const LOCK_LIMIT: Duration = Duration::from_secs(5);
/// So much of the end is looked at for lines that were written before a crash.
const TAIL: u64 = 1 << 20;

/// Which file, and how it is kept small.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileSettings {
    /// The file.
    pub path: PathBuf,
    /// It grows to this size, in bytes; then it becomes `….1`, that `….2`, and so on.
    pub rotate_size: u64,
    /// So many of those are kept.
    pub keep: u32,
    /// With what is known beside S3's three keys.
    pub metadata: bool,
}

impl FileSettings {
    /// As it is when nobody says otherwise: 16 MiB, five older ones, with everything.
    pub fn new(path: PathBuf) -> Self {
        Self { path, rotate_size: 16 * 1024 * 1024, keep: 5, metadata: true }
    }
}

/// To a file.
pub struct FileSink {
    settings: FileSettings,
}

/// S3's example, to the letter.
#[derive(Serialize)]
struct Short<'a> {
    #[serde(rename = "type")]
    kind: EventKind,
    #[serde(rename = "serviceId")]
    service: &'a str,
    timestamp: Timestamp,
}

/// The line of an event, with its end. It is the same each time.
fn line(event: &ServiceEvent, metadata: bool) -> Result<Vec<u8>, serde_json::Error> {
    let mut line = match metadata {
        true => serde_json::to_vec(event)?,
        false => serde_json::to_vec(&Short { kind: event.kind, service: &event.service, timestamp: event.timestamp })?,
    };
    line.push(b'\n');
    Ok(line)
}

impl FileSink {
    /// The file is made with the first event.
    pub fn new(settings: FileSettings) -> Self {
        Self { settings }
    }
}

impl Sink for FileSink {
    fn name(&self) -> String {
        format!("file {}", self.settings.path.display())
    }

    fn take<'a>(&'a mut self, events: &'a [StoredEvent], again: bool) -> Pin<Box<dyn Future<Output = Taken> + Send + 'a>> {
        Box::pin(async move {
            let lines: Result<Vec<_>, _> = events.iter().map(|stored| line(&stored.event, self.settings.metadata)).collect();
            let lines = match lines {
                Ok(lines) => lines,
                Err(error) => return Taken::only(0, format!("an event cannot be written as JSON: {error}")),
            };
            let settings = self.settings.clone();
            let written = tokio::task::spawn_blocking(move || write(&settings, &lines, again)).await;
            match written {
                Ok((count, None)) => Taken::all(count),
                Ok((count, Some(error))) => Taken::only(count, format!("{}: {error}", self.settings.path.display())),
                Err(error) => Taken::only(0, format!("the writer failed: {error}")),
            }
        })
    }
}

/// So many of the lines are in the file now, for good, and why not all.
fn write(settings: &FileSettings, lines: &[Vec<u8>], again: bool) -> (usize, Option<io::Error>) {
    let mut open = match Open::take(&settings.path) {
        Ok(open) => open,
        Err(error) => return (0, Some(error)),
    };
    let known = if again { known(settings) } else { HashSet::new() };
    let mut count = 0;
    let mut trouble = None;
    for line in lines {
        if known.contains(line.trim_ascii_end()) {
            count += 1;
            continue;
        }
        match open.append(settings, line) {
            Ok(()) => count += 1,
            Err(error) => {
                trouble = Some(error);
                break;
            }
        }
    }
    match open.file.sync_data() {
        Ok(()) => (count, trouble),
        // Nobody knows which of them are there: they are looked for before they are written again.
        Err(error) => (0, Some(error)),
    }
}

/// The file, and nobody else of ours who writes to it.
struct Open {
    file: File,
    size: u64,
}

impl Open {
    fn take(path: &Path) -> io::Result<Self> {
        if let Some(dir) = path.parent() {
            std::fs::create_dir_all(dir)?;
        }
        let until = Instant::now() + LOCK_LIMIT;
        loop {
            let file = open(path)?;
            while let Err(error) = flock(&file, FlockOperation::NonBlockingLockExclusive) {
                if error != rustix::io::Errno::WOULDBLOCK {
                    return Err(error.into());
                }
                if Instant::now() > until {
                    return Err(io::Error::other("another process has locked it"));
                }
                std::thread::sleep(Duration::from_millis(10));
            }
            let own = file.metadata()?;
            if !own.is_file() {
                return Err(io::Error::other("it is no ordinary file"));
            }
            // Somebody may have moved it away meanwhile.
            match std::fs::metadata(path) {
                Ok(there) if (there.dev(), there.ino()) == (own.dev(), own.ino()) => {
                    return Ok(Self { size: own.len(), file });
                }
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ if Instant::now() > until => return Err(io::Error::other("it is moved away again and again")),
                _ => {}
            }
        }
    }

    fn append(&mut self, settings: &FileSettings, line: &[u8]) -> io::Result<()> {
        if self.size > 0 && self.size.saturating_add(line.len() as u64) > settings.rotate_size {
            self.rotate(settings);
        }
        // A machine that crashed in the middle of a line, or a disk that was full there.
        if self.is_torn()? {
            self.put(b"\n")?;
        }
        self.put(line)
    }

    /// One `write`; what is not whole is taken back.
    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        let before = self.file.metadata()?.len();
        let written = loop {
            match self.file.write(bytes) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => break other?,
            }
        };
        self.size = before + written as u64;
        if written == bytes.len() {
            return Ok(());
        }
        if self.file.metadata()?.len() == self.size && self.file.set_len(before).is_ok() {
            self.size = before;
        }
        Err(io::Error::new(io::ErrorKind::StorageFull, "there is no room for a whole line"))
    }

    fn is_torn(&mut self) -> io::Result<bool> {
        let mut last = [0];
        let end = self.file.seek(SeekFrom::End(0))?;
        if end == 0 {
            return Ok(false);
        }
        self.file.seek(SeekFrom::Start(end - 1))?;
        let read = self.file.read(&mut last)?;
        Ok(read == 1 && last != *b"\n")
    }

    /// Rather a file that is too large than an event that is lost.
    fn rotate(&mut self, settings: &FileSettings) {
        let rotated = || -> io::Result<Self> {
            self.file.sync_data()?;
            for number in (1..settings.keep).rev() {
                moved(&numbered(&settings.path, number), &numbered(&settings.path, number + 1))?;
            }
            moved(&settings.path, &numbered(&settings.path, 1))?;
            Self::take(&settings.path)
        };
        match rotated() {
            Ok(fresh) => *self = fresh,
            Err(error) => tracing::warn!("{} cannot be rotated: {error}", settings.path.display()),
        }
    }
}

fn open(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).append(true).mode(MODE);
    match options.clone().create_new(true).open(path) {
        Ok(file) => {
            // Whatever the umask says.
            file.set_permissions(Permissions::from_mode(MODE))?;
            Ok(file)
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => options.create(true).open(path),
        Err(error) => Err(error),
    }
}

fn moved(from: &Path, to: &Path) -> io::Result<()> {
    match std::fs::rename(from, to) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

fn numbered(path: &Path, number: u32) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{number}"));
    PathBuf::from(name)
}

/// Whole lines at the end of the file, and of the one before it. What cannot be read is taken to be missing.
fn known(settings: &FileSettings) -> HashSet<Vec<u8>> {
    let mut lines = HashSet::new();
    for path in [settings.path.clone(), numbered(&settings.path, 1)] {
        let Ok(mut file) = File::open(&path) else { continue };
        let size = file.metadata().map_or(0, |metadata| metadata.len());
        let mut bytes = Vec::new();
        if file.seek(SeekFrom::Start(size.saturating_sub(TAIL))).is_err() || file.take(TAIL).read_to_end(&mut bytes).is_err() {
            continue;
        }
        let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        lines.extend(bytes[..whole].split(|byte| *byte == b'\n').map(<[u8]>::to_vec));
    }
    lines
}
