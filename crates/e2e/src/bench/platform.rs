//! S3's platform of 19 services: its names, in its groups, each taking a known time to start.

use std::time::Duration;

/// One service.
#[derive(Debug, Clone, Copy)]
pub(super) struct Simulated {
    pub(super) name: &'static str,
    pub(super) group: &'static str,
    /// Services that are restarted before it.
    pub(super) after: &'static [&'static str],
    /// It is up after so long, in milliseconds.
    starts_in: u64,
    port: u16,
}

const INFRASTRUCTURE: &str = "infrastructure";
const CORE: &str = "core APIs";
const ML: &str = "ML";
const FEATURES: &str = "feature APIs";

/// S3's groups, with their numbers of services (S3-123 to S3-126).
pub(super) const GROUPS: [(&str, usize); 4] = [(INFRASTRUCTURE, 6), (CORE, 4), (ML, 5), (FEATURES, 4)];

const fn service(
    name: &'static str,
    group: &'static str,
    port: u16,
    starts_in: u64,
    after: &'static [&'static str],
) -> Simulated {
    Simulated { name, group, after, starts_in, port }
}

/// All of them. S3 names three of the infrastructure; the other three are what such a platform usually has.
pub(super) const SERVICES: [Simulated; 19] = [
    service("sso.postgresql", INFRASTRUCTURE, 4001, 1500, &[]),
    service("sso.redis", INFRASTRUCTURE, 4002, 300, &[]),
    service("storage.minio", INFRASTRUCTURE, 4003, 800, &[]),
    service("queue.rabbitmq", INFRASTRUCTURE, 4004, 2000, &[]),
    service("search.opensearch", INFRASTRUCTURE, 4005, 2500, &[]),
    service("analytics.clickhouse", INFRASTRUCTURE, 4006, 1800, &[]),
    service("sso.api", CORE, 4011, 900, &["sso.postgresql", "sso.redis"]),
    service("merchant.api", CORE, 4012, 700, &["sso.api", "sso.postgresql"]),
    service("profile.api", CORE, 4013, 600, &["sso.api", "storage.minio"]),
    service("analytics.api", CORE, 4014, 1100, &["sso.api", "analytics.clickhouse", "queue.rabbitmq"]),
    service("seo.ml", ML, 4021, 3500, &["search.opensearch", "storage.minio"]),
    service("cot.ml", ML, 4022, 4000, &["storage.minio", "sso.redis"]),
    service("rag.ml", ML, 4023, 3000, &["search.opensearch", "cot.ml"]),
    service("classifier.ml", ML, 4024, 2500, &["storage.minio", "queue.rabbitmq"]),
    service("imajin.ml", ML, 4025, 5000, &["storage.minio", "queue.rabbitmq"]),
    service("landing.api", FEATURES, 4031, 500, &["sso.api", "analytics.api"]),
    service("marketplace.api", FEATURES, 4032, 1200, &["sso.api", "merchant.api", "profile.api"]),
    service("seo.api", FEATURES, 4033, 800, &["sso.api", "seo.ml"]),
    service("admin.api", FEATURES, 4034, 600, &["sso.api", "merchant.api", "profile.api", "analytics.api"]),
];

impl Simulated {
    pub(super) fn unit(&self) -> String {
        format!("lilith-{}.service", self.name.replace('.', "-"))
    }

    /// What its health check asks.
    pub(super) fn url(&self) -> String {
        format!("http://localhost:{}/health", self.port)
    }

    fn kind(&self) -> &'static str {
        match self.group {
            INFRASTRUCTURE => "infrastructure",
            ML => "ml",
            _ => "api",
        }
    }

    /// It tells systemd itself when it is up.
    pub(super) fn unit_file(&self, program: &str) -> String {
        format!(
            "[Unit]\nAfter=network.target\n[Service]\nType=notify\nExecStart={program} lab-inner simulated {} {}\n\
             [Install]\nWantedBy=multi-user.target\n",
            self.port, self.starts_in
        )
    }
}

/// The manifest: S3's timings, but for the soak.
pub(super) fn manifest(soak: Duration) -> String {
    let mut text = format!("unit_prefix = \"lilith-\"\n[timings]\nstabilization_period = \"{}ms\"\n", soak.as_millis());
    for service in &SERVICES {
        let after: Vec<String> = service.after.iter().map(|name| format!("{name:?}")).collect();
        text.push_str(&format!(
            "[service.{:?}]\nkind = {:?}\ndependencies = [{}]\n\
             health_check = {{ url = {:?}, body = '{{ \"status\": \"healthy\" }}' }}\n",
            service.name,
            service.kind(),
            after.join(", "),
            service.url()
        ));
    }
    text
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_groups_are_those_of_the_document_and_what_a_service_needs_comes_before_it() {
        for (group, members) in GROUPS {
            assert_eq!(SERVICES.iter().filter(|service| service.group == group).count(), members);
        }
        let mut known = BTreeSet::new();
        let mut ports = BTreeSet::new();
        for service in &SERVICES {
            assert!(service.after.iter().all(|name| known.contains(name)), "{}", service.name);
            assert!(known.insert(service.name) && ports.insert(service.port), "{}", service.name);
        }
    }
}
