//! Every key of a services file, once: what is read, what the schema says, and what the first file explains.

/// A table of keys.
pub(super) struct Table {
    /// What it is about.
    pub(super) text: &'static str,
    /// What can stand in it.
    pub(super) keys: &'static [Key],
    /// What must stand in it.
    pub(super) rule: Rule,
}

impl Table {
    pub(super) fn key(&self, name: &str) -> Option<&'static Key> {
        self.keys.iter().find(|key| key.name == name)
    }
}

/// Which keys must stand in a table.
pub(super) enum Rule {
    /// None.
    Free,
    /// All of these.
    Needs(&'static [&'static str]),
    /// One of these, and no second.
    OneOf(&'static [&'static str]),
    /// None or one of these.
    AtMostOneOf(&'static [&'static str]),
}

/// One key.
pub(super) struct Key {
    /// As it is written.
    pub(super) name: &'static str,
    /// What stands behind it.
    pub(super) holds: Holds,
    /// What it means.
    pub(super) text: &'static str,
    /// What holds without it, in TOML; empty where that depends on other keys.
    pub(super) default: &'static str,
    /// In TOML.
    pub(super) example: &'static str,
    /// Without that key it says nothing.
    pub(super) with: Option<&'static str>,
}

/// What stands behind a key.
#[derive(Clone, Copy)]
pub(super) enum Holds {
    /// A text in one line.
    Text,
    /// A text of any number of lines.
    Lines,
    /// One of these words.
    Word(&'static [&'static str]),
    /// Only `true`: it says what would hold without it.
    Yes,
    /// A number from one to another.
    Count(u32, u32),
    /// A time with its unit; what a number without one means.
    Duration(Bare),
    /// A list of texts.
    Texts,
    /// A program and its arguments.
    Words,
    /// Names of environment variables, and behind each of them a text.
    Variables,
    /// Further keys.
    Keys(&'static Table),
    /// Names, and behind each of them further keys.
    Named(&'static Table),
}

/// What a number without a unit means. The document writes both, and each only in one place.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Bare {
    /// Nothing: it is refused.
    Refused,
    /// As in `interval: 30`.
    Seconds,
    /// As in `HEALTH_CHECK_TIMEOUT = 30000`.
    Milliseconds,
}

const fn key(name: &'static str, holds: Holds, text: &'static str, example: &'static str) -> Key {
    Key { name, holds, text, default: "", example, with: None }
}

impl Key {
    const fn or(mut self, default: &'static str) -> Self {
        self.default = default;
        self
    }

    const fn with(mut self, other: &'static str) -> Self {
        self.with = Some(other);
        self
    }
}

const TIME: Holds = Holds::Duration(Bare::Refused);
const CONSTANT: Holds = Holds::Duration(Bare::Milliseconds);

/// The whole file.
pub(super) const FILE: Table = Table {
    text: "Services that Reveille restarts, in the order of their dependencies.",
    rule: Rule::Free,
    keys: &[
        key(
            "unit_prefix",
            Holds::Text,
            "Before the unit of every service that names none: with \"lilith-\", sso.api is lilith-sso-api.service.",
            "\"lilith-\"",
        ),
        key("timings", Holds::Keys(&TIMINGS), "For every service that does not say otherwise.", ""),
        key("service", Holds::Named(&SERVICE), "The services, by name: feature.role, as in sso.api.", ""),
    ],
};

/// `[service."NAME"]`.
const SERVICE: Table = Table {
    text: "One service.",
    rule: Rule::Free,
    keys: &[
        key(
            "unit",
            Holds::Text,
            "Its systemd unit, with its suffix. Without it: unit_prefix, the name with - for each ., and .service.",
            "\"lilith-sso-api.service\"",
        ),
        key(
            "kind",
            Holds::Word(&["infrastructure", "api", "ml", "worker", "web", "other"]),
            "What it is for. Where dependencies leave a choice, kinds come in this order.",
            "\"api\"",
        )
        .or("\"other\""),
        key("host", Holds::Text, "The host that it runs on. Without it: every host that is asked for.", "\"db1\""),
        key(
            "dependencies",
            Holds::Texts,
            "Services, units or systemd targets that must be up before it. Services are restarted before it.",
            "[\"network.target\"]",
        )
        .or("[]"),
        key(
            "reload",
            Holds::Word(&["never", "config", "code"]),
            "What a reload of the unit makes take effect: nothing, its configuration, or a deployed tree, too. What needs more is restarted. Without it: config for kinds api and ml, never for the others.",
            "\"config\"",
        ),
        key("soak", TIME, "So long it must stay well after its restart. The same as timings.stabilization_period.", "\"30s\""),
        key(
            "health_check",
            Holds::Keys(&HEALTH_CHECK),
            "What must hold for it to be healthy. Without it: systemd says that it is active.",
            "",
        ),
        key("deploy", Holds::Keys(&DEPLOY), "Where new code comes from and goes to. Done only when it is asked for.", ""),
        key("migrate", Holds::Keys(&MIGRATE), "What changes its database before a restart. Never undone.", ""),
        key("run", Holds::Keys(&RUN), "How systemd runs it: reveille units writes its unit file from that.", ""),
        key("timings", Holds::Keys(&TIMINGS), "For this service.", ""),
    ],
};

/// `[service."NAME".health_check]`.
const HEALTH_CHECK: Table = Table {
    text: "What must hold for a service to be healthy, looked at on its host. One of url, tcp, command, hook; without any, systemd says that the unit is active.",
    rule: Rule::AtMostOneOf(&["url", "tcp", "command", "hook", "systemd"]),
    keys: &[
        key("url", Holds::Text, "A GET of it answers as it should.", "\"http://localhost:3001/health\""),
        key("status", Holds::Count(100, 599), "Expected status of the answer.", "200").or("200").with("url"),
        key("body", Holds::Lines, "Expected in the first 64 KiB of the answer.", "'{ \"status\": \"healthy\" }'").with("url"),
        key("tcp", Holds::Text, "A connection to this HOST:PORT can be opened.", "\"localhost:6379\""),
        key(
            "command",
            Holds::Words,
            "This program ends with 0. No shell runs it. Not on hosts with an agent: use hook there.",
            "\"pg_isready -h localhost -p 5432\"",
        ),
        key("hook", Holds::Text, "/etc/reveille/hooks/NAME check on the host ends with 0.", "\"sso-health\""),
        key("systemd", Holds::Yes, "systemd says that the unit is active: what holds without a check, too.", "true"),
        key(
            "interval",
            Holds::Duration(Bare::Seconds),
            "How often whoever watches the service asks. A number without unit is in seconds.",
            "\"30s\"",
        )
        .or("\"30s\""),
        key("timeout", TIME, "One answer may take so long. The same as timings.health_check_timeout.", "\"30s\""),
        key("retries", ATTEMPTS, "So many attempts. The same as timings.max_retry_attempts.", "3"),
        key("retry_delay", TIME, "Between two attempts. The same as timings.retry_delay.", "\"5s\""),
    ],
};

const ATTEMPTS: Holds = Holds::Count(1, 100);

/// `[service."NAME".deploy]`.
const DEPLOY: Table = Table {
    text: "A tree that replaces the one that the service runs from. All paths are on the host.",
    rule: Rule::Needs(&["destination"]),
    keys: &[
        key(
            "source",
            Holds::Text,
            "The new tree. With --deploy-path it is there: for one service that path itself, for several a folder in it, called as this relative path or as the service.",
            "\"/tmp/deploy/sso-api\"",
        ),
        key("destination", Holds::Text, "Where the service runs from. Replaced whole.", "\"/var/www/sso/backend-api\""),
        key(
            "exclude",
            Holds::Texts,
            "Not taken over from the new tree, and kept where the old one has it: patterns of rsync.",
            "[\"node_modules\", \".git\"]",
        )
        .or("[]"),
        key("keep", Holds::Texts, "Kept from the old tree, whatever the new one has: relative paths.", "[\".env\", \"uploads\"]")
            .or("[]"),
        key("unit_file", Holds::Text, "A file of the new tree that becomes the unit file.", "\"deploy/sso-api.service\""),
        key("timeout", TIME, "It may take so long. The same as timings.deploy_timeout.", "\"5m\""),
    ],
};

/// `[service."NAME".migrate]`.
const MIGRATE: Table = Table {
    text: "A migration: run once before the restart, whatever the kind of the service; a restart can be asked for without it.",
    rule: Rule::OneOf(&["command", "named"]),
    keys: &[
        key(
            "command",
            Holds::Words,
            "The program and its arguments. No shell runs it. Not on hosts with an agent: use named there.",
            "\"./node_modules/.bin/prisma migrate deploy\"",
        ),
        key("directory", Holds::Text, "Where the command runs. Without it: deploy.destination.", "\"/var/www/sso/backend-api\"")
            .with("command"),
        key("named", Holds::Text, "/etc/reveille/commands.d/NAME on the host.", "\"sso-migrate\""),
        key(
            "on",
            Holds::Word(&["first", "every"]),
            "Of several hosts: on the first of them, and the others wait for it; or on every one, where each has a database of its own.",
            "\"every\"",
        )
        .or("\"first\""),
        key("timeout", TIME, "Then it is killed. The same as timings.migrate_timeout.", "\"10m\""),
    ],
};

/// `[service."NAME".run]`.
const RUN: Table = Table {
    text: "How systemd runs a service whose unit file is written by reveille units. Without it the unit is somebody else's, and only restarted.",
    rule: Rule::Needs(&["command"]),
    keys: &[
        key(
            "command",
            Holds::Words,
            "The program, by its whole path or its name alone, and its arguments. No shell runs it, and a $ is a $.",
            "\"/usr/bin/python3 -m http.server 3001\"",
        ),
        key(
            "reload_command",
            Holds::Words,
            "What makes it read its configuration anew. $MAINPID, as a word of its own, is its main process.",
            "[\"kill\", \"-HUP\", \"$MAINPID\"]",
        ),
        key("user", Holds::Text, "As whom it runs. Without it: root.", "\"www-data\""),
        key("group", Holds::Text, "With whose rights. Without it: the user's own group.", "\"www-data\""),
        key(
            "directory",
            Holds::Text,
            "Where it runs. Without it: deploy.destination, or else /.",
            "\"/var/www/sso/backend-api\"",
        ),
        key(
            "environment",
            Holds::Variables,
            "Variables. Everybody on the host can read them: secrets belong into environment_file.",
            "{ NODE_ENV = \"production\" }",
        ),
        key("environment_file", Holds::Text, "A file with a line NAME=VALUE for each further variable.", "\"/etc/sso/api.env\""),
        key(
            "restart",
            Holds::Word(&["no", "on-failure", "always"]),
            "When systemd starts it again by itself, a second later; after ten starts in a minute it gives up.",
            "\"on-failure\"",
        )
        .or("\"on-failure\""),
        key("memory_max", Holds::Text, "With more memory than this it is ended by the kernel.", "\"512M\""),
    ],
};

/// `[timings]`, and `[service."NAME".timings]`.
const TIMINGS: Table = Table {
    text: "How long things take, and how often they are tried. A number without unit is in milliseconds here.",
    rule: Rule::Free,
    keys: &[
        key("health_check_timeout", CONSTANT, "One answer to a health check may take so long.", "\"30s\"").or("\"30s\""),
        key("health_check_interval", CONSTANT, "While a service soaks, its health is asked so often.", "\"2s\"").or("\"2s\""),
        key("stabilization_period", CONSTANT, "The soak: so long it must stay well after its restart.", "\"30s\"").or("\"30s\""),
        key("systemd_grace_period", CONSTANT, "systemd may take so long for a start, a stop or a reload.", "\"10s\"")
            .or("\"10s\""),
        key("max_retry_attempts", ATTEMPTS, "Attempts of one health check.", "3").or("3"),
        key("retry_delay", CONSTANT, "Between two attempts.", "\"5s\"").or("\"5s\""),
        key("deploy_timeout", CONSTANT, "A deploy may take so long.", "\"5m\"").or("\"5m\""),
        key("migrate_timeout", CONSTANT, "A migration may take so long; then it is killed.", "\"10m\"").or("\"10m\""),
    ],
};
