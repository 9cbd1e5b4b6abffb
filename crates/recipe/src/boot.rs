//! Reading the boot identity (G3, pain 3).

use model::{BootIdentity, BootIdentityError};

/// Why there is no boot identity.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BootError {
    /// The boot id is malformed.
    #[error(transparent)]
    Id(#[from] BootIdentityError),
    /// The start time of process 1 is not where it should be.
    #[error("no start time of process 1 in {0:?} (expected the text of /proc/1/stat)")]
    Stat(String),
}

/// Where a host that runs its own kernel, or a container, shows its boot id.
pub const BOOT_ID_PATH: &str = "/proc/sys/kernel/random/boot_id";
/// Where the start of process 1 is shown.
pub const STAT_PATH: &str = "/proc/1/stat";

/// From the texts at [`BOOT_ID_PATH`] and [`STAT_PATH`].
///
/// # Errors
/// Anything empty, short or malformed is never an identity.
pub fn of_kernel(boot_id: &str, stat: &str) -> Result<BootIdentity, BootError> {
    let wrong = || BootError::Stat(stat.chars().take(200).collect());
    // Field 2 is the program's name in brackets and may hold spaces and brackets itself; the rest is plain from field 3 on.
    let (head, rest) = stat.rsplit_once(')').ok_or_else(wrong)?;
    if !head.starts_with("1 (") {
        return Err(wrong());
    }
    let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
    // A text cut off in the middle of a number must not read as another start: all 52 fields, and the line's end.
    if fields.len() < 50 || !stat.ends_with('\n') {
        return Err(wrong());
    }
    let ticks = fields[22 - 3].parse().map_err(|_| wrong())?;
    Ok(BootIdentity::new(boot_id, ticks)?)
}

/// From the file in which a sandbox host (for demonstrations only) keeps the identity of its present boot.
///
/// # Errors
/// As for [`of_kernel`].
pub fn of_sandbox(text: &str) -> Result<BootIdentity, BootError> {
    Ok(text.trim_end().parse()?)
}
