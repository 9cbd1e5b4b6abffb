//! Ansible's INI: `[group]`, `[group:children]`, `[group:vars]`, and hosts with variables on their line.

use super::range::expand;
use super::{Groups, Value, Variables};
use crate::{InventoryError, Place, Source};

enum Section {
    Hosts(String),
    Children(String),
    Vars(String),
}

pub(crate) fn read(source: &Source) -> Result<Groups, InventoryError> {
    let mut groups = Groups::default();
    let mut section = Section::Hosts("ungrouped".to_owned());
    for (line, text) in (1..).zip(source.text.lines()) {
        let place = Place { file: source.name.clone(), line };
        let wrong = |detail: String| InventoryError::Syntax { place: place.clone(), detail };
        let text = text.trim();
        if text.is_empty() || text.starts_with(['#', ';']) {
            continue;
        }
        if let Some(head) = text.strip_prefix('[') {
            let head = head.split(['#', ';']).next().unwrap_or_default().trim_end();
            let Some(head) = head.strip_suffix(']') else {
                return Err(wrong("a section is [group], [group:children] or [group:vars]".to_owned()));
            };
            let (group, kind) = head.split_once(':').unwrap_or((head, ""));
            let name = group.to_owned();
            groups.group(group, &place)?;
            section = match kind {
                "" => Section::Hosts(name),
                "children" => Section::Children(name),
                "vars" => Section::Vars(name),
                other => return Err(wrong(format!("{other:?} is no kind of section: it is `children` or `vars`"))),
            };
            continue;
        }
        match &section {
            Section::Vars(group) => {
                let Some((name, value)) = text.split_once('=') else {
                    return Err(wrong("a variable is NAME=VALUE".to_owned()));
                };
                groups.variable(group, name.trim().to_owned(), Value::Text(unquoted(value.trim()).to_owned()));
            }
            Section::Children(group) => {
                let words = words(text).map_err(wrong)?;
                let [child] = &words[..] else {
                    return Err(wrong("a child is the name of a group, one on each line".to_owned()));
                };
                groups.child(group, child, &place);
            }
            Section::Hosts(group) => host(&mut groups, group, text, &place)?,
        }
    }
    Ok(groups)
}

/// `PATTERN[:PORT] name=value …`
fn host(groups: &mut Groups, group: &str, text: &str, place: &Place) -> Result<(), InventoryError> {
    let wrong = |detail: String| InventoryError::Syntax { place: place.clone(), detail };
    let words = words(text).map_err(wrong)?;
    let Some((pattern, rest)) = words.split_first() else { return Ok(()) };
    let mut variables = Variables::new();
    // A colon inside a range is not one before a port.
    let after_range = pattern.rfind(']').map_or(0, |at| at + 1);
    let (head, tail) = pattern.split_at(after_range);
    let pattern = match tail.split_once(':') {
        Some((name, port)) if !tail.contains("::") => {
            variables.insert("ansible_port".to_owned(), Value::Text(port.to_owned()));
            format!("{head}{name}")
        }
        _ => pattern.clone(),
    };
    for word in rest {
        let Some((name, value)) = word.split_once('=').filter(|(name, _)| !name.is_empty()) else {
            return Err(wrong(format!("{word:?} after a host is no variable: NAME=VALUE")));
        };
        variables.insert(name.to_owned(), Value::Text(value.to_owned()));
    }
    for name in expand(&pattern).map_err(wrong)? {
        groups.host(group, &name, variables.clone(), place)?;
    }
    Ok(())
}

/// Words as a shell would see them: quotes hold blanks together, `#` after a blank begins a comment.
fn words(text: &str) -> Result<Vec<String>, String> {
    let (mut words, mut word, mut begun) = (Vec::new(), String::new(), false);
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '#' if !begun => break,
            '"' | '\'' => {
                begun = true;
                loop {
                    match chars.next() {
                        None => return Err("a quote is not closed".to_owned()),
                        Some(end) if end == c => break,
                        Some('\\') if c == '"' => word.extend(chars.next()),
                        Some(other) => word.push(other),
                    }
                }
            }
            '\\' => {
                begun = true;
                word.extend(chars.next());
            }
            c if c.is_whitespace() => {
                if std::mem::take(&mut begun) {
                    words.push(std::mem::take(&mut word));
                }
            }
            c => {
                begun = true;
                word.push(c);
            }
        }
    }
    if begun {
        words.push(word);
    }
    Ok(words)
}

fn unquoted(value: &str) -> &str {
    let inner = |quote: char| value.strip_prefix(quote).and_then(|rest| rest.strip_suffix(quote));
    inner('"').or_else(|| inner('\'')).unwrap_or(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_those_of_a_shell() {
        assert_eq!(words("a b=\"c d\" 'e'f g=\\# # end").unwrap(), ["a", "b=c d", "ef", "g=#"]);
        assert_eq!(words("a#b").unwrap(), ["a#b"]);
        assert!(words("a 'b").is_err());
    }
}
