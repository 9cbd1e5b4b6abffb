//! Reading `ssh_config`.
//!
//! Read once, kept for all hosts. What is understood here is answered here; when a file holds something that could change the
//! answer and is not understood (`Match exec`, `CanonicalizeHostname`), `ssh -G` is asked for the whole answer instead.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use super::destination::Destination;
use super::pattern::fits_list;
use super::settings::{Raw, Settings, SettingsError, Surroundings, words};

/// Files that include files that include files.
const DEEPEST: usize = 16;
/// `ssh -G` may run programs of the user's configuration.
const ASK_LIMIT: Duration = Duration::from_secs(20);

/// Which files are read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConfigFiles {
    /// `~/.ssh/config`, then `/etc/ssh/ssh_config`; either may be missing.
    Usual,
    /// This one alone; it must be there.
    Only(PathBuf),
    /// None at all.
    None,
}

/// All that the files say.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    files: ConfigFiles,
    lines: Vec<Line>,
    /// Why `ssh -G` must be asked.
    beyond: Option<String>,
    /// Keywords that are not obeyed, each with the place where it is first seen.
    not_obeyed: BTreeMap<&'static str, String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Line {
    /// Every one of these must hold; a line inside an included file carries those of the `Include` too.
    when: Vec<When>,
    keyword: String,
    value: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum When {
    Host(Vec<String>),
    Match { what: What, not: bool, patterns: Vec<String> },
    Never,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    Host,
    OriginalHost,
    User,
    LocalUser,
}

/// Keywords whose effect is not had here, and not by asking either: better said than passed over.
const CANNOT: [(&str, &str); 3] = [
    ("knownhostscommand", "put the keys into a file of known hosts"),
    ("proxyusefdpass", "let the ProxyCommand pass the bytes itself"),
    ("pkcs11provider", "load the key into an ssh-agent"),
];

/// Keywords that change how `ssh` connects, that are passed over here, and that a person may rely on: told once, with what to do.
/// Those with `false` are usual in what distributions ship, so they count in the user's own files alone.
const NOT_OBEYED: [(&str, bool, &str); 11] = [
    ("CertificateFile", true, "keys are used without certificates: put the key itself into the hosts' authorized_keys"),
    ("BindAddress", true, "the system chooses the address"),
    ("BindInterface", true, "the system chooses the interface"),
    ("AddressFamily", true, "the first address that answers is taken; write the address itself as HostName"),
    ("PreferredAuthentications", true, "keys are tried, and nothing else"),
    ("HostKeyAlgorithms", false, "the server's key must be one that known_hosts has"),
    ("Ciphers", false, "the usual ones are offered"),
    ("MACs", false, "the usual ones are offered"),
    ("KexAlgorithms", false, "the usual ones are offered"),
    ("PubkeyAcceptedAlgorithms", false, "every key that is named is tried"),
    ("GSSAPIAuthentication", false, "keys are tried, and nothing else"),
];

impl Config {
    /// What the files say and is not obeyed, in words.
    pub(crate) fn not_obeyed(&self) -> Vec<String> {
        let instead = |keyword: &str| NOT_OBEYED.iter().find(|(one, ..)| *one == keyword).map_or("", |(.., instead)| *instead);
        self.not_obeyed.iter().map(|(keyword, place)| format!("{place}: {keyword} is not obeyed: {}", instead(keyword))).collect()
    }

    fn pass_over(&mut self, keyword: &str, value: &str, path: &Path, line: usize) {
        if ["no", "none", "any"].contains(&value.to_ascii_lowercase().as_str()) {
            return;
        }
        let own = !path.starts_with("/etc");
        let known = NOT_OBEYED.iter().find(|(one, everywhere, _)| one.eq_ignore_ascii_case(keyword) && (own || *everywhere));
        if let Some((keyword, ..)) = known {
            self.not_obeyed.entry(keyword).or_insert_with(|| format!("{} line {line}", path.display()));
        }
    }

    /// Reads the files.
    pub(crate) fn read(files: ConfigFiles, around: &Surroundings) -> Result<Self, SettingsError> {
        let mut config = Self { files: files.clone(), lines: Vec::new(), beyond: None, not_obeyed: BTreeMap::new() };
        match files {
            ConfigFiles::None => {}
            ConfigFiles::Only(path) => config.file(&path, true, &[], around, &around.home.join(".ssh"), 0)?,
            ConfigFiles::Usual => {
                let ssh = around.home.join(".ssh");
                config.file(&ssh.join("config"), false, &[], around, &ssh, 0)?;
                config.file(Path::new("/etc/ssh/ssh_config"), false, &[], around, Path::new("/etc/ssh"), 0)?;
            }
        }
        Ok(config)
    }

    fn file(
        &mut self,
        path: &Path,
        needed: bool,
        outer: &[When],
        around: &Surroundings,
        base: &Path,
        depth: usize,
    ) -> Result<(), SettingsError> {
        if depth == DEEPEST {
            return Err(SettingsError::File(format!(
                "{}: includes go deeper than {DEEPEST} files; is there a circle?",
                path.display()
            )));
        }
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && !needed => return Ok(()),
            Err(error) => return Err(SettingsError::File(format!("cannot read {}: {error}", path.display()))),
        };
        let mut when = outer.to_vec();
        for (number, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let wrong = |why: &str| SettingsError::File(format!("{} line {}: {why}: {line}", path.display(), number + 1));
            let (keyword, value) = split(line).ok_or_else(|| wrong("expected a keyword and a value"))?;
            match keyword.as_str() {
                "host" => when = [outer, &[When::Host(words(&value))]].concat(),
                "match" => {
                    let criteria = self.criteria(&value).map_err(|why| wrong(&why))?;
                    when = [outer, &criteria].concat();
                }
                "include" => {
                    for word in words(&value) {
                        for file in included(&word, around, base) {
                            self.file(&file, false, &when, around, base, depth + 1)?;
                        }
                    }
                }
                "canonicalizehostname" if value.eq_ignore_ascii_case("no") => {}
                "canonicalizehostname" => self.beyond = Some("CanonicalizeHostname".to_owned()),
                _ => {
                    self.pass_over(&keyword, &value, path, number + 1);
                    self.lines.push(Line { when: when.clone(), keyword, value });
                }
            }
        }
        Ok(())
    }

    fn criteria(&mut self, value: &str) -> Result<Vec<When>, String> {
        let mut criteria = Vec::new();
        let mut words = words(value).into_iter();
        while let Some(word) = words.next() {
            let (word, not) = match word.strip_prefix('!') {
                Some(word) => (word.to_owned(), true),
                None => (word, false),
            };
            let what = match word.to_ascii_lowercase().as_str() {
                "all" => continue,
                "host" => What::Host,
                "originalhost" => What::OriginalHost,
                "user" => What::User,
                "localuser" => What::LocalUser,
                other @ ("exec" | "canonical" | "final" | "tagged" | "localnetwork" | "version" | "sessiontype" | "command") => {
                    self.beyond = Some(format!("Match {other}"));
                    return Ok(vec![When::Never]);
                }
                _ => return Err("this criterion is not known".to_owned()),
            };
            let patterns = words.next().ok_or("a pattern is missing")?;
            criteria.push(When::Match { what, not, patterns: patterns.split(',').map(str::to_owned).collect() });
        }
        Ok(criteria)
    }

    /// What they say about one host.
    pub(crate) async fn settings(&self, to: &Destination, around: &Surroundings) -> Result<Settings, SettingsError> {
        let raw = match &self.beyond {
            Some(why) => self.ask(to, why).await?,
            None => self.raw(to, around),
        };
        for (keyword, instead) in CANNOT {
            if let Some(value) = raw.get(keyword).filter(|value| !["no", "none"].contains(&value.to_ascii_lowercase().as_str())) {
                return Err(SettingsError::Value {
                    keyword,
                    value: value.to_owned(),
                    host: to.host.clone(),
                    why: format!("not supported; {instead}"),
                });
            }
        }
        raw.settings(to, around)
    }

    fn raw(&self, to: &Destination, around: &Surroundings) -> Raw {
        let mut raw = Raw::default();
        for line in &self.lines {
            let holds = line.when.iter().all(|when| when.holds(to, &raw, around));
            if holds {
                raw.take(&line.keyword, &line.value);
            }
        }
        raw
    }

    /// Asks the system's own `ssh`.
    async fn ask(&self, to: &Destination, why: &str) -> Result<Raw, SettingsError> {
        let said = |text: String| SettingsError::Asking(format!("{text} (asked because of {why} in the ssh configuration)"));
        let mut command = tokio::process::Command::new("ssh");
        command.arg("-G").stdin(Stdio::null()).kill_on_drop(true);
        if let ConfigFiles::Only(path) = &self.files {
            command.arg("-F").arg(path);
        }
        if let Some(port) = to.port {
            command.args(["-p", &port.to_string()]);
        }
        if let Some(user) = &to.user {
            command.args(["-l", user]);
        }
        let output = match tokio::time::timeout(ASK_LIMIT, command.arg("--").arg(&to.host).output()).await {
            Ok(Ok(output)) => output,
            Ok(Err(error)) => return Err(said(format!("cannot run ssh -G: {error}; install openssh-client"))),
            Err(_) => return Err(said(format!("ssh -G {} did not answer in {} s", to.host, ASK_LIMIT.as_secs()))),
        };
        if !output.status.success() {
            let words = String::from_utf8_lossy(&output.stderr);
            return Err(said(format!("ssh -G {} failed: {}", to.host, words.trim())));
        }
        let mut raw = Raw::default();
        for line in String::from_utf8_lossy(&output.stdout).lines() {
            if let Some((keyword, value)) = split(line) {
                raw.take(&keyword, &value);
            }
        }
        Ok(raw)
    }
}

impl When {
    fn holds(&self, to: &Destination, so_far: &Raw, around: &Surroundings) -> bool {
        let fit = |patterns: &[String], text: &str| fits_list(patterns.iter().map(String::as_str), text);
        match self {
            Self::Never => false,
            Self::Host(patterns) => fit(patterns, &to.host),
            Self::Match { what, not, patterns } => {
                let text = match what {
                    What::OriginalHost => to.host.as_str(),
                    What::Host => so_far.get("hostname").unwrap_or(&to.host),
                    What::User => to.user.as_deref().or(so_far.get("user")).unwrap_or(&around.user),
                    What::LocalUser => &around.user,
                };
                fit(patterns, text) != *not
            }
        }
    }
}

/// `Keyword value`, `Keyword=value`, `Keyword "value"`; the keyword in small letters.
fn split(line: &str) -> Option<(String, String)> {
    let end = line.find(|c: char| c.is_whitespace() || c == '=')?;
    let (keyword, rest) = line.split_at(end);
    let rest = rest.trim_start();
    let value = rest.strip_prefix('=').unwrap_or(rest).trim();
    // Commands keep their quotes: they are for the shell.
    let keyword = keyword.to_ascii_lowercase();
    let whole =
        value.strip_prefix('"').and_then(|v| v.strip_suffix('"')).filter(|v| !v.contains('"') && keyword != "proxycommand");
    let whole =
        whole.filter(|_| !["host", "match", "include", "userknownhostsfile", "globalknownhostsfile"].contains(&keyword.as_str()));
    let value = whole.unwrap_or(value);
    (!keyword.is_empty() && !value.is_empty()).then(|| (keyword, value.to_owned()))
}

/// The files of an `Include`: `~`, relative names and `*` in the last part.
fn included(word: &str, around: &Surroundings, base: &Path) -> Vec<PathBuf> {
    let path = match word.strip_prefix("~/") {
        Some(below) => around.home.join(below),
        None => base.join(word),
    };
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let folder = path.parent().map(Path::to_owned).unwrap_or_default();
    if !name.contains(['*', '?']) {
        return vec![path];
    }
    let entries = std::fs::read_dir(&folder).into_iter().flatten().flatten();
    let fit = |entry: &std::fs::DirEntry| {
        let own = entry.file_name().to_string_lossy().into_owned();
        super::pattern::fits(&name, &own) && !own.starts_with('.')
    };
    let mut files: Vec<PathBuf> = entries.filter(fit).map(|entry| entry.path()).collect();
    files.sort();
    files
}

#[cfg(test)]
mod tests;
