//! The boot identity of a host without an agent.

use model::{BootIdentity, Millis};

use crate::answer;
use crate::boot::{BOOT_ID_PATH, STAT_PATH, of_kernel};
use crate::{Invocation, Next, Output, Script, Steps};

/// Reading two files.
const LIMIT: Millis = Millis(10_000);
/// Both texts in one answer, and an end, so that one that was cut off is none.
const READ: &str = "cat \"$1\" && echo REVEILLE AND && cat \"$2\" && echo REVEILLE END";

/// Reads the boot identity: one run, no rights needed. What is broken, short, empty or an error is never an identity (pain 3).
pub fn boot() -> Script<Result<BootIdentity, String>> {
    Script::new(ReadBoot { asked: false })
}

/// The same from the two files themselves, read by whoever is on that host: `file` gives the text at a path, or why not.
///
/// # Errors
/// As for [`boot`].
pub fn boot_here(file: impl Fn(&str) -> Result<String, String>) -> Result<BootIdentity, String> {
    of_kernel(&file(BOOT_ID_PATH)?, &file(STAT_PATH)?).map_err(|error| error.to_string())
}

struct ReadBoot {
    asked: bool,
}

impl Steps<Result<BootIdentity, String>> for ReadBoot {
    fn next(&mut self, last: Option<&Output>, _elapsed: Millis) -> Next<Result<BootIdentity, String>> {
        match last {
            Some(output) if self.asked => Next::Done(read(output)),
            _ => {
                self.asked = true;
                Next::Run(Invocation::new(["sh", "-c", READ, "reveille", BOOT_ID_PATH, STAT_PATH], LIMIT))
            }
        }
    }
}

fn read(output: &Output) -> Result<BootIdentity, String> {
    let text = answer::stdout("boot identity", output)?;
    let whole = text.strip_suffix("REVEILLE END\n").and_then(|text| text.split_once("REVEILLE AND\n"));
    let (boot_id, stat) = whole.ok_or_else(|| answer::why_not("boot identity: not the whole answer", output))?;
    of_kernel(boot_id, stat).map_err(|e| e.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{broken, drive, recorded, said};

    const ID: &str = include_str!("../../recorded/systemd/boot-id.txt");
    const STAT: &str = include_str!("../../recorded/systemd/proc-1-stat.txt");

    fn asked(output: &Output) -> Result<BootIdentity, String> {
        drive(boot(), |_, _| (output.clone(), Millis(1))).1
    }

    #[test]
    fn pain_3_only_the_whole_answer_is_an_identity() {
        let good = format!("{}REVEILLE AND\n{}REVEILLE END\n", recorded(ID).stdout, recorded(STAT).stdout);
        assert_eq!(asked(&said(&good)).unwrap().to_string(), "acc35e4d-d43e-4d08-b999-d55965f1cce1/53");
        for cut in 0..good.len() {
            assert!(asked(&said(&good[..cut])).is_err(), "{cut}");
        }
        for bad in broken(&good) {
            assert!(asked(&bad).is_err(), "{bad:?}");
        }
        assert!(asked(&said(&good.replacen("acc35e4d", "00000000", 1).replace("d43e-4d08-b999-d55965f1cce1", "0"))).is_err());
    }
}
