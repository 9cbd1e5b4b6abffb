//! Drains and checks: a selector for the hosts that they are for, beside what the model says of them.

use std::fmt;
use std::marker::PhantomData;

use model::{Check, CheckKind, Drain, Millis, Selector};
use serde::de::value::{MapAccessDeserializer, StringDeserializer};
use serde::de::{DeserializeSeed, Error, IntoDeserializer, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

/// A way to take hosts out of service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DrainRule {
    /// The hosts that it is for.
    pub on: Selector,
    /// What it does.
    #[serde(flatten)]
    pub drain: Drain,
}

/// What must hold for hosts to count as healthy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CheckRule {
    /// The hosts that it is for.
    pub on: Selector,
    /// One answer may take so long; default 10 s.
    pub limit: Millis,
    /// What must hold.
    #[serde(flatten)]
    pub kind: CheckKind,
}

const CHECK_LIMIT: Millis = Millis::secs(10);

impl CheckRule {
    /// As a check of this name, not filled in.
    pub fn check(&self, name: &str) -> Check {
        Check { name: name.to_owned(), kind: self.kind.clone(), limit: self.limit }
    }
}

// Serde's own `flatten` cannot tell unknown keys. So the keys of the rule itself are picked out on the way, and all others go
// to what it wraps, which knows its own.

impl<'de> Deserialize<'de> for DrainRule {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (own, drain) = deserializer.deserialize_map(Around::<Drain>(false, PhantomData))?;
        Ok(Self { on: own.on.ok_or_else(|| Error::missing_field("on"))?, drain })
    }
}

impl<'de> Deserialize<'de> for CheckRule {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (own, kind) = deserializer.deserialize_map(Around::<CheckKind>(true, PhantomData))?;
        Ok(Self { on: own.on.ok_or_else(|| Error::missing_field("on"))?, limit: own.limit.unwrap_or(CHECK_LIMIT), kind })
    }
}

#[derive(Default)]
struct Own {
    on: Option<Selector>,
    limit: Option<Millis>,
}

/// Reads a rule around a `T`; the flag: it may have a limit.
struct Around<T>(bool, PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for Around<T> {
    type Value = (Own, T);

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a table with 'on', 'kind' and what belongs to that kind")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        let mut own = Own::default();
        let others = Others { map, has_limit: self.0, own: &mut own };
        let inner = T::deserialize(MapAccessDeserializer::new(others))?;
        Ok((own, inner))
    }
}

/// The entries of a map but for those of the rule itself.
struct Others<'a, A> {
    map: A,
    has_limit: bool,
    own: &'a mut Own,
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for Others<'_, A> {
    type Error = A::Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, A::Error> {
        while let Some(key) = self.map.next_key::<String>()? {
            match key.as_str() {
                "on" => self.own.on = Some(self.map.next_value()?),
                "limit" if self.has_limit => self.own.limit = Some(self.map.next_value()?),
                _ => {
                    let key: StringDeserializer<A::Error> = key.into_deserializer();
                    return seed.deserialize(key).map(Some);
                }
            }
        }
        Ok(None)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, A::Error> {
        self.map.next_value_seed(seed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_is_read_with_what_it_wraps() {
        let rule: DrainRule = toml::from_str("on = \"role=web\"\nkind = \"units\"\nunits = [\"nginx.service\"]").unwrap();
        assert_eq!(rule.on, "role=web".parse().unwrap());
        assert_eq!(rule.drain, Drain::Units { units: vec!["nginx.service".into()] });
        let rule: CheckRule = toml::from_str("kind = \"tcp\"\naddress = \"{address}:80\"\non = \"*\"").unwrap();
        assert_eq!((rule.limit, &rule.kind), (Millis::secs(10), &CheckKind::Tcp { address: "{address}:80".into() }));
        let rule: CheckRule = toml::from_str("on = \"*\"\nlimit = 500\nkind = \"http\"\nurl = \"http://x/\"").unwrap();
        assert_eq!((rule.limit, rule.check("up").name), (Millis(500), "up".into()));
    }

    #[test]
    fn what_is_written_is_read_again() {
        let drains = ["on = \"a b\"\nkind = \"haproxy\"\naddress = \"/run/haproxy.sock\"\nservers = [\"web/{name}\"]\n"];
        for text in drains {
            let rule: DrainRule = toml::from_str(text).unwrap();
            assert_eq!(toml::from_str::<DrainRule>(&toml::to_string(&rule).unwrap()).unwrap(), rule);
            assert_eq!(serde_json::from_value::<DrainRule>(serde_json::to_value(&rule).unwrap()).unwrap(), rule);
        }
        let check: CheckRule = toml::from_str("on = \"*\"\nkind = \"unit\"\nunit = \"sshd.service\"").unwrap();
        assert_eq!(toml::from_str::<CheckRule>(&toml::to_string(&check).unwrap()).unwrap(), check);
    }

    #[test]
    fn unknown_and_missing_keys_are_errors_that_name_them() {
        let drains = [
            ("on = \"*\"\nkind = \"units\"\nunits = [\"a.service\"]\nunitz = 1", "unitz"),
            ("on = \"*\"\nkind = \"units\"\nunits = [\"a.service\"]\nlimit = 1", "limit"),
            ("kind = \"units\"\nunits = [\"a.service\"]", "on"),
            ("on = \"*\"\nunits = [\"a.service\"]", "kind"),
            ("on = \"*\"\nkind = \"unitz\"", "unitz"),
            ("on = \"role=\"\nkind = \"units\"\nunits = []", "value is missing"),
        ];
        for (text, part) in drains {
            let error = toml::from_str::<DrainRule>(text).expect_err(text).to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
        let checks = [
            ("on = \"*\"\nkind = \"unit\"\nunit = \"a.service\"\nlimits = 1", "limits"),
            ("on = \"*\"\nkind = \"unit\"", "unit"),
            ("on = \"*\"\nkind = \"tcp\"\naddress = \"x:1\"\nlimit = \"10x\"", "10x"),
        ];
        for (text, part) in checks {
            let error = toml::from_str::<CheckRule>(text).expect_err(text).to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
