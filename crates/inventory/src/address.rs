//! How SSH reaches a host: `user@host:port`.

use std::fmt;
use std::str::FromStr;

/// `host`, `user@host`, `host:port`, `user@[::1]:port`. What is left out is for `ssh_config` to say.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Address {
    /// Name to log in with.
    pub user: Option<String>,
    /// Host name, alias of `ssh_config`, or IP address without brackets.
    pub host: String,
    /// Port.
    pub port: Option<u16>,
}

/// Why a text is no address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no address: {reason}; write user@host:port, of which user and port may be left out")]
pub struct AddressError {
    text: String,
    reason: &'static str,
}

impl Address {
    /// This very machine, which is reached without SSH. No file can say so.
    pub fn this_machine() -> Self {
        Self { user: None, host: model::LOCAL_ADDRESS.to_owned(), port: None }
    }

    /// From its parts, checked as a written one is.
    ///
    /// # Errors
    /// [`AddressError`].
    pub fn new(user: Option<String>, host: String, port: Option<u16>) -> Result<Self, AddressError> {
        let wrong = |reason| AddressError { text: host.chars().take(100).collect(), reason };
        // A leading dash would be an option to the programs that a ProxyCommand or a hook runs.
        let sound = |text: &str| {
            !text.is_empty() && !text.starts_with('-') && text.chars().all(|c| !c.is_whitespace() && !c.is_control())
        };
        if !sound(&host) || host.contains(['@', '[', ']', '/', '\'', '"', '`', '$', ';', '&', '|', '<', '>', '\\', '(', ')']) {
            return Err(wrong("that is no host name"));
        }
        if user.as_deref().is_some_and(|user| !sound(user) || user.contains(['@', ':', '\'', '"', '`', '$', ';', '&', '|'])) {
            return Err(wrong("that is no user name"));
        }
        if port == Some(0) {
            return Err(wrong("a port is 1 to 65535"));
        }
        Ok(Self { user, host, port })
    }

    /// Two addresses with the same reach the same host, as far as can be told without asking.
    pub fn reached(&self) -> (String, u16) {
        (self.host.trim_end_matches('.').to_ascii_lowercase(), self.port.unwrap_or(22))
    }
}

impl FromStr for Address {
    type Err = AddressError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = |reason| AddressError { text: text.chars().take(100).collect(), reason };
        let (user, rest) = text.rsplit_once('@').map_or((None, text), |(user, rest)| (Some(user.to_owned()), rest));
        let (host, port) = match rest.strip_prefix('[') {
            Some(inner) => {
                let (host, after) = inner.split_once(']').ok_or_else(|| wrong("a bracket is not closed"))?;
                match after.strip_prefix(':') {
                    Some(port) => (host, Some(port)),
                    None if after.is_empty() => (host, None),
                    None => return Err(wrong("after a bracket stands :port")),
                }
            }
            // More than one colon without brackets is an IPv6 address without a port.
            None if rest.matches(':').count() == 1 => {
                rest.split_once(':').map_or((rest, None), |(host, port)| (host, Some(port)))
            }
            None => (rest, None),
        };
        let port = port.map(|port| port.parse().map_err(|_| wrong("a port is 1 to 65535"))).transpose()?;
        Self::new(user, host.to_owned(), port).map_err(|error| wrong(error.reason))
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(user) = &self.user {
            write!(f, "{user}@")?;
        }
        match (self.host.contains(':'), self.port) {
            (true, Some(_)) => write!(f, "[{}]", self.host)?,
            _ => f.write_str(&self.host)?,
        }
        self.port.map_or(Ok(()), |port| write!(f, ":{port}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_written_as_it_is_read() {
        for text in ["a", "ops@a", "a:22", "ops@a.b:2222", "::1", "ops@::1", "[::1]:22", "ops@[fe80::1%eth0]:22", "10.0.0.1"] {
            assert_eq!(text.parse::<Address>().unwrap().to_string(), text);
        }
        assert_eq!("[::1]".parse::<Address>().unwrap().to_string(), "::1");
    }

    #[test]
    fn what_is_none_is_told() {
        for bad in
            ["", "@a", "a@", "a b", "-oProxyCommand=x", "a:0", "a:65536", "a:", "[::1", "[::1]22", "a;b", "-x@a", "a/b", "$(x)"]
        {
            assert!(bad.parse::<Address>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn the_same_place_is_the_same_however_it_is_written() {
        let reached = |text: &str| text.parse::<Address>().unwrap().reached();
        assert_eq!(reached("ops@Web1.example."), reached("root@web1.example:22"));
        assert_ne!(reached("a:22"), reached("a:23"));
    }
}
