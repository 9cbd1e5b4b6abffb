//! A program and its arguments, as a shell would split them; no shell ever runs them.

/// # Errors
/// Why the text is no such list.
pub(super) fn split(text: &str) -> Result<Vec<String>, String> {
    let (mut words, mut word, mut begun) = (Vec::new(), String::new(), false);
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        begun = match c {
            '\'' => {
                loop {
                    match chars.next() {
                        None => return Err(NOT_CLOSED.to_owned()),
                        Some('\'') => break,
                        Some(other) => word.push(other),
                    }
                }
                true
            }
            '"' => {
                loop {
                    match chars.next() {
                        None => return Err(NOT_CLOSED.to_owned()),
                        Some('"') => break,
                        Some('\\') => match chars.next() {
                            Some(c @ ('"' | '\\' | '$' | '`')) => word.push(c),
                            other => word.extend(std::iter::once('\\').chain(other)),
                        },
                        Some(c @ ('$' | '`')) => return Err(of_a_shell(c, text)),
                        Some(other) => word.push(other),
                    }
                }
                true
            }
            '\\' => {
                word.push(chars.next().ok_or("ends with a \\ before nothing")?);
                true
            }
            c if c.is_whitespace() => {
                if begun {
                    words.push(std::mem::take(&mut word));
                }
                false
            }
            '~' | '#' if !begun => return Err(of_a_shell(c, text)),
            '|' | '&' | ';' | '<' | '>' | '$' | '`' | '(' | ')' | '*' | '?' => return Err(of_a_shell(c, text)),
            c => {
                word.push(c);
                true
            }
        };
    }
    if begun {
        words.push(word);
    }
    Ok(words)
}

const NOT_CLOSED: &str = "a quote is not closed";

fn of_a_shell(c: char, text: &str) -> String {
    format!("{c} means something to a shell, and none runs this: quote it, or write [\"sh\", \"-c\", {text:?}]")
}

#[cfg(test)]
mod tests {
    use super::split;

    #[test]
    fn words_are_those_of_a_shell() {
        for (text, words) in [
            ("pg_isready -h localhost -p 5432", &["pg_isready", "-h", "localhost", "-p", "5432"][..]),
            ("  a\tb\n", &["a", "b"]),
            (r#"a "b c" 'd e'f g\ h"#, &["a", "b c", "d ef", "g h"]),
            (r#"a "" '' "\"\\\$\n""#, &["a", "", "", "\"\\$\\n"]),
            ("a#b c~ '$x' '*'", &["a#b", "c~", "$x", "*"]),
            ("", &[]),
            ("  ", &[]),
        ] {
            assert_eq!(split(text).unwrap(), words, "{text:?}");
        }
    }

    #[test]
    fn what_only_a_shell_understands_is_refused() {
        for text in ["a | b", "a && b", "a; b", "a > b", "a $B", "a \"$B\"", "a `b`", "$(a)", "~/a", "a # b", "a *.x"] {
            let told = split(text).unwrap_err();
            assert!(told.contains("\"sh\", \"-c\""), "{text:?}: {told}");
        }
        for text in ["a 'b", "a \"b", "a \"b\\", "a\\"] {
            assert!(split(text).is_err(), "{text:?}");
        }
    }
}
