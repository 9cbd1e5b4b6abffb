//! Events of services, one JSON object per line, as they are.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures_util::StreamExt as _;
use protocol::rest::events::OrchestratorEvent;

use crate::args::{Events, Global};
use crate::client::Client;
use crate::error::CliError;
use crate::exit::Exit;
use crate::sse::Parser;
use crate::{session, terminal};

/// Between two looks at a file.
const LOOK: Duration = Duration::from_millis(200);
/// Between two attempts to reach a server again.
const PAUSE: Duration = Duration::from_secs(1);
/// So much of the end of a file is read for its last lines.
const TAIL: u64 = 16 << 20;

/// From a server.
pub(super) async fn served(client: &Client, args: Events) -> Result<Exit, CliError> {
    let list = client.service_events(args.service.as_deref(), args.lines.max(1)).await?;
    for placed in list.events.iter().filter(|_| args.lines > 0) {
        let line = serde_json::to_string(&placed.event)
            .map_err(|error| CliError::new(Exit::Failed, format!("an event cannot be written as JSON: {error}")))?;
        terminal::print(&format!("{line}\n"))?;
    }
    if !args.follow {
        return Ok(Exit::Done);
    }
    let (mut after, mut told) = (list.next.to_string(), None);
    loop {
        let error = match live(client, args.service.as_deref(), &mut after).await {
            Ok(()) => CliError::new(Exit::Unavailable, "the server closed the event stream"),
            Err(error) if error.exit == Exit::Unavailable => error,
            Err(error) => return Err(error),
        };
        let error = error.to_string();
        if told.as_ref() != Some(&error) {
            eprintln!("{error}; trying again");
            told = Some(error);
        }
        tokio::time::sleep(PAUSE).await;
    }
}

async fn live(client: &Client, service: Option<&str>, after: &mut String) -> Result<(), CliError> {
    let broken = |reason: String| CliError::new(Exit::Unavailable, format!("the event stream broke: {reason}"));
    let mut bytes = client.live_service_events(service, after).await?;
    let mut parser = Parser::default();
    while let Some(piece) = bytes.next().await {
        for event in parser.feed(&piece.map_err(broken)?).map_err(|error| broken(error.to_string()))? {
            terminal::print(&format!("{}\n", event.data))?;
            if let Some(id) = event.id {
                *after = id;
            }
        }
    }
    Ok(())
}

/// From a file.
pub(super) async fn filed(global: &Global, args: Events) -> Result<Exit, CliError> {
    let path = args.file.clone().map_or_else(|| session::events_file(&global.here), Ok)?;
    let mut tail = Tail::new(path.clone());
    let mut last = VecDeque::new();
    let there = tail.read(|line| {
        if is_meant(line, args.service.as_deref()) {
            last.push_back(line.to_owned());
            last.drain(..last.len().saturating_sub(args.lines as usize));
        }
    });
    match there.map_err(|error| unreadable(&path, &error))? {
        true => {}
        false if args.follow => eprintln!("{} is not there yet", path.display()),
        false => {
            let error = CliError::new(Exit::NotFound, format!("{} is not there: nothing was restarted yet", path.display()));
            return Err(error.hint("name another with --file, or a server with --server"));
        }
    }
    for line in &last {
        terminal::print(&format!("{line}\n"))?;
    }
    if !args.follow {
        return Ok(Exit::Done);
    }
    loop {
        tokio::time::sleep(LOOK).await;
        let mut new = String::new();
        let read = tail.read(|line| {
            if is_meant(line, args.service.as_deref()) {
                new.push_str(line);
                new.push('\n');
            }
        });
        read.map_err(|error| unreadable(&path, &error))?;
        terminal::print(&new)?;
    }
}

fn unreadable(path: &Path, error: &io::Error) -> CliError {
    CliError::new(Exit::Failed, format!("cannot read {}: {error}", path.display()))
}

/// What a crash has torn is no event.
fn is_meant(line: &str, service: Option<&str>) -> bool {
    let event = serde_json::from_str::<OrchestratorEvent>(line);
    event.is_ok_and(|event| service.is_none_or(|service| event.service_id == service))
}

/// A file that grows, and that somebody moves away.
struct Tail {
    path: PathBuf,
    open: Option<File>,
    /// Begun, and not ended yet.
    pending: Vec<u8>,
}

impl Tail {
    fn new(path: PathBuf) -> Self {
        Self { path, open: None, pending: Vec::new() }
    }

    /// Gives the lines that are new; says whether the file is there.
    fn read(&mut self, mut take: impl FnMut(&str)) -> io::Result<bool> {
        let first = self.open.is_none();
        if first {
            self.open = match File::open(&self.path) {
                Ok(mut file) => {
                    let size = file.metadata()?.len();
                    file.seek(SeekFrom::Start(size.saturating_sub(TAIL)))?;
                    Some(file)
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => None,
                Err(error) => return Err(error),
            };
        }
        loop {
            let Some(file) = &mut self.open else { return Ok(false) };
            // Looked for before the old one is read to its end: nothing is added there afterwards.
            let moved = match std::fs::metadata(&self.path) {
                Ok(there) => {
                    let own = file.metadata()?;
                    (there.dev(), there.ino()) != (own.dev(), own.ino())
                }
                Err(_) => false,
            };
            if file.metadata()?.len() < file.stream_position()? {
                file.seek(SeekFrom::Start(0))?;
                self.pending.clear();
            }
            file.read_to_end(&mut self.pending)?;
            while let Some(end) = self.pending.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.pending.drain(..=end).collect();
                take(String::from_utf8_lossy(&line).trim_end());
            }
            if !moved {
                return Ok(true);
            }
            self.pending.clear();
            self.open = match File::open(&self.path) {
                Ok(file) => Some(file),
                Err(error) if error.kind() == io::ErrorKind::NotFound => None,
                Err(error) => return Err(error),
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s3_91_a_file_is_followed_while_it_grows_is_rotated_and_emptied() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("events.jsonl");
        let mut tail = Tail::new(path.clone());
        let mut read = || {
            let mut lines = Vec::new();
            (tail.read(|line| lines.push(line.to_owned())).unwrap(), lines)
        };
        let some = |lines: &[&str]| (true, lines.iter().map(|line| (*line).to_owned()).collect::<Vec<_>>());
        assert_eq!(read(), (false, vec![]));
        std::fs::write(&path, "a\nb\nc").unwrap();
        assert_eq!(read(), some(&["a", "b"]));
        std::fs::write(&path, "a\nb\nc and more\n").unwrap();
        assert_eq!(read(), some(&["c and more"]), "a line that is not whole yet waits");
        // The last line comes into the old file right before it is moved away.
        std::fs::write(&path, "a\nb\nc and more\nd\n").unwrap();
        std::fs::rename(&path, dir.path().join("events.jsonl.1")).unwrap();
        assert_eq!(read(), some(&["d"]));
        std::fs::write(&path, "e\n").unwrap();
        assert_eq!(read(), some(&["e"]));
        std::fs::write(&path, "").unwrap();
        assert_eq!(read(), some(&[]));
        std::fs::write(&path, "f\n").unwrap();
        assert_eq!(read(), some(&["f"]));
    }

    #[test]
    fn s3_91_a_line_is_meant_when_it_is_an_event_of_the_service() {
        let line = r#"{"type":"SERVICE_RESTART_START","serviceId":"sso.api","timestamp":"2026-01-19T12:00:00.000Z"}"#;
        assert!(is_meant(line, None) && is_meant(line, Some("sso.api")) && !is_meant(line, Some("sso")));
        assert!(!is_meant(&line[..40], None) && !is_meant("", None));
    }
}
