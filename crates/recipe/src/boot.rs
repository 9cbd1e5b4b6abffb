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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::recorded;

    const ID: &str = include_str!("../recorded/systemd/boot-id.txt");
    const STAT: &str = include_str!("../recorded/systemd/proc-1-stat.txt");
    const STAT_STOPPING: &str = include_str!("../recorded/systemd/proc-1-stat-stopping.txt");

    #[test]
    fn the_identity_is_the_boot_id_and_the_start_of_process_1() {
        let (id, stat) = (recorded(ID).stdout, recorded(STAT).stdout);
        let identity = of_kernel(&id, &stat).unwrap();
        assert_eq!(identity.to_string(), "acc35e4d-d43e-4d08-b999-d55965f1cce1/53");
        assert_eq!(of_kernel(&id, &recorded(STAT_STOPPING).stdout).unwrap(), identity, "the same boot, going down");
        assert_eq!(of_sandbox(&format!("{identity}\n")).unwrap(), identity);
        let odd = stat.replace("(systemd)", "(a) b (c 9 9 9)");
        assert_eq!(of_kernel(&id, &odd).unwrap(), identity);
    }

    #[test]
    fn a_broken_text_is_never_an_identity() {
        let (id, stat) = (recorded(ID).stdout, recorded(STAT).stdout);
        for cut in 0..id.trim_end().len() {
            assert!(of_kernel(&id[..cut], &stat).is_err());
        }
        for cut in 0..stat.len() {
            assert!(of_kernel(&id, &stat[..cut]).is_err(), "{cut}");
        }
        assert!(of_kernel(&id, &stat.replacen("1 (", "2 (", 1)).is_err());
        for text in ["", "acc35e4d", "acc35e4d-d43e-4d08-b999-d55965f1cce1", "acc35e4d-d43e-4d08-b999-d55965f1cce1/"] {
            assert!(of_sandbox(text).is_err(), "{text:?}");
        }
    }
}
