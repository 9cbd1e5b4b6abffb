//! From TOML to what the keys hold: every key is known, every value of its kind, and everything else is told with its line.

use std::collections::BTreeMap;
use std::ops::Range;

use model::Millis;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::error::{Problem, Wrong};
use super::shape::{Bare, Holds, Rule, Table};
use super::words;
use crate::lines::Lines;
use crate::{Place, spelling};

/// Longer than this nobody waits for one service.
const LONGEST: Millis = Millis::secs(24 * 3600);

/// Where something stands.
#[derive(Clone, Debug)]
pub(super) struct Spot {
    pub(super) key: String,
    pub(super) place: Place,
}

impl Spot {
    pub(super) fn problem(&self, wrong: Wrong) -> Problem {
        Problem { place: self.place.clone(), key: self.key.clone(), wrong }
    }
}

/// A value, and where it stands.
#[derive(Clone, Debug)]
pub(super) struct Said<T> {
    pub(super) spot: Spot,
    pub(super) value: T,
}

/// The keys of one table that are as they should be.
pub(super) struct Fields {
    shape: &'static Table,
    said: BTreeMap<&'static str, Said<Value>>,
}

enum Value {
    Text(String),
    Count(u32),
    Duration(Millis),
    Texts(Vec<Said<String>>),
    Words(Vec<String>),
    Variables(Vec<(String, String)>),
    Yes,
    Keys(Fields),
    Named(Vec<(Said<String>, Fields)>),
}

impl Fields {
    fn take<T>(&mut self, key: &'static str, of: impl FnOnce(Value) -> Option<T>) -> Option<Said<T>> {
        debug_assert!(self.shape.key(key).is_some(), "{key} is in no shape");
        let Said { spot, value } = self.said.remove(key)?;
        Some(Said { spot, value: of(value)? })
    }

    pub(super) fn text(&mut self, key: &'static str) -> Option<Said<String>> {
        self.take(key, |value| if let Value::Text(text) = value { Some(text) } else { None })
    }

    pub(super) fn count(&mut self, key: &'static str) -> Option<Said<u32>> {
        self.take(key, |value| if let Value::Count(count) = value { Some(count) } else { None })
    }

    pub(super) fn duration(&mut self, key: &'static str) -> Option<Said<Millis>> {
        self.take(key, |value| if let Value::Duration(span) = value { Some(span) } else { None })
    }

    pub(super) fn texts(&mut self, key: &'static str) -> Vec<Said<String>> {
        self.take(key, |value| if let Value::Texts(texts) = value { Some(texts) } else { None })
            .map_or_else(Vec::new, |said| said.value)
    }

    pub(super) fn words(&mut self, key: &'static str) -> Option<Said<Vec<String>>> {
        self.take(key, |value| if let Value::Words(words) = value { Some(words) } else { None })
    }

    pub(super) fn variables(&mut self, key: &'static str) -> Vec<(String, String)> {
        self.take(key, |value| if let Value::Variables(variables) = value { Some(variables) } else { None })
            .map_or_else(Vec::new, |said| said.value)
    }

    pub(super) fn yes(&mut self, key: &'static str) -> bool {
        self.take(key, |value| if let Value::Yes = value { Some(()) } else { None }).is_some()
    }

    pub(super) fn keys(&mut self, key: &'static str) -> Option<Self> {
        self.take(key, |value| if let Value::Keys(fields) = value { Some(fields) } else { None }).map(|said| said.value)
    }

    pub(super) fn named(&mut self, key: &'static str) -> Vec<(Said<String>, Self)> {
        self.take(key, |value| if let Value::Named(named) = value { Some(named) } else { None })
            .map_or_else(Vec::new, |said| said.value)
    }
}

/// Reads one file, and keeps what is wrong with it.
pub(super) struct Reader<'a> {
    lines: &'a Lines<'a>,
    pub(super) problems: Vec<Problem>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(lines: &'a Lines<'a>) -> Self {
        Self { lines, problems: Vec::new() }
    }

    pub(super) fn file(&mut self, text: &str, shape: &'static Table) -> Fields {
        let spot = Spot { key: String::new(), place: self.lines.place_of(0) };
        let (table, errors) = DeTable::parse_recoverable(text);
        if errors.is_empty() {
            return self.table(table.get_ref(), shape, spot);
        }
        // What was recovered is not what was meant: only the errors are told.
        for error in errors {
            let place = self.lines.place_of(error.span().map_or(0, |span| self.lines.at(span.start)));
            let mut detail = error.message().trim().replace('\n', " ");
            if detail == "duplicate key" {
                let key = error.span().and_then(|span| text.get(span)).unwrap_or_default();
                detail = format!("{key} is written twice: keep one of them");
            }
            let wrong = Wrong::Syntax(detail);
            self.problems.push(Problem { place, key: String::new(), wrong });
        }
        Fields { shape, said: BTreeMap::new() }
    }

    fn spot(&self, parent: &Spot, key: &str, span: &Range<usize>) -> Spot {
        let bare = !key.is_empty() && key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
        let key = if bare { key.to_owned() } else { format!("{key:?}") };
        let key = if parent.key.is_empty() { key } else { format!("{}.{key}", parent.key) };
        Spot { key, place: self.lines.place_of(self.lines.at(span.start)) }
    }

    fn table(&mut self, table: &DeTable<'_>, shape: &'static Table, spot: Spot) -> Fields {
        let mut said = BTreeMap::new();
        let mut written: Vec<_> = table.iter().collect();
        written.sort_by_key(|(key, _)| key.span().start);
        let mut stands = Vec::new();
        for (key, value) in written {
            let spot = self.spot(&spot, key.get_ref(), &key.span());
            let Some(known) = shape.key(key.get_ref()) else {
                let near = spelling::nearest(key.get_ref(), shape.keys.iter().map(|key| key.name)).map(str::to_owned);
                let known = shape.keys.iter().map(|key| key.name).collect::<Vec<_>>().join(", ");
                self.problems.push(spot.problem(Wrong::UnknownKey { near, known }));
                continue;
            };
            stands.push((known, spot.clone()));
            match self.value(value, known.holds, &spot) {
                Ok(value) => drop(said.insert(known.name, Said { spot, value })),
                Err(wrong) => self.problems.push(spot.problem(wrong)),
            }
        }
        let has = |name: &str| stands.iter().any(|(key, _)| key.name == name);
        for (key, spot) in &stands {
            if let Some(other) = key.with.filter(|other| !has(other)) {
                let detail = format!("says nothing without {other}: write {other}, too, or take it out");
                self.problems.push(spot.problem(Wrong::Together(detail)));
            }
        }
        let both = |names: &[&str]| {
            let here: Vec<&str> = stands.iter().map(|(key, _)| key.name).filter(|name| names.contains(name)).collect();
            (here.len() > 1).then(|| format!("has {}: keep one of them", here.join(" and ")))
        };
        let wrong = match shape.rule {
            Rule::Free => None,
            Rule::Needs(names) => names.iter().find(|name| !has(name)).map(|name| format!("has no {name}: write one")),
            Rule::OneOf(names) if !names.iter().any(|name| has(name)) => {
                Some(format!("needs {}: write one of them", names.join(" or ")))
            }
            Rule::OneOf(names) | Rule::AtMostOneOf(names) => both(names),
        };
        self.problems.extend(wrong.map(|wrong| spot.problem(Wrong::Together(wrong))));
        Fields { shape, said }
    }

    fn value(&mut self, value: &Spanned<DeValue<'_>>, holds: Holds, spot: &Spot) -> Result<Value, Wrong> {
        match (holds, value.get_ref()) {
            (Holds::Text, DeValue::String(text)) => line(text).map(Value::Text),
            (Holds::Lines, DeValue::String(text)) if text.trim().is_empty() => Err(empty()),
            (Holds::Lines, DeValue::String(text)) => Ok(Value::Text(text.clone().into_owned())),
            (Holds::Word(words), DeValue::String(text)) if words.contains(&text.as_ref()) => {
                Ok(Value::Text(text.clone().into_owned()))
            }
            (Holds::Word(words), DeValue::String(text)) => {
                let near = spelling::nearest(text, words.iter().copied());
                let near = near.map(|near| format!(" (did you mean {near:?}?)")).unwrap_or_default();
                Err(Wrong::Value(format!("{text:?} is none of {}{near}", words.join(", "))))
            }
            (Holds::Yes, DeValue::Boolean(true)) => Ok(Value::Yes),
            (Holds::Yes, DeValue::Boolean(false)) => Err(Wrong::Value("can only be true: take it out".to_owned())),
            (Holds::Count(least, most), DeValue::Integer(_)) => {
                let count = number(value.get_ref()).and_then(|count| u32::try_from(count).ok());
                let count = count.filter(|count| (least..=most).contains(count));
                count.map(Value::Count).ok_or_else(|| Wrong::Value(format!("must be from {least} to {most}")))
            }
            (Holds::Duration(bare), DeValue::String(_) | DeValue::Integer(_)) => {
                duration(value.get_ref(), bare).map(Value::Duration)
            }
            (Holds::Texts, DeValue::Array(_)) => Ok(Value::Texts(self.texts(value.get_ref(), spot))),
            (Holds::Words, DeValue::String(text)) => argv(words::split(text).map_err(Wrong::Value)?).map(Value::Words),
            (Holds::Words, DeValue::Array(_)) => {
                let before = self.problems.len();
                let words = self.arguments(value.get_ref(), spot);
                // An argument that is wrong is told already.
                if self.problems.len() > before { Ok(Value::Words(words)) } else { argv(words).map(Value::Words) }
            }
            (Holds::Variables, DeValue::Table(table)) => Ok(Value::Variables(self.variables(table, spot))),
            (Holds::Keys(shape), DeValue::Table(table)) => Ok(Value::Keys(self.table(table, shape, spot.clone()))),
            (Holds::Named(shape), DeValue::Table(table)) => Ok(Value::Named(self.named(table, shape, spot))),
            (holds, value) => Err(Wrong::Type { wanted: wanted(holds), found: found(value).to_owned() }),
        }
    }

    fn named(&mut self, table: &DeTable<'_>, shape: &'static Table, spot: &Spot) -> Vec<(Said<String>, Fields)> {
        let mut entries: Vec<_> = table.iter().collect();
        entries.sort_by_key(|(name, _)| name.span().start);
        let mut named = Vec::with_capacity(entries.len());
        for (name, value) in entries {
            let spot = self.spot(spot, name.get_ref(), &name.span());
            let DeValue::Table(table) = value.get_ref() else {
                let found = found(value.get_ref()).to_owned();
                self.problems.push(spot.problem(Wrong::Type { wanted: format!("a table, [{}]", spot.key), found }));
                continue;
            };
            let fields = self.table(table, shape, spot.clone());
            named.push((Said { spot, value: name.get_ref().clone().into_owned() }, fields));
        }
        named
    }

    fn variables(&mut self, table: &DeTable<'_>, spot: &Spot) -> Vec<(String, String)> {
        let mut variables = Vec::with_capacity(table.len());
        for (name, value) in table.iter() {
            let spot = self.spot(spot, name.get_ref(), &name.span());
            match variable(name.get_ref(), value.get_ref()) {
                Ok(text) => variables.push((name.get_ref().clone().into_owned(), text)),
                Err(wrong) => self.problems.push(spot.problem(wrong)),
            }
        }
        variables.sort();
        variables
    }

    fn texts(&mut self, list: &DeValue<'_>, spot: &Spot) -> Vec<Said<String>> {
        self.each(list, spot, line)
    }

    fn arguments(&mut self, list: &DeValue<'_>, spot: &Spot) -> Vec<String> {
        self.each(list, spot, |text| Ok(text.to_owned())).into_iter().map(|said| said.value).collect()
    }

    fn each(&mut self, list: &DeValue<'_>, spot: &Spot, read: impl Fn(&str) -> Result<String, Wrong>) -> Vec<Said<String>> {
        let mut texts = Vec::new();
        for item in list.as_array().into_iter().flat_map(|items| items.iter()) {
            let spot = Spot { key: spot.key.clone(), place: self.lines.place_of(self.lines.at(item.span().start)) };
            let text = match item.get_ref() {
                DeValue::String(text) => read(text),
                other => Err(Wrong::Type { wanted: "texts only".to_owned(), found: format!("a list with {}", found(other)) }),
            };
            match text {
                Ok(value) => texts.push(Said { spot, value }),
                Err(wrong) => self.problems.push(spot.problem(wrong)),
            }
        }
        texts
    }
}

fn empty() -> Wrong {
    Wrong::Value("is empty: write something, or take it out".to_owned())
}

fn line(text: &str) -> Result<String, Wrong> {
    if text.trim().is_empty() {
        return Err(empty());
    }
    printable(text)
}

fn printable(text: &str) -> Result<String, Wrong> {
    if let Some(c) = text.chars().find(|c| c.is_control()) {
        return Err(Wrong::Value(format!("holds {c:?}: write it in one line, without control characters")));
    }
    Ok(text.to_owned())
}

fn variable(name: &str, value: &DeValue<'_>) -> Result<String, Wrong> {
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) || !name.chars().all(fits) {
        let detail = "is no name of an environment variable: letters, digits and '_', not beginning with a digit";
        return Err(Wrong::Value(detail.to_owned()));
    }
    let DeValue::String(text) = value else {
        return Err(Wrong::Type { wanted: "a text, as in \"3001\"".to_owned(), found: found(value).to_owned() });
    };
    if text.is_empty() { Ok(String::new()) } else { printable(text) }
}

fn argv(words: Vec<String>) -> Result<Vec<String>, Wrong> {
    match words.first() {
        None => Err(Wrong::Value("is empty: write the program and its arguments".to_owned())),
        Some(program) if program.trim().is_empty() => {
            Err(Wrong::Value("begins with an empty text: the program stands first".to_owned()))
        }
        Some(_) if words.iter().any(|word| word.contains('\0')) => {
            Err(Wrong::Value("holds a zero byte, which no program can be given: take it out".to_owned()))
        }
        Some(_) => Ok(words),
    }
}

fn number(value: &DeValue<'_>) -> Option<i64> {
    value.as_integer().and_then(|number| i64::from_str_radix(number.as_str(), number.radix()).ok())
}

fn duration(value: &DeValue<'_>, bare: Bare) -> Result<Millis, Wrong> {
    let span = match value.as_str() {
        Some(text) => text.parse::<Millis>().map_err(|error| {
            // systemd's own words for what has one letter here.
            let short = text.replace("min", "m").replace("sec", "s").replace(' ', "");
            let meant = if short.parse::<Millis>().is_ok() { format!(" (did you mean {short:?}?)") } else { String::new() };
            Wrong::Value(format!("{error}{meant}"))
        })?,
        None => {
            let number = number(value).and_then(|number| u64::try_from(number).ok());
            let number =
                number.ok_or_else(|| Wrong::Value("is no duration: write it with its unit, as in \"30s\"".to_owned()))?;
            match bare {
                Bare::Seconds => Millis::secs(number),
                Bare::Milliseconds => Millis(number),
                Bare::Refused => {
                    return Err(Wrong::Value(format!(
                        "{number} of what? Write \"{number}s\" for seconds, \"{number}ms\" for milliseconds"
                    )));
                }
            }
        }
    };
    match span {
        Millis(0) => Err(Wrong::Value("is no time at all: at least \"1ms\"".to_owned())),
        span if span > LONGEST => Err(Wrong::Value("is too long: at most \"24h\"".to_owned())),
        span => Ok(span),
    }
}

fn wanted(holds: Holds) -> String {
    match holds {
        Holds::Text | Holds::Lines => "a text".to_owned(),
        Holds::Word(words) => format!("one of the texts {}", words.join(", ")),
        Holds::Yes => "true".to_owned(),
        Holds::Count(least, most) => format!("a number from {least} to {most}"),
        Holds::Duration(Bare::Refused) => "a time with its unit, as in \"30s\"".to_owned(),
        Holds::Duration(Bare::Seconds) => "a time with its unit, as in \"30s\", or a number of seconds".to_owned(),
        Holds::Duration(Bare::Milliseconds) => "a time with its unit, as in \"30s\", or a number of milliseconds".to_owned(),
        Holds::Texts => "a list of texts, as in [\"a\", \"b\"]".to_owned(),
        Holds::Words => "a program with its arguments, as in \"redis-cli ping\" or [\"redis-cli\", \"ping\"]".to_owned(),
        Holds::Variables => "a table of texts, as in { NODE_ENV = \"production\" }".to_owned(),
        Holds::Keys(_) | Holds::Named(_) => "a table".to_owned(),
    }
}

fn found(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a text",
        DeValue::Integer(_) => "a number",
        DeValue::Float(_) => "a number with a point",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}
