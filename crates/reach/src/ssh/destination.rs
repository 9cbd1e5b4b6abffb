//! Where a host is: `user@address:port`.

use std::fmt;
use std::str::FromStr;

use model::LOCAL_ADDRESS;

/// A host as it is named to SSH: a name of `ssh_config`, or an address. What is not said here comes from the configuration.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Destination {
    /// Whom to log in as.
    pub user: Option<String>,
    /// Name or address; never empty, without brackets.
    pub host: String,
    /// Which port, from 1.
    pub port: Option<u16>,
}

/// Why a text names no host.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an ssh address: {0:?} (write it as HOST, USER@HOST, HOST:PORT or USER@[IPV6]:PORT)")]
pub struct DestinationError(String);

impl FromStr for Destination {
    type Err = DestinationError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || DestinationError(text.to_owned());
        if text == LOCAL_ADDRESS {
            return Ok(Self { user: None, host: text.to_owned(), port: None });
        }
        let rest = text.strip_prefix("ssh://").unwrap_or(text);
        let (user, rest) = match rest.rsplit_once('@') {
            Some((user, rest)) => (Some(user.to_owned()), rest),
            None => (None, rest),
        };
        let (host, port) = if let Some(bracketed) = rest.strip_prefix('[') {
            let (host, after) = bracketed.split_once(']').ok_or_else(wrong)?;
            match after {
                "" => (host, None),
                after => (host, Some(after.strip_prefix(':').ok_or_else(wrong)?)),
            }
        } else if rest.matches(':').count() == 1 {
            rest.split_once(':').map_or((rest, None), |(host, port)| (host, Some(port)))
        } else {
            // More than one colon: an IPv6 address without a port.
            (rest, None)
        };
        let port = port.map(str::parse::<u16>).transpose().map_err(|_| wrong())?;
        // A name that begins with a dash would be an option to `ssh -G` and to a proxy command.
        let plain = |name: &str| {
            !name.is_empty() && !name.starts_with('-') && !name.contains(|c: char| c.is_whitespace() || c.is_control())
        };
        if !plain(host) || user.as_deref().is_some_and(|user| !plain(user)) || port == Some(0) {
            return Err(wrong());
        }
        Ok(Self { user, host: host.to_owned(), port })
    }
}

impl Destination {
    /// Whether it is this very machine: no name that can be written for SSH has a colon at its end.
    pub fn is_local(&self) -> bool {
        self.host == LOCAL_ADDRESS
    }
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(user) = &self.user {
            write!(f, "{user}@")?;
        }
        match (self.host.contains(':'), self.port) {
            (true, Some(port)) => write!(f, "[{}]:{port}", self.host),
            (false, Some(port)) => write!(f, "{}:{port}", self.host),
            (_, None) => f.write_str(&self.host),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_shown_again() {
        for text in ["web1", "root@web1", "root@web1:2222", "web1:22", "[::1]:2222", "::1", "a@b@web1"] {
            let read: Destination = text.parse().unwrap();
            assert_eq!(read.to_string(), text);
        }
        let v6: Destination = "root@[fe80::1]".parse().unwrap();
        assert_eq!((v6.host.as_str(), v6.port, v6.to_string().as_str()), ("fe80::1", None, "root@fe80::1"));
        for text in
            ["", "root@", "@web1", "web1:0", "web1:x", "web1:70000", "[::1", "[::1]x", "-oProxyCommand=x", "a b", "-l@web1"]
        {
            assert!(text.parse::<Destination>().is_err(), "{text:?}");
        }
    }
}
