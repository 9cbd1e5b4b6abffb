//! Who may use which topic (G10): a device speaks on its own topics and hears its own commands, nothing else.

use model::TargetId;
use protocol::cloud::{TOPIC, WATCHER_CLIENT};
use protocol::native::{Topic, TopicKind};

/// What the device would say on `topic`: its own ack, report, hello or gone. `None` if it may not publish there; commands
/// come from the server alone.
pub fn may_publish(device: TargetId, topic: &str) -> Option<TopicKind> {
    let topic: Topic = topic.parse().ok()?;
    (topic.host == device && topic.kind.from_device()).then_some(topic.kind)
}

/// Whether the device may subscribe to `filter`: its own command topic, to the letter. Wildcards and shared subscriptions
/// never match.
pub fn may_subscribe(device: TargetId, filter: &str) -> bool {
    filter.parse() == Ok(Topic { host: device, kind: TopicKind::Command })
}

/// Whether the device may leave a last will on `topic`: its own gone.
pub fn may_will(device: TargetId, topic: &str) -> bool {
    may_publish(device, topic) == Some(TopicKind::Gone)
}

/// Whether somebody who only listens to events may use this client id: none that could be a device's.
pub fn may_watch_as(client_id: &str) -> bool {
    client_id.starts_with(WATCHER_CLIENT) && client_id.len() <= 64
}

/// Whether they may subscribe to `filter`: the topic of events, to the letter. They publish nowhere and leave no will.
pub fn may_watch(filter: &str) -> bool {
    filter == TOPIC
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s3_73_who_listens_to_events_hears_nothing_else() {
        assert!(may_watch(TOPIC) && may_watch_as("events-dashboard"));
        for filter in ["#", "reveille/#", "reveille/events/+", "$share/g/reveille/events/service", &own("command"), &own("ack")] {
            assert!(!may_watch(filter), "{filter}");
        }
        assert!(!may_watch_as(&a().to_string()) && !may_watch_as("") && !may_watch_as(&format!("events-{}", "x".repeat(64))));
        assert!(!may_subscribe(a(), TOPIC), "nor does a device hear events");
    }

    fn a() -> TargetId {
        "0a000000-0000-4000-8000-000000000001".parse().unwrap()
    }

    fn own(kind: &str) -> String {
        format!("reveille/v1/{}/{kind}", a())
    }

    fn foreign(kind: &str) -> String {
        format!("reveille/v1/0b000000-0000-4000-8000-000000000002/{kind}")
    }

    #[test]
    fn a_device_publishes_on_its_own_upward_topics_only() {
        for kind in TopicKind::ALL {
            let expected = (kind != TopicKind::Command).then_some(kind);
            assert_eq!(may_publish(a(), &own(kind.as_str())), expected);
            assert_eq!(may_publish(a(), &foreign(kind.as_str())), None);
        }
        for topic in [
            own("ack/x"),
            own(""),
            own("other"),
            own("ack").to_uppercase(),
            "reveille/v1/+/ack".into(),
            "$SYS/broker".into(),
            String::new(),
        ] {
            assert_eq!(may_publish(a(), &topic), None, "{topic}");
        }
    }

    #[test]
    fn a_device_subscribes_to_its_own_commands_only() {
        assert!(may_subscribe(a(), &own("command")));
        let shared = format!("$share/g/{}", own("command"));
        for filter in
            [&foreign("command"), "reveille/v1/+/command", &own("+"), &own("#"), "reveille/#", "#", &shared, &own("ack")]
        {
            assert!(!may_subscribe(a(), filter), "{filter}");
        }
    }

    #[test]
    fn a_will_goes_to_the_own_gone_topic_only() {
        assert!(may_will(a(), &own("gone")));
        assert!(!may_will(a(), &own("ack")));
        assert!(!may_will(a(), &foreign("gone")));
    }
}
