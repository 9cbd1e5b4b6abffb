//! Which hosts are meant: `web1`, `web*`, `role=web,site!=fra`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::{Labels, TargetId};

/// Names hosts by name, id or label (ruling 25). Terms joined by commas must all hold; of several words, separated by blanks,
/// one must (and a word that only leaves out must stand alone). It always has at least one word: nothing is ever selected by omission.
///
/// | term | holds for |
/// |---|---|
/// | `web1` | the host of this name or id; `*` in it stands for any text |
/// | `!web1` | every other host |
/// | `role=web` | hosts whose label `role` is `web`; `*` in the value stands for any text, so `role=*` means any value |
/// | `role!=web` | every other host, also one without the label; `role!=*` means without the label |
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Selector {
    any: Vec<Word>,
}

/// Terms that must all hold; never empty.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Word(Vec<Term>);

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Term {
    /// The label; without it the term speaks of names and ids.
    key: Option<String>,
    pattern: String,
    negated: bool,
}

/// Why a text is no selector.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SelectorError {
    /// No word at all.
    #[error("no host is named: give names, label=value, or '*' for all of them")]
    Empty,
    /// A term that cannot be read.
    #[error("{term:?} in a selector: {hint}")]
    Term {
        /// As written.
        term: String,
        /// What to write instead.
        hint: &'static str,
    },
}

/// Why a selector names nobody, or does not mean what was written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SelectionError {
    /// There are no hosts to select from.
    #[error("there are no hosts to select from: enrol, adopt or list some first")]
    NoHosts,
    /// A label that no host carries.
    #[error("no host has a label {key:?}; known are: {}", listed(.known))]
    UnknownLabel {
        /// As written.
        key: String,
        /// Labels that there are.
        known: Vec<String>,
    },
    /// A word that matches no host.
    #[error("{word:?} matches no host: look with 'reveille hosts', or quote a '*' so that the shell leaves it alone")]
    NoMatch {
        /// As written.
        word: String,
    },
}

impl Selector {
    /// From words, each of which may itself hold several, separated by blanks.
    ///
    /// # Errors
    /// [`SelectorError`].
    pub fn parse<'a>(words: impl IntoIterator<Item = &'a str>) -> Result<Self, SelectorError> {
        let words = words.into_iter().flat_map(str::split_whitespace);
        let any = words.map(|word| word.split(',').map(Term::parse).collect::<Result<_, _>>().map(Word));
        let any: Vec<Word> = any.collect::<Result<_, _>>()?;
        if any.is_empty() {
            return Err(SelectorError::Empty);
        }
        // `web1 !web2` reads like "web1 without web2", and would mean the whole fleet but web2.
        match any.iter().find(|word| any.len() > 1 && word.0.iter().all(|term| term.negated)) {
            Some(word) => Err(SelectorError::Term {
                term: word.to_string(),
                hint: "to leave hosts out, join with a comma what they are left out of: role=web,!web2",
            }),
            None => Ok(Self { any }),
        }
    }

    /// Every host: `*`.
    pub fn everyone() -> Self {
        Self { any: vec![Word(vec![Term { key: None, pattern: "*".to_owned(), negated: false }])] }
    }

    /// Whether it names this host.
    pub fn matches(&self, id: TargetId, name: &str, labels: &Labels) -> bool {
        self.any.iter().any(|word| word.matches(id, name, labels))
    }

    /// The labels that it speaks of.
    pub fn keys(&self) -> BTreeSet<&str> {
        self.any.iter().flat_map(|word| &word.0).filter_map(|term| term.key.as_deref()).collect()
    }

    /// Those of the hosts that it names, in their order.
    ///
    /// # Errors
    /// Each word must name somebody, and each label must be carried by somebody: a slip of the pen never means "none of them",
    /// and with `!=` never "all of them".
    pub fn select<'a>(
        &self,
        hosts: impl IntoIterator<Item = (TargetId, &'a str, &'a Labels)>,
    ) -> Result<Vec<TargetId>, SelectionError> {
        let mut known = BTreeSet::new();
        let mut met = vec![false; self.any.len()];
        // Ten thousand hosts may be named one by one: such words are looked up, and not tried on every host.
        let mut by_name: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        let mut by_id: BTreeMap<TargetId, Vec<usize>> = BTreeMap::new();
        let mut others = Vec::new();
        for (index, word) in self.any.iter().enumerate() {
            let Some(name) = word.only_name() else {
                others.push((index, word));
                continue;
            };
            by_name.entry(name).or_default().push(index);
            if let Ok(id) = name.parse() {
                by_id.entry(id).or_default().push(index);
            }
        }
        let names = others.iter().flat_map(|(index, word)| word.0.iter().map(move |term| (*index, term)));
        let mut missing: Vec<(usize, &Term)> = names.filter(|(_, term)| term.is_name()).collect();
        let mut selected = Vec::new();
        let mut none = true;
        for (id, name, labels) in hosts {
            none = false;
            known.extend(labels.keys().map(String::as_str));
            let mut named = false;
            missing.retain(|(_, term)| !term.matches(id, name, labels));
            let found = [by_name.get(name), by_id.get(&id)].into_iter().flatten().flatten().copied();
            for index in found.chain(others.iter().filter(|(_, word)| word.matches(id, name, labels)).map(|(index, _)| *index)) {
                if let Some(met) = met.get_mut(index) {
                    (named, *met) = (true, true);
                }
            }
            if named {
                selected.push(id);
            }
        }
        if none {
            return Err(SelectionError::NoHosts);
        }
        if let Some(key) = self.keys().into_iter().find(|key| !known.contains(key)) {
            let known = known.into_iter().map(str::to_owned).collect();
            return Err(SelectionError::UnknownLabel { key: key.to_owned(), known });
        }
        // The first name that is nobody's, whether or not its word would name somebody by another one.
        let alone = self.any.iter().zip(&met).position(|(word, met)| !met && word.only_name().is_some());
        if let Some((index, term)) = missing.first()
            && alone.is_none_or(|alone| *index < alone)
        {
            return Err(SelectionError::NoMatch { word: term.to_string() });
        }
        if let Some(word) = alone.and_then(|alone| self.any.get(alone)) {
            return Err(SelectionError::NoMatch { word: word.to_string() });
        }
        match self.any.iter().zip(met).find(|(_, met)| !met) {
            Some((word, _)) => Err(SelectionError::NoMatch { word: word.to_string() }),
            None => Ok(selected),
        }
    }
}

impl Word {
    /// The name or id that is all of it.
    fn only_name(&self) -> Option<&str> {
        match &self.0[..] {
            [term] if term.is_name() && !term.pattern.contains('*') => Some(&term.pattern),
            _ => None,
        }
    }

    fn matches(&self, id: TargetId, name: &str, labels: &Labels) -> bool {
        let mut names = self.0.iter().filter(|term| term.is_name()).peekable();
        let named = names.peek().is_none() || names.any(|term| term.matches(id, name, labels));
        named && self.0.iter().filter(|term| !term.is_name()).all(|term| term.matches(id, name, labels))
    }
}

impl Term {
    fn parse(text: &str) -> Result<Self, SelectorError> {
        let wrong = |hint| SelectorError::Term { term: text.to_owned(), hint };
        if text.is_empty() {
            return Err(wrong("a comma stands between two terms, as in role=web,site!=fra; blanks stand between alternatives"));
        }
        let term = match text.split_once('=') {
            Some((left, value)) => {
                let (key, negated) = left.strip_suffix('!').map_or((left, false), |key| (key, true));
                if !is_key(key) {
                    return Err(wrong("before '=' stands the name of a label: letters, digits, '.', '_', '-' and '/'"));
                }
                if value.is_empty() {
                    return Err(wrong("the value is missing: write label=value, or label=* for any value"));
                }
                if value.starts_with('=') {
                    return Err(wrong("write one '=', as in role=web"));
                }
                Self { key: Some(key.to_owned()), pattern: value.to_owned(), negated }
            }
            None => {
                let (name, negated) = text.strip_prefix('!').map_or((text, false), |name| (name, true));
                if name.is_empty() {
                    return Err(wrong("after '!' stands the name of a host that is not meant"));
                }
                Self { key: None, pattern: name.to_owned(), negated }
            }
        };
        if term.pattern.contains(|c: char| c.is_control() || "()[]{}<>!;&|\"'\\".contains(c)) {
            return Err(wrong("names and values hold none of ()[]{}<>!;&|, no quotes and no backslash"));
        }
        Ok(term)
    }

    /// It names a host that is meant.
    fn is_name(&self) -> bool {
        self.key.is_none() && !self.negated
    }

    fn matches(&self, id: TargetId, name: &str, labels: &Labels) -> bool {
        let held = match &self.key {
            Some(key) => labels.get(key).is_some_and(|value| fits(&self.pattern, value)),
            None => fits(&self.pattern, name) || self.pattern.parse::<TargetId>().is_ok_and(|named| named == id),
        };
        held != self.negated
    }
}

fn is_key(key: &str) -> bool {
    !key.is_empty() && key.chars().all(|c| c.is_alphanumeric() || "._-/".contains(c))
}

/// Whether the text is the pattern, in which `*` stands for any text.
fn fits(pattern: &str, text: &str) -> bool {
    let Some((head, rest)) = pattern.split_once('*') else { return pattern == text };
    let Some(mut text) = text.strip_prefix(head) else { return false };
    let mut parts = rest.split('*').peekable();
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return text.ends_with(part);
        }
        // The first place is as good as any: what follows has the most room there.
        let Some(at) = text.find(part) else { return false };
        text = text.get(at + part.len()..).unwrap_or_default();
    }
    true
}

fn listed(names: &[String]) -> String {
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

impl fmt::Display for Term {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let not = if self.negated { "!" } else { "" };
        match &self.key {
            Some(key) => write!(f, "{key}{not}={}", self.pattern),
            None => write!(f, "{not}{}", self.pattern),
        }
    }
}

impl fmt::Display for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, term) in self.0.iter().enumerate() {
            write!(f, "{}{term}", if index > 0 { "," } else { "" })?;
        }
        Ok(())
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, word) in self.any.iter().enumerate() {
            write!(f, "{}{word}", if index > 0 { " " } else { "" })?;
        }
        Ok(())
    }
}

impl FromStr for Selector {
    type Err = SelectorError;
    fn from_str(s: &str) -> Result<Self, Self::Err> {
        Self::parse([s])
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
    use proptest::prelude::*;
    use uuid::Uuid;

    use super::*;

    fn fleet() -> Vec<(TargetId, String, Labels)> {
        let host = |n: u128, name: &str, labels: &[(&str, &str)]| {
            let labels = labels.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
            (TargetId(Uuid::from_u128(n)), name.to_owned(), labels)
        };
        vec![
            host(1, "web1", &[("role", "web"), ("site", "fra")]),
            host(2, "web2", &[("role", "web"), ("site", "ber")]),
            host(3, "db1", &[("role", "db"), ("site", "fra")]),
            host(4, "spare", &[]),
        ]
    }

    fn named(words: &[&str]) -> Result<Vec<String>, SelectionError> {
        let fleet = fleet();
        let selector = Selector::parse(words.iter().copied()).expect("a selector");
        let ids = selector.select(fleet.iter().map(|(id, name, labels)| (*id, name.as_str(), labels)))?;
        let name = |id: &TargetId| fleet.iter().find(|(known, ..)| known == id).expect("a host").1.clone();
        Ok(ids.iter().map(name).collect())
    }

    #[test]
    fn terms_mean_what_the_table_says() {
        let cases: &[(&[&str], &[&str])] = &[
            (&["web1"], &["web1"]),
            (&["00000000-0000-0000-0000-000000000003"], &["db1"]),
            (&["web*"], &["web1", "web2"]),
            (&["*1"], &["web1", "db1"]),
            (&["*"], &["web1", "web2", "db1", "spare"]),
            (&["w*b*"], &["web1", "web2"]),
            (&["!web1"], &["web2", "db1", "spare"]),
            (&["role=web"], &["web1", "web2"]),
            (&["role=web,site!=fra"], &["web2"]),
            (&["role=web,!web2"], &["web1"]),
            (&["role!=web"], &["db1", "spare"]),
            (&["role=*"], &["web1", "web2", "db1"]),
            (&["role!=*"], &["spare"]),
            (&["site=f*"], &["web1", "db1"]),
            (&["web1 db1"], &["web1", "db1"]),
            (&["web1,db1"], &["web1", "db1"]),
            (&["web1,db1,site=fra"], &["web1", "db1"]),
            (&["web*,db1,!web2"], &["web1", "db1"]),
            (&["spare", "web1", "role=web"], &["web1", "web2", "spare"]),
        ];
        for (words, expected) in cases {
            assert_eq!(named(words).unwrap(), *expected, "{words:?}");
        }
    }

    #[test]
    fn ruling_25_an_empty_selection_and_an_unknown_label_are_errors() {
        assert_eq!(Selector::parse([]), Err(SelectorError::Empty));
        assert_eq!(" \t".parse::<Selector>(), Err(SelectorError::Empty));
        assert_eq!(named(&["web9"]), Err(SelectionError::NoMatch { word: "web9".into() }));
        assert_eq!(named(&["web1", "wbe2"]), Err(SelectionError::NoMatch { word: "wbe2".into() }));
        assert_eq!(named(&["web1,wbe2"]), Err(SelectionError::NoMatch { word: "wbe2".into() }));
        assert_eq!(named(&["role=cache"]), Err(SelectionError::NoMatch { word: "role=cache".into() }));
        // With a misspelt label, `!=` would mean the whole fleet.
        let unknown = SelectionError::UnknownLabel { key: "rloe".into(), known: vec!["role".into(), "site".into()] };
        assert_eq!(named(&["rloe!=web"]), Err(unknown));
        assert_eq!(Selector::everyone().select([]), Err(SelectionError::NoHosts));
    }

    /// Trying every word on every host would be ten thousand times as much.
    #[test]
    fn ten_thousand_hosts_are_named_one_by_one_by_name_or_id() {
        let ids: Vec<TargetId> = (1..=20_000).map(|n| TargetId(Uuid::from_u128(n))).collect();
        let names: Vec<String> = (1..=20_000).map(|n| format!("web{n}")).collect();
        let labels = Labels::new();
        let hosts = || ids.iter().zip(&names).map(|(id, name)| (*id, name.as_str(), &labels));
        let mut words: Vec<String> =
            names.iter().take(10_000).cloned().chain(ids.iter().skip(10_000).map(ToString::to_string)).collect();
        let select = |words: &[String]| Selector::parse(words.iter().map(String::as_str)).unwrap().select(hosts());
        assert_eq!(select(&words).unwrap(), ids);
        // The first slip is told, among names and beside what is tried on every host.
        words.extend(["web0", "*", "wbe*", "web00"].map(str::to_owned));
        assert_eq!(select(&words), Err(SelectionError::NoMatch { word: "web0".into() }));
        words.retain(|word| word != "web0");
        assert_eq!(select(&words), Err(SelectionError::NoMatch { word: "wbe*".into() }));
    }

    #[test]
    fn what_cannot_be_read_is_told_with_a_hint() {
        for bad in [
            "role=",
            "=web",
            "role==web",
            ",",
            "a,",
            "!",
            "!=x",
            "ro*le=web",
            "(a",
            "a;b",
            "role=\"web\"",
            "!!a",
            "a b,,c",
            "a !b",
            "a b!=c,!d",
        ] {
            let error = bad.parse::<Selector>().expect_err(bad).to_string();
            assert!(error.contains("selector"), "{bad}: {error}");
        }
        // A value may hold what a name of a label may not.
        assert!("zone=a:b/c@d=e".parse::<Selector>().is_ok());
    }

    #[test]
    fn a_pattern_needs_its_head_and_its_tail_apart() {
        for (pattern, text, expected) in [
            ("a*a", "a", false),
            ("a*a", "aa", true),
            ("a*b*c", "abbc", true),
            ("a*b*c", "acb", false),
            ("*", "", true),
            ("**", "x", true),
            ("ü*", "übel", true),
            ("*b", "ab", true),
            ("*ab*ab", "ab", false),
        ] {
            assert_eq!(fits(pattern, text), expected, "{pattern} {text}");
        }
    }

    /// The obvious definition, which may take for ever.
    fn fits_by_definition(pattern: &[char], text: &[char]) -> bool {
        match pattern.split_first() {
            None => text.is_empty(),
            Some(('*', rest)) => (0..=text.len()).any(|n| fits_by_definition(rest, &text[n..])),
            Some((c, rest)) => text.split_first().is_some_and(|(t, others)| t == c && fits_by_definition(rest, others)),
        }
    }

    proptest! {
        #[test]
        fn written_and_read_again_it_is_the_same(text in "(!?[a-c*]{1,3}|[a-c]{1,2}!?=[a-c*@:]{1,3})([ ,](!?[a-c*]{1,3}|[a-c]{1,2}!?=[a-c*@:]{1,3})){0,4}") {
            let Ok(selector) = text.parse::<Selector>() else {
                // The only thing wrong with these texts: a word that leaves out, beside others.
                prop_assert!(text.contains(' ') && text.contains('!'), "{}", text);
                return Ok(());
            };
            prop_assert_eq!(selector.to_string().parse::<Selector>().unwrap(), selector.clone());
            let json = serde_json::to_string(&selector).unwrap();
            prop_assert_eq!(serde_json::from_str::<Selector>(&json).unwrap(), selector);
        }

        #[test]
        fn no_text_makes_it_panic(text in ".{0,40}") {
            let _ = text.parse::<Selector>();
        }

        #[test]
        fn a_pattern_fits_as_defined(pattern in "[ab*]{0,6}", text in "[ab]{0,8}") {
            let chars = |s: &str| s.chars().collect::<Vec<_>>();
            prop_assert_eq!(fits(&pattern, &text), fits_by_definition(&chars(&pattern), &chars(&text)));
        }
    }
}
