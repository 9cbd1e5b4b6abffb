//! What the configuration says about one host.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use super::destination::{Destination, DestinationError};

/// The person and the machine that SSH runs for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Surroundings {
    /// The home directory, for `~`.
    pub home: PathBuf,
    /// The login name, for `%u` and where no user is named.
    pub user: String,
    /// This machine's name, for `%l`.
    pub hostname: String,
    /// Environment variables, for `${NAME}` and `SSH_AUTH_SOCK`.
    pub env: BTreeMap<String, String>,
}

impl Surroundings {
    /// Of this process.
    pub fn here() -> Self {
        let env: BTreeMap<String, String> = std::env::vars().collect();
        let user = ["USER", "LOGNAME"].iter().find_map(|name| env.get(*name).cloned()).unwrap_or_else(|| "root".to_owned());
        let hostname = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default().trim().to_owned();
        Self { home: std::env::home_dir().unwrap_or_else(|| "/".into()), user, hostname, env }
    }
}

/// What is done about a host whose key is not known. A key that changed is refused in every case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strictness {
    /// `yes`, and `ask`, since nobody is asked.
    KnownOnly,
    /// `accept-new`, `no` and `off`: noted in the first file of known hosts.
    AcceptNew,
}

/// Where signatures are made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AgentSocket {
    /// Nowhere: `IdentityAgent none`, or no agent runs.
    None,
    /// Over this socket.
    At(PathBuf),
}

/// How the host is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Proxy {
    /// By TCP.
    None,
    /// Through these hosts, nearest first.
    Jump(Vec<Destination>),
    /// Through a program's standard input and output, run by `sh`, with everything filled in.
    Command(String),
}

/// What the configuration says about one host, with everything filled in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// As it was named.
    pub name: String,
    /// Where to connect to.
    pub host: String,
    /// Which port.
    pub port: u16,
    /// Whom to log in as.
    pub user: String,
    /// Under which name its key is known, instead of host and port.
    pub key_alias: Option<String>,
    /// Key files that are tried, in order.
    pub identity_files: Vec<PathBuf>,
    /// Whether somebody named them; otherwise they are those that SSH tries by itself.
    pub identities_named: bool,
    /// Only keys of `identity_files` are tried, of the agent's too.
    pub identities_only: bool,
    /// The agent.
    pub agent: AgentSocket,
    /// The user's files of known hosts; new keys go into the first.
    pub user_known_hosts: Vec<PathBuf>,
    /// The machine's files of known hosts.
    pub global_known_hosts: Vec<PathBuf>,
    /// What is done about an unknown key.
    pub strictness: Strictness,
    /// How it is reached.
    pub proxy: Proxy,
    /// How long connecting may take, where the configuration says so.
    pub connect_timeout: Option<Duration>,
}

/// Raw values as the configuration gives them: the first one for each keyword, all for `identityfile`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Raw {
    pub(crate) values: BTreeMap<String, String>,
    pub(crate) identity_files: Vec<String>,
}

/// Why there are no settings for a host.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SettingsError {
    /// A value that cannot be.
    #[error("ssh configuration: {keyword} {value:?} for {host}: {why}")]
    Value {
        /// Of which keyword.
        keyword: &'static str,
        /// As written.
        value: String,
        /// For which host.
        host: String,
        /// What is wrong with it.
        why: String,
    },
    /// A file.
    #[error("{0}")]
    File(String),
    /// `ssh -G` did not say.
    #[error("{0}")]
    Asking(String),
}

/// The keys that SSH tries by itself, below `~/.ssh`.
const DEFAULT_IDENTITIES: [&str; 3] = ["id_rsa", "id_ecdsa", "id_ed25519"];

impl Raw {
    /// Takes a value unless there is one already.
    pub(crate) fn take(&mut self, keyword: &str, value: &str) {
        if keyword == "identityfile" {
            if !self.identity_files.iter().any(|known| known == value) {
                self.identity_files.push(value.to_owned());
            }
        } else if keyword == "proxyjump" && self.values.contains_key("proxycommand")
            || keyword == "proxycommand" && self.values.contains_key("proxyjump")
        {
            // Whichever comes first wins over the other.
        } else {
            self.values.entry(keyword.to_owned()).or_insert_with(|| value.to_owned());
        }
    }

    pub(crate) fn get(&self, keyword: &str) -> Option<&str> {
        self.values.get(keyword).map(String::as_str)
    }

    /// Fills everything in.
    pub(crate) fn settings(&self, to: &Destination, around: &Surroundings) -> Result<Settings, SettingsError> {
        let user = to.user.clone().or_else(|| self.get("user").map(str::to_owned)).unwrap_or_else(|| around.user.clone());
        let wrong = |keyword, value: &str, why: &str| SettingsError::Value {
            keyword,
            value: value.to_owned(),
            host: to.host.clone(),
            why: why.to_owned(),
        };
        let port = match (to.port, self.get("port")) {
            (Some(port), _) => port,
            (None, None) => 22,
            (None, Some(text)) => match text.parse() {
                Ok(port) if port > 0 => port,
                _ => return Err(wrong("Port", text, "expected a number from 1 to 65535")),
            },
        };
        let mut fill = Fill { name: &to.host, host: to.host.clone(), port, user: &user, alias: self.get("hostkeyalias"), around };
        if let Some(text) = self.get("hostname") {
            fill.host = fill.tokens("HostName", text)?;
        }
        let paths = |keyword: &'static str, text: &str| -> Result<Vec<PathBuf>, SettingsError> {
            if text.eq_ignore_ascii_case("none") {
                return Ok(Vec::new());
            }
            words(text).iter().map(|word| fill.path(keyword, word)).collect()
        };
        let ssh = around.home.join(".ssh");
        let named: Vec<&String> = self.identity_files.iter().filter(|file| !file.eq_ignore_ascii_case("none")).collect();
        let identity_files = if self.identity_files.is_empty() {
            DEFAULT_IDENTITIES.iter().map(|name| ssh.join(name)).collect()
        } else {
            named.iter().map(|file| fill.path("IdentityFile", file)).collect::<Result<_, _>>()?
        };
        let user_known_hosts = match self.get("userknownhostsfile") {
            Some(text) => paths("UserKnownHostsFile", text)?,
            None => vec![ssh.join("known_hosts"), ssh.join("known_hosts2")],
        };
        let global_known_hosts = match self.get("globalknownhostsfile") {
            Some(text) => paths("GlobalKnownHostsFile", text)?,
            None => vec!["/etc/ssh/ssh_known_hosts".into(), "/etc/ssh/ssh_known_hosts2".into()],
        };
        let strictness = match self.get("stricthostkeychecking").map(str::to_ascii_lowercase).as_deref() {
            None | Some("yes" | "true" | "ask") => Strictness::KnownOnly,
            Some("accept-new" | "no" | "false" | "off") => Strictness::AcceptNew,
            Some(other) => return Err(wrong("StrictHostKeyChecking", other, "expected yes, accept-new, ask or no")),
        };
        let at = |path: Option<&String>| path.filter(|p| !p.is_empty()).map_or(AgentSocket::None, |p| AgentSocket::At(p.into()));
        let agent = match self.get("identityagent") {
            None | Some("SSH_AUTH_SOCK") => at(around.env.get("SSH_AUTH_SOCK")),
            Some(none) if none.eq_ignore_ascii_case("none") => AgentSocket::None,
            Some(text) => match text.strip_prefix('$').filter(|name| !name.starts_with('{')) {
                Some(variable) => at(around.env.get(variable)),
                None => AgentSocket::At(fill.path("IdentityAgent", text)?),
            },
        };
        let not_none = |text: &&str| !text.eq_ignore_ascii_case("none");
        let proxy = if let Some(jumps) = self.get("proxyjump").filter(not_none) {
            let jumps = fill.tokens("ProxyJump", jumps)?;
            let hosts: Result<Vec<Destination>, DestinationError> = jumps.split(',').map(|jump| jump.trim().parse()).collect();
            Proxy::Jump(hosts.map_err(|error| wrong("ProxyJump", &jumps, &error.to_string()))?)
        } else if let Some(command) = self.get("proxycommand").filter(not_none) {
            Proxy::Command(fill.tokens("ProxyCommand", command)?)
        } else {
            Proxy::None
        };
        let connect_timeout = match self.get("connecttimeout") {
            None => None,
            Some(none) if none.eq_ignore_ascii_case("none") || none == "0" => None,
            Some(text) => match text.parse() {
                Ok(seconds) => Some(Duration::from_secs(seconds)),
                Err(_) => return Err(wrong("ConnectTimeout", text, "expected whole seconds")),
            },
        };
        let yes = |keyword| matches!(self.get(keyword), Some("yes" | "true" | "Yes"));
        Ok(Settings {
            name: to.host.clone(),
            host: fill.host.clone(),
            port,
            user: user.clone(),
            key_alias: self.get("hostkeyalias").map(str::to_owned),
            identity_files,
            identities_named: !named.is_empty(),
            identities_only: yes("identitiesonly"),
            agent,
            user_known_hosts,
            global_known_hosts,
            strictness,
            proxy,
            connect_timeout,
        })
    }
}

struct Fill<'a> {
    name: &'a str,
    host: String,
    port: u16,
    user: &'a str,
    alias: Option<&'a str>,
    around: &'a Surroundings,
}

impl Fill<'_> {
    fn wrong(&self, keyword: &'static str, value: &str, why: String) -> SettingsError {
        SettingsError::Value { keyword, value: value.to_owned(), host: self.name.to_owned(), why }
    }

    /// `%h` and its like.
    fn tokens(&self, keyword: &'static str, text: &str) -> Result<String, SettingsError> {
        let mut out = String::with_capacity(text.len());
        let mut rest = text.chars();
        while let Some(c) = rest.next() {
            if c != '%' {
                out.push(c);
                continue;
            }
            match rest.next() {
                Some('%') => out.push('%'),
                Some('h') => out.push_str(&self.host),
                Some('n') => out.push_str(self.name),
                Some('p') => out.push_str(&self.port.to_string()),
                Some('r') => out.push_str(self.user),
                Some('k') => out.push_str(self.alias.unwrap_or(self.name)),
                Some('u') => out.push_str(&self.around.user),
                Some('d') => out.push_str(&self.around.home.to_string_lossy()),
                Some('l') => out.push_str(&self.around.hostname),
                Some('L') => out.push_str(self.around.hostname.split('.').next().unwrap_or_default()),
                Some(other) => {
                    return Err(self.wrong(
                        keyword,
                        text,
                        format!("%{other} is not understood here; use %h, %n, %p, %r, %u or %d"),
                    ));
                }
                None => return Err(self.wrong(keyword, text, "it ends in a single %; write %% for a percent sign".to_owned())),
            }
        }
        Ok(out)
    }

    /// Tokens, `${NAME}` and `~`.
    fn path(&self, keyword: &'static str, text: &str) -> Result<PathBuf, SettingsError> {
        let mut filled = self.tokens(keyword, text)?;
        while let Some((before, after)) = filled.split_once("${") {
            let Some((name, after)) = after.split_once('}') else {
                return Err(self.wrong(keyword, text, "${ has no end".to_owned()));
            };
            let value = self.around.env.get(name);
            let value = value.ok_or_else(|| self.wrong(keyword, text, format!("the environment has no {name}")))?;
            filled = format!("{before}{value}{after}");
        }
        Ok(match filled.strip_prefix("~/") {
            Some(below) => self.around.home.join(below),
            None => filled.into(),
        })
    }
}

/// The words of a line: separated by blanks, held together by double quotes.
pub(crate) fn words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quoted = false;
    for c in text.chars() {
        match c {
            '"' => {
                quoted = !quoted;
                word.get_or_insert_default();
            }
            c if c.is_whitespace() && !quoted => words.extend(word.take()),
            c => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    words
}
