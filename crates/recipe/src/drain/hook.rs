//! A named hook: a root-owned program on the host that knows how its service is taken out and put back.
//!
//! `HOOK state` prints one line `NAME STATE in|out` for each item; `HOOK drain` and `HOOK undrain` end when that is done. In the
//! environment: `REVEILLE_GRACE_SECS`, how long it may take; `REVEILLE_FORCE=1` for a drain that must not wait; for undrain
//! `REVEILLE_PRIOR`, the lines of `state` from before the drain. A hook that says no is asked again at most twice.

use std::fmt::Write as _;

use model::{ErrorCode, ItemState, Millis, is_file_name};

use super::{Goal, LOOK, Look, Service, Trouble, Wish};
use crate::{Invocation, Output};

/// The bits of a mode that let group and others write.
const WRITABLE: u32 = 0o022;
const STICKY: u32 = 0o1000;
const KIND: u32 = 0o170_000;
const FILE: u32 = 0o100_000;
const FOLDER: u32 = 0o040_000;

pub(crate) struct Hook {
    path: String,
}

/// The program and all folders above it.
fn places(path: &str) -> Vec<&str> {
    let mut places = vec![path];
    let mut rest = path;
    while let Some((above, _)) = rest.rsplit_once('/') {
        places.push(if above.is_empty() { "/" } else { above });
        rest = above;
    }
    places
}

/// Asks who owns the program and the folders above it. Links are not followed.
pub(crate) fn ask_safe(path: &str, limit: Millis) -> Invocation {
    Invocation::new(["stat", "-c", "%u %f", "--"].into_iter().chain(places(path)), limit)
}

/// Whether nobody but root could have changed what would be run.
pub(crate) fn safe(path: &str, output: &Output) -> Result<(), Trouble> {
    safe_as("hook", path, output)
}

/// The same for another kind of program, `what` in messages.
pub(crate) fn safe_as(what: &str, path: &str, output: &Output) -> Result<(), Trouble> {
    if !output.succeeded() {
        let missing = output.exit == Some(1) && output.stderr.contains("No such file");
        let code = if missing { ErrorCode::NotFound } else { ErrorCode::NotObserved };
        return Err(Trouble::new(code, format!("{what} {path}: {}", output.words())));
    }
    let places = places(path);
    let lines: Vec<&str> = output.stdout.lines().collect();
    let unread = || Trouble::unread(format!("{what} {path}: its owner cannot be read: {}", output.words()));
    if lines.len() != places.len() || !output.stdout.ends_with('\n') {
        return Err(unread());
    }
    for (index, (line, place)) in lines.iter().zip(&places).enumerate() {
        let (owner, mode) = line.split_once(' ').ok_or_else(unread)?;
        let mode = u32::from_str_radix(mode, 16).map_err(|_| unread())?;
        let refuse = |why: &str| {
            let hint = format!("{what}s and the folders above them must belong to root and be writable by root only");
            Err(Trouble::new(ErrorCode::Refused, format!("{place} {why}: {hint}")))
        };
        let wanted = if index == 0 { FILE } else { FOLDER };
        if mode & KIND != wanted {
            return refuse(if index == 0 { "is no plain file" } else { "is no folder" });
        }
        if owner != "0" {
            return refuse(&format!("belongs to user {owner}"));
        }
        // In a sticky folder others can add names, but not take over this one.
        if mode & WRITABLE != 0 && !(index > 0 && mode & STICKY != 0) {
            return refuse("can be written by others than root");
        }
    }
    Ok(())
}

impl Hook {
    pub(crate) fn new(hooks: &str, name: &str) -> Result<Self, Trouble> {
        if !is_file_name(name) {
            let why = format!("{name:?} is no name of a hook (letters, digits, - _ . and no path)");
            return Err(Trouble::new(ErrorCode::Malformed, why));
        }
        if !hooks.starts_with('/') {
            return Err(Trouble::new(ErrorCode::Malformed, format!("the folder of hooks, {hooks:?}, is no absolute path")));
        }
        Ok(Self { path: format!("{}/{name}", hooks.trim_end_matches('/')) })
    }

    pub(crate) fn path(&self) -> &str {
        &self.path
    }

    pub(crate) fn run(&self, word: &str, limit: Millis) -> Invocation {
        Invocation::new([self.path.as_str(), word], limit)
    }

    fn items(&self, output: &Output) -> Result<Vec<ItemState>, Trouble> {
        let what = format!("{} state", self.path);
        let text = crate::answer::stdout(&what, output).map_err(Trouble::unread)?;
        let mut items: Vec<ItemState> = Vec::new();
        for line in text.lines() {
            let words: Vec<&str> = line.split_ascii_whitespace().collect();
            let [name, state, service @ ("in" | "out")] = words[..] else {
                return Err(Trouble::unread(format!("{what}: unreadable line {line:?} (expected NAME STATE in|out)")));
            };
            if items.iter().any(|item| item.name == name) {
                return Err(Trouble::unread(format!("{what}: {name} twice")));
            }
            items.push(ItemState { name: name.to_owned(), state: state.to_owned(), in_service: service == "in" });
        }
        if items.is_empty() || !text.ends_with('\n') {
            return Err(Trouble::unread(format!("{what}: no whole line NAME STATE in|out")));
        }
        Ok(items)
    }
}

impl Service for Hook {
    fn look(&mut self, so_far: &[Output]) -> Result<Look, Trouble> {
        match so_far {
            [] => Ok(Look::Run(ask_safe(&self.path, LOOK))),
            [owners] => {
                safe(&self.path, owners)?;
                Ok(Look::Run(self.run("state", LOOK)))
            }
            [.., state] => Ok(Look::Seen(self.items(state)?)),
        }
    }

    /// The hook's own words count: exactly the state of before (G7).
    fn reached(&self, now: &ItemState, wish: Wish<'_>) -> bool {
        match wish {
            Wish::Out { .. } => !now.in_service,
            Wish::As(prior) => now == prior,
        }
    }

    fn act(&self, _: &ItemState, wish: Wish<'_>, all: &Goal, left: Millis) -> Vec<Invocation> {
        let mut run = self.run(if matches!(wish, Wish::Out { .. }) { "drain" } else { "undrain" }, left);
        run.env.push(("REVEILLE_GRACE_SECS".to_owned(), left.as_secs().to_string()));
        if matches!(wish, Wish::Out { force: true }) {
            run.env.push(("REVEILLE_FORCE".to_owned(), "1".to_owned()));
        }
        if let Goal::Prior(prior) = all {
            let mut text = String::new();
            for item in prior {
                let service = if item.in_service { "in" } else { "out" };
                // Writing to a string does not fail.
                let _ = writeln!(text, "{} {} {service}", item.name, item.state);
            }
            run.env.push(("REVEILLE_PRIOR".to_owned(), text));
        }
        vec![run]
    }

    fn at_once(&self) -> bool {
        true
    }
}
