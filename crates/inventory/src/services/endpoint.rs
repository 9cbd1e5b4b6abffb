//! Where health is asked over the network.

/// # Errors
/// Why it is no address that can be asked.
pub(super) fn url(url: &str) -> Result<(), String> {
    let rest = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://"));
    let rest = rest.ok_or_else(|| format!("{url:?} has to begin with http:// or https://"))?;
    if let Some(c) = url.chars().find(|c| !c.is_ascii_graphic() || "\"<>\\^`{|}".contains(*c)) {
        return Err(format!("{url:?} holds {c:?}, which stands in no URL: write it with %, as in %20"));
    }
    let place = rest.split(['/', '?', '#']).next().unwrap_or_default();
    if place.contains('@') {
        return Err(
            "must not hold a user or password: this file and the plans made from it are read by many; use a hook".to_owned()
        );
    }
    let wrong = || format!("{url:?} names no host: write http://HOST/ or http://HOST:PORT/");
    let sound = host(place) || place.rsplit_once(':').is_some_and(|(name, number)| host(name) && port(number));
    sound.then_some(()).ok_or_else(wrong)
}

/// # Errors
/// Why it is no `HOST:PORT`.
pub(super) fn tcp(address: &str) -> Result<(), String> {
    let sound = address.rsplit_once(':').is_some_and(|(name, number)| host(name) && port(number));
    sound.then_some(()).ok_or_else(|| format!("{address:?} is no HOST:PORT, as in \"localhost:6379\" or \"[::1]:6379\""))
}

fn host(text: &str) -> bool {
    match text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(inner) if inner.bytes().any(|b| !b.is_ascii_hexdigit() && b != b':' && b != b'.') => false,
        Some(inner) => inner.contains("::") || inner.matches(':').count() == 7,
        None => {
            let label = |label: &str| {
                !label.is_empty()
                    && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
                    && !label.starts_with('-')
            };
            text.len() <= 253 && text.split('.').all(label)
        }
    }
}

fn port(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_digit()) && text.parse::<u16>().is_ok_and(|port| port > 0)
}

#[cfg(test)]
mod tests {
    #[test]
    fn an_address_names_a_host_and_a_port() {
        for good in ["http://localhost:3001/health", "https://a.example", "http://[::1]:80/x?y#z", "http://10.0.0.1/"] {
            assert_eq!(super::url(good), Ok(()), "{good}");
        }
        for bad in
            ["", "localhost/x", "ftp://x/", "http://", "http:///x", "http://x:0/", "http://x:y/", "http://x/a b", "http://u:p@x/"]
        {
            assert!(super::url(bad).is_err(), "{bad:?}");
        }
        for good in ["localhost:6379", "[::1]:6379", "10.0.0.1:1"] {
            assert_eq!(super::tcp(good), Ok(()), "{good}");
        }
        for bad in ["", "localhost", ":1", "x:", "x:0", "x:65536", "x:+1", "::1:80", "http://x:1", "-x:1", "a b:1"] {
            assert!(super::tcp(bad).is_err(), "{bad:?}");
        }
    }
}
