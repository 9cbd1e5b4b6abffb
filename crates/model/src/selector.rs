//! Which targets are meant (ruling 25).

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::{Labels, TargetId};

/// Longer texts are no selectors, in bytes.
const MAX: usize = 4096;

/// A choice of targets, written as terms between commas: `role=web,site!=fra`, `web1,web2`, `web*,site=fra`, `*`.
///
/// A term without `=` is an id or a name, in which `*` stands for any text; with several of them any one may fit (S2-19). A term
/// `key=value` or `key!=value` is about a label; all of these must hold. A target without the label has another value. `*` alone
/// means all targets: nothing is ever meant by leaving it out.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Selector {
    names: Vec<String>,
    labels: Vec<Requirement>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Requirement {
    key: String,
    equal: bool,
    value: String,
}

/// Why a text is no selector.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no selector: {reason}; write a name, `name1,name2`, `label=value,label!=value`, or `*` for every host")]
pub struct SelectorError {
    text: String,
    reason: &'static str,
}

impl Selector {
    /// Whether a target is meant.
    pub fn matches(&self, id: TargetId, name: &str, labels: &Labels) -> bool {
        let named = |term: &String| glob(term, name) || term.parse::<TargetId>().is_ok_and(|wanted| wanted == id);
        let holds = |r: &Requirement| (labels.get(&r.key) == Some(&r.value)) == r.equal;
        (self.names.is_empty() || self.names.iter().any(named)) && self.labels.iter().all(holds)
    }

    /// It is `*`, and nothing beside it narrows it.
    pub fn is_all(&self) -> bool {
        self.labels.is_empty() && self.names.iter().any(|name| name == "*")
    }

    /// The label keys that it asks for, to tell a misspelt one.
    pub fn keys(&self) -> BTreeSet<&str> {
        self.labels.iter().map(|r| r.key.as_str()).collect()
    }

    /// The names and ids that it asks for and that are no patterns, to tell those that do not exist.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.names.iter().map(String::as_str).filter(|name| !name.contains('*'))
    }
}

/// Whether a text fits a pattern in which `*` stands for any text. Takes time in proportion to the product of both at most.
fn glob(pattern: &str, text: &str) -> bool {
    let Some((first, rest)) = pattern.split_once('*') else { return pattern == text };
    let Some(mut text) = text.strip_prefix(first) else { return false };
    let (middle, last) = rest.rsplit_once('*').unwrap_or(("", rest));
    for part in middle.split('*').filter(|part| !part.is_empty()) {
        let Some((_, after)) = text.split_once(part) else { return false };
        text = after;
    }
    text.ends_with(last)
}

impl FromStr for Selector {
    type Err = SelectorError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = |reason| SelectorError { text: text.chars().take(100).collect(), reason };
        if text.len() > MAX {
            return Err(wrong("it is longer than 4096 bytes"));
        }
        if text.trim().is_empty() {
            return Err(wrong("it is empty"));
        }
        let mut selector = Self { names: Vec::new(), labels: Vec::new() };
        for term in text.split(',').map(str::trim) {
            let Some((key, value)) = term.split_once('=') else {
                let name = if term.is_empty() { Err(wrong("a term is empty")) } else { Ok(term.to_owned()) }?;
                selector.names.push(name);
                continue;
            };
            let (key, equal) = key.strip_suffix('!').map_or((key, true), |key| (key, false));
            let (key, value) = (key.trim().to_owned(), value.trim().to_owned());
            if key.is_empty() {
                return Err(wrong("a label has no key"));
            }
            if value.is_empty() {
                return Err(wrong("a label has no value"));
            }
            let other = |r: &Requirement| r.key == key && r.equal && equal && r.value != value;
            if selector.labels.iter().any(other) {
                return Err(wrong("a label has only one value, so that nothing could be meant"));
            }
            selector.labels.push(Requirement { key, equal, value });
        }
        Ok(selector)
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.names.iter().cloned();
        let labels = self.labels.iter().map(|r| format!("{}{}{}", r.key, if r.equal { "=" } else { "!=" }, r.value));
        f.write_str(&names.chain(labels).collect::<Vec<_>>().join(","))
    }
}

impl Serialize for Selector {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Selector {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn means(selector: &str, name: &str, labels: &[(&str, &str)]) -> bool {
        let labels = labels.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        selector.parse::<Selector>().unwrap().matches(TargetId(Uuid::from_u128(1)), name, &labels)
    }

    #[test]
    fn labels_must_all_hold_and_one_name_is_enough() {
        let web = [("role", "web"), ("site", "fra")];
        assert!(means("role=web", "a", &web) && means("role=web,site=fra", "a", &web));
        assert!(!means("role=web,site!=fra", "a", &web) && means("role=web,site!=ams", "a", &web));
        assert!(means("rack!=7", "a", &web), "without the label it is not that one");
        assert!(means("a,b", "a", &web) && means("a,b", "b", &web) && !means("a,b", "c", &web));
        assert!(means("a,role=web", "a", &web) && !means("a,role=db", "a", &web) && !means("b,role=web", "a", &web));
        assert!(means("00000000-0000-0000-0000-000000000001", "a", &web));
        assert!(!means("00000000-0000-0000-0000-000000000002", "a", &web));
    }

    #[test]
    fn a_star_stands_for_any_text() {
        for (pattern, name, fits) in [
            ("*", "a", true),
            ("web*", "web1", true),
            ("web*", "db1", false),
            ("*.fra", "web1.fra", true),
            ("w*1*a", "web1.fra", true),
            ("a*a", "a", false),
            ("*b*b", "ab", false),
            ("**", "a", true),
        ] {
            assert_eq!(means(pattern, name, &[]), fits, "{pattern} {name}");
        }
    }

    #[test]
    fn all_is_said_and_never_left_out() {
        assert!("*".parse::<Selector>().unwrap().is_all());
        assert!(!"*,site=fra".parse::<Selector>().unwrap().is_all());
        for bad in ["", " ", ",", "a,", "=x", "a=", "!=x", "a!=", "a=1,a=2"] {
            assert!(bad.parse::<Selector>().is_err(), "{bad:?}");
        }
        assert!("x".repeat(MAX + 1).parse::<Selector>().is_err());
    }

    #[test]
    fn it_is_written_as_it_is_read() {
        for text in ["*", "role=web,site!=fra", "web1,web*,rack=7"] {
            let selector: Selector = text.parse().unwrap();
            assert_eq!(selector.to_string().parse::<Selector>().unwrap(), selector);
            assert_eq!(serde_json::from_str::<Selector>(&serde_json::to_string(&selector).unwrap()).unwrap(), selector);
        }
        let selector: Selector = "web1,w*,role=web,site!=fra".parse().unwrap();
        assert_eq!(selector.keys().into_iter().collect::<Vec<_>>(), ["role", "site"]);
        assert_eq!(selector.names().collect::<Vec<_>>(), ["web1"]);
    }
}
