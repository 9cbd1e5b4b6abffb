//! Limit groups: of whom only so many may be unavailable at once (G1).

use std::collections::{BTreeMap, HashMap};

use model::{Amount, Labels, Selector, TargetId};
use serde::{Deserialize, Serialize};

/// Targets of which only so many may be unavailable at once (G1), as configured.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LimitGroup {
    /// Its name, for people.
    pub name: String,
    /// The hosts that belong to it. Without it: those of `children` alone; without `children` too: all hosts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on: Option<Selector>,
    /// A label: one group for each of its values, called `NAME/VALUE`. Members without the label form one more, `NAME/`, since
    /// nobody knows where they stand.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub per: Option<String>,
    /// Children that belong to it, as `HOST/CHILD` names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub children: Vec<String>,
    /// How many of its members may be unavailable at once; at least 1. A percentage is of all members of the one group, and
    /// rounds down; where that makes 0, no plan for a member is accepted (ruling 15).
    pub max_unavailable: Amount,
}

/// A limit group with its members at one time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// `NAME`, or `NAME/VALUE`.
    pub name: String,
    /// How many may be unavailable at once; 0 when a percentage of so few members rounds to it.
    pub limit: u32,
    /// As configured.
    pub amount: Amount,
    /// Hosts in the order in which they were given, then children. Only a group without `per` may have none, and that many may be
    /// unavailable whoever its members are: others beside our hosts take its slots.
    pub members: Vec<Member>,
}

/// A member of a limit group.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Member {
    /// The host, or the host of the child; `None`: no host of that name is known. Such a child counts as unavailable.
    pub host: Option<TargetId>,
    /// The name of a child of that host, where the child and not the host is the member.
    pub child: Option<String>,
}

impl LimitGroup {
    /// The groups that it means among these hosts. Without members there is only one that counts them and is not divided: a limit
    /// for machines that we do not know (`FleetLock`).
    pub fn resolve<'a>(&self, hosts: impl IntoIterator<Item = (TargetId, &'a str, &'a Labels)>) -> Vec<Group> {
        let everyone = self.on.is_none() && self.children.is_empty();
        let wanted: HashMap<&str, ()> = self.children.iter().map(|path| (split(path).0, ())).collect();
        let mut by_name: HashMap<&str, (TargetId, &str)> = HashMap::new();
        let mut by_value: BTreeMap<&str, Vec<Member>> = BTreeMap::new();
        for (id, name, labels) in hosts {
            let value = self.per.as_ref().and_then(|key| labels.get(key)).map_or("", String::as_str);
            if wanted.contains_key(name) {
                by_name.insert(name, (id, value));
            }
            if everyone || self.on.as_ref().is_some_and(|on| on.matches(id, name, labels)) {
                by_value.entry(value).or_default().push(Member { host: Some(id), child: None });
            }
        }
        for path in &self.children {
            let (host, child) = split(path);
            let (id, value) = by_name.get(host).map_or((None, ""), |(id, value)| (Some(*id), *value));
            by_value.entry(value).or_default().push(Member { host: id, child: Some(child.to_owned()) });
        }
        if self.per.is_none() && matches!(self.max_unavailable, Amount::Count(_)) {
            by_value.entry("").or_default();
        }
        let group = |(value, members): (&str, Vec<Member>)| Group {
            name: if self.per.is_some() { format!("{}/{value}", self.name) } else { self.name.clone() },
            limit: self.max_unavailable.of(u32::try_from(members.len()).unwrap_or(u32::MAX)),
            amount: self.max_unavailable,
            members,
        };
        by_value.into_iter().map(group).collect()
    }
}

fn split(path: &str) -> (&str, &str) {
    path.split_once('/').unwrap_or(("", path))
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn id(n: u128) -> TargetId {
        TargetId(Uuid::from_u128(n))
    }

    fn resolve(text: &str) -> Vec<(String, u32, Vec<String>)> {
        let hosts: Vec<(TargetId, String, Labels)> = (1..=25)
            .map(|n: u128| {
                let mut labels = Labels::from([("rack".to_owned(), format!("r{}", n % 2))]);
                if n > 20 {
                    labels.clear();
                }
                (id(n), format!("h{n}"), labels)
            })
            .collect();
        let group: LimitGroup = toml::from_str(text).unwrap();
        let groups = group.resolve(hosts.iter().map(|(id, name, labels)| (*id, name.as_str(), labels)));
        let told = |m: &Member| match (&m.host, &m.child) {
            (Some(host), None) => host.0.as_u128().to_string(),
            (Some(host), Some(child)) => format!("{}/{child}", host.0.as_u128()),
            (None, child) => format!("?/{}", child.clone().unwrap_or_default()),
        };
        groups.into_iter().map(|g| (g.name, g.limit, g.members.iter().map(told).collect())).collect()
    }

    #[test]
    fn one_group_for_each_value_of_a_label_with_its_own_percentage() {
        let groups = resolve("name = \"rack\"\nper = \"rack\"\nmax_unavailable = \"25%\"");
        let told: Vec<_> = groups.iter().map(|(name, limit, members)| (name.as_str(), *limit, members.len())).collect();
        assert_eq!(told, [("rack/", 1, 5), ("rack/r0", 2, 10), ("rack/r1", 2, 10)]);
        let groups = resolve("name = \"rack\"\non = \"rack=*\"\nper = \"rack\"\nmax_unavailable = 3");
        assert_eq!(groups.iter().map(|g| g.1).collect::<Vec<_>>(), [3, 3], "hosts without the label are left out on purpose");
    }

    #[test]
    fn a_percentage_that_rounds_to_nothing_is_seen_as_0() {
        assert_eq!(resolve("name = \"a\"\non = \"h1 h2 h3\"\nmax_unavailable = \"33%\"")[0].1, 0);
        assert_eq!(resolve("name = \"a\"\non = \"h1 h2 h3\"\nmax_unavailable = \"34%\"")[0].1, 1);
    }

    #[test]
    fn children_belong_to_the_group_of_their_host() {
        let groups = resolve("name = \"db\"\nper = \"rack\"\nchildren = [\"h1/a\", \"h2/a\", \"gone/a\"]\nmax_unavailable = 1");
        let told: Vec<_> = groups.iter().map(|(name, _, members)| (name.as_str(), members.join(" "))).collect();
        assert_eq!(told, [("db/", "?/a".into()), ("db/r0", "2/a".into()), ("db/r1", "1/a".to_owned())]);
    }

    #[test]
    fn only_a_count_that_is_not_divided_is_a_limit_for_nobody_of_ours() {
        assert_eq!(resolve("name = \"x\"\non = \"none\"\nmax_unavailable = 1"), [("x".to_owned(), 1, Vec::new())]);
        assert_eq!(resolve("name = \"x\"\non = \"none\"\nmax_unavailable = \"50%\""), []);
        assert_eq!(resolve("name = \"x\"\non = \"none\"\nper = \"rack\"\nmax_unavailable = 1"), []);
    }
}
