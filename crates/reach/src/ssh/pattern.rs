//! Patterns of `ssh_config` and `known_hosts`: `*`, `?`, and `!` for "not".

/// Whether a text fits a pattern of `*` and `?`, whatever the case of its letters.
pub(crate) fn fits(pattern: &str, text: &str) -> bool {
    let (pattern, text) = (pattern.as_bytes(), text.as_bytes());
    // The last star, and how much of the text it has taken.
    let (mut p, mut t, mut star) = (0, 0, None);
    while t < text.len() {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, t));
                p += 1;
            }
            Some(c) if *c == b'?' || c.eq_ignore_ascii_case(&text[t]) => {
                p += 1;
                t += 1;
            }
            _ => {
                let Some((at, taken)) = star else { return false };
                star = Some((at, taken + 1));
                p = at + 1;
                t = taken + 1;
            }
        }
    }
    pattern[p..].iter().all(|c| *c == b'*')
}

/// Whether a text fits a list: one pattern does, and none that begins with `!`.
pub(crate) fn fits_list<'a>(patterns: impl IntoIterator<Item = &'a str>, text: &str) -> bool {
    let mut found = false;
    for pattern in patterns {
        match pattern.strip_prefix('!') {
            Some(not) if fits(not, text) => return false,
            Some(_) => {}
            None => found |= fits(pattern, text),
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_marks_and_nots() {
        for (pattern, text) in [("*", ""), ("web*", "WEB1"), ("w?b*.x", "web.1.x"), ("*a*b", "xaaab"), ("**", "x")] {
            assert!(fits(pattern, text), "{pattern} {text}");
        }
        for (pattern, text) in [("web?", "web"), ("web", "web1"), ("*b", "abc"), ("", "x")] {
            assert!(!fits(pattern, text), "{pattern} {text}");
        }
        assert!(fits_list(["web*", "!web9"], "web1") && !fits_list(["web*", "!web9"], "web9"));
        assert!(!fits_list(["!web9"], "web1"), "a list of nots alone fits nothing");
    }
}
