//! Argument lists as lines for the far end's shell.

use model::{BootIdentity, CommandId, Millis};
use recipe::{Invocation, Output};

/// One word for any shell: nothing in it is looked at.
fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// An argument list with its environment.
pub(crate) fn line(invocation: &Invocation) -> String {
    let env = invocation.env.iter().map(|(name, value)| quoted(&format!("{name}={value}")));
    let words: Vec<String> = env.chain(invocation.argv.iter().map(|word| quoted(word))).collect();
    format!("env {}", words.join(" "))
}

/// The same with root's rights.
pub(crate) fn sudo(invocation: &Invocation, password: bool) -> String {
    let how = if password { "-S -p ''" } else { "-n" };
    format!("sudo {how} -- {}", line(invocation))
}

/// Why sudo did not run it, if so.
pub(crate) fn sudo_refuses(output: &Output, password: bool) -> Option<String> {
    if output.exit == Some(0) {
        return None;
    }
    let has = |words: &str| output.stderr.contains(words);
    if has("sudo: a password is required") || has("sudo: a terminal is required") || has("sudo: no password was provided") {
        return Some(if password {
            "it does not take the password that was given".to_owned()
        } else {
            "it asks for a password and none was given: give one (a file or file descriptor), or allow NOPASSWD".to_owned()
        });
    }
    if has("incorrect password attempt") || has("Sorry, try again") {
        return Some("it does not take the password that was given".to_owned());
    }
    if has("is not in the sudoers file") || has("may not run sudo") || has("is not allowed to execute") {
        return Some("it does not allow this user what is needed".to_owned());
    }
    (output.exit == Some(127) && has("sudo")).then(|| "there is no sudo: log in as root, or install it".to_owned())
}

/// Where claims are kept over a boot.
const CLAIMS: &str = "/var/lib/reveille/claims";
/// Where they are kept for this boot.
const CLAIMS_NOW: &str = "/run/reveille/claims";
/// Reading and claiming are quick; a disk that hangs is not waited for.
const QUICK: Millis = Millis::secs(20);

fn sh(script: String, arguments: &[String]) -> Invocation {
    let mut argv = vec!["sh".to_owned(), "-c".to_owned(), script, "reveille".to_owned()];
    argv.extend_from_slice(arguments);
    Invocation { argv, env: vec![("LC_ALL".to_owned(), "C".to_owned())], limit: QUICK }
}

/// Reads the boot identity.
pub(crate) fn boot() -> Invocation {
    sh("cat /proc/sys/kernel/random/boot_id /proc/1/stat".to_owned(), &[])
}

/// What it said.
pub(crate) fn read_boot(output: &Output) -> Result<BootIdentity, String> {
    if !output.succeeded() {
        return Err(format!("its boot cannot be read: {}", output.words()));
    }
    let (id, stat) = output.stdout.split_once('\n').ok_or_else(|| "its boot cannot be read: one line is missing".to_owned())?;
    recipe::boot::of_kernel(id, stat).map_err(|error| error.to_string())
}

/// What became of a claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Claim {
    /// Made now, and the order was given; this is what the tool said.
    Ordered(Output),
    /// Made before.
    Before,
    /// Not there, and nothing was done.
    Absent,
    /// Not made: it could not be written.
    NoRoom(String),
}

/// Compares and claims, in one script, and gives the order only then. Without an order it only looks.
pub(crate) fn claim(id: CommandId, expect: BootIdentity, order: &[String]) -> Invocation {
    let script = format!(
        "umask 077; id=$1; expect=$2; shift 2
read -r b < /proc/sys/kernel/random/boot_id; read -r s < /proc/1/stat; o=\"$*\"; c=$#
t=$(IFS=' '; set -- ${{s##*) }}; echo \"${{20}}\")
say() {{ echo \"reveille-claim $1 $b/$t\"; exit 0; }}
no() {{ rm -f \"{CLAIMS}/$id.new\"; say noroom; }}
if [ -e \"{CLAIMS}/$id\" ] || [ -e \"{CLAIMS_NOW}/$id\" ]; then say before; fi
[ \"$b/$t\" = \"$expect\" ] && [ $c -gt 0 ] || say absent
mkdir -p {CLAIMS} {CLAIMS_NOW} || no
set -C
echo \"$b/$t\" > \"{CLAIMS_NOW}/$id\" || {{ [ -e \"{CLAIMS_NOW}/$id\" ] && say before; no; }}
echo \"$b/$t\" > \"{CLAIMS}/$id\" && sync && [ \"$(cat \"{CLAIMS}/$id\")\" = \"$b/$t\" ] || {{ rm -f \"{CLAIMS}/$id\" \"{CLAIMS_NOW}/$id\"; no; }}
echo \"reveille-claim ordered $b/$t\"
\"$@\""
    );
    let mut arguments = vec![id.to_string(), expect.to_string()];
    arguments.extend_from_slice(order);
    sh(script, &arguments)
}

/// What it said, and on which boot.
pub(crate) fn read_claim(output: &Output) -> Result<(Claim, BootIdentity), String> {
    let unread = || format!("the claim cannot be read: {}", output.words());
    let (line, rest) = output.stdout.split_once('\n').ok_or_else(unread)?;
    let mut words = line.split(' ');
    if words.next() != Some("reveille-claim") {
        return Err(unread());
    }
    let (word, boot) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let claim = match word {
        "ordered" => Claim::Ordered(Output { stdout: rest.to_owned(), ..output.clone() }),
        "before" => Claim::Before,
        "absent" => Claim::Absent,
        "noroom" => Claim::NoRoom(output.words()),
        _ => return Err(unread()),
    };
    Ok((claim, boot.parse().map_err(|_| unread())?))
}
