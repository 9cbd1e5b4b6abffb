//! What all programs that are run here have in common: they are killed with all that they started, and do not say without end.

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt as _};

/// The process group that a child was started as; `None` once it was waited for.
pub(crate) fn group(child: &tokio::process::Child) -> Option<Pid> {
    child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw)
}

/// Kills all that is left of a group.
pub(crate) fn kill(group: Option<Pid>) {
    if let Some(group) = group {
        // It may have ended at this very moment; then there is nothing left to kill.
        let _ = kill_process_group(group, Signal::KILL);
    }
}

/// The first that a program says, at most so many bytes; then the stream is closed to it.
///
/// # Errors
/// In words: it cannot be heard.
pub(crate) async fn first(stream: Option<impl AsyncRead + Unpin>, bytes: u32) -> Result<String, String> {
    read(stream, bytes.into()).await.map(text)
}

/// All that a program says, of at most `most` bytes.
///
/// # Errors
/// In words: it says more, or cannot be heard.
pub(crate) async fn said(stream: Option<impl AsyncRead + Unpin>, most: u64) -> Result<String, String> {
    let bytes = read(stream, most + 1).await?;
    if bytes.len() as u64 > most {
        return Err(format!("it said more than {most} bytes"));
    }
    Ok(text(bytes))
}

async fn read(stream: Option<impl AsyncRead + Unpin>, most: u64) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    if let Some(stream) = stream {
        let read = stream.take(most).read_to_end(&mut bytes).await;
        read.map_err(|error| format!("its output cannot be read: {error}"))?;
    }
    Ok(bytes)
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8_lossy(&bytes).into_owned()
}
