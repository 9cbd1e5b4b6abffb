//! `reveille.toml`.

mod first;
mod schema;
mod units;
mod wrong;

use inventory::Source;
use inventory::services::{Manifest, ServicesError};
use model::{Check, CheckKind, Deploy, Migrate, MigrateOn, Millis, Reload, Service, ServiceKind, Timings};

const EXAMPLE: &str = include_str!("../../../../../docs/guide/examples/reveille.toml");
const AGENTS: &str = include_str!("../../../../../docs/guide/examples/reveille-agents.toml");

fn read(text: &str) -> Result<Manifest, ServicesError> {
    inventory::services::read(&Source { name: "reveille.toml".to_owned(), text: text.to_owned() })
}

/// The only service of a file.
fn one(text: &str) -> Service {
    let mut services = read(text).unwrap().services;
    assert_eq!(services.len(), 1);
    services.remove(0)
}

/// A service `a.b` with these lines, which may begin further tables of it: `[.deploy]`.
fn of(lines: &str) -> String {
    format!("[service.\"a.b\"]\n{}", lines.replace("[.", "[service.\"a.b\"."))
}

fn error(text: &str) -> String {
    match read(text) {
        Err(error) => error.to_string(),
        Ok(_) => panic!("this is taken:\n{text}"),
    }
}

#[test]
fn s3_47_to_51_health_checks_are_declared_per_service() {
    let kind = |lines: &str| one(&of(&format!("[.health_check]\n{lines}"))).check.map(|check| check.kind);
    let http = |contains: Option<&str>, status| CheckKind::Http {
        url: "http://localhost:3001/health".to_owned(),
        status,
        contains: contains.map(str::to_owned),
    };
    let url = "url = \"http://localhost:3001/health\"";
    assert_eq!(kind(url), Some(http(None, 200)));
    assert_eq!(kind(&format!("{url}\nstatus = 204\nbody = 'ok'")), Some(http(Some("ok"), 204)));
    let argv = |words: &[&str]| Some(CheckKind::Command { argv: words.iter().map(|word| (*word).to_owned()).collect() });
    assert_eq!(kind("command = \"pg_isready -h localhost -p 5432\""), argv(&["pg_isready", "-h", "localhost", "-p", "5432"]));
    assert_eq!(kind("command = [\"a b\", \"$c\", \"\"]"), argv(&["a b", "$c", ""]));
    assert_eq!(kind("tcp = \"localhost:6379\""), Some(CheckKind::Tcp { address: "localhost:6379".to_owned() }));
    assert_eq!(kind("hook = \"sso-health\""), Some(CheckKind::Hook { name: "sso-health".to_owned() }));
    // S3-79: systemd's word.
    for lines in ["systemd = true", "", "interval = 5"] {
        assert_eq!(kind(lines), None, "{lines}");
    }
    assert_eq!(one(&of("")).check, None);
    // S3-51: a number is seconds, as in the document; and 30 s is the default.
    let interval = |lines: &str| one(&of(lines)).interval;
    assert_eq!(interval("health_check.interval = 10"), Millis::secs(10));
    assert_eq!(interval("health_check.interval = \"500ms\""), Millis(500));
    assert_eq!(interval(""), Millis::secs(30));
    // Its own times go before those of all services.
    let service = one(&format!(
        "[timings]\nretry_delay = \"1s\"\n{}",
        of("[.health_check]\nhook = \"x\"\ntimeout = \"7s\"\nretries = 9\nretry_delay = \"8s\"")
    ));
    assert_eq!(service.check.unwrap().limit, Millis::secs(7));
    let timings = service.timings;
    assert_eq!(
        (timings.health_check_timeout, timings.max_retry_attempts, timings.retry_delay),
        (Millis::secs(7), 9, Millis::secs(8))
    );
}

#[test]
fn s3_52_to_58_timings_are_configuration() {
    assert_eq!(one(&of("")).timings, Timings::default());
    let keys = "health_check_timeout = 1\nhealth_check_interval = \"2ms\"\nstabilization_period = 3\nsystemd_grace_period = 4\n\
        max_retry_attempts = 5\nretry_delay = 6\ndeploy_timeout = 7\nmigrate_timeout = 8\n";
    let all = Timings {
        health_check_timeout: Millis(1),
        health_check_interval: Millis(2),
        stabilization_period: Millis(3),
        systemd_grace_period: Millis(4),
        max_retry_attempts: 5,
        retry_delay: Millis(6),
        deploy_timeout: Millis(7),
        migrate_timeout: Millis(8),
    };
    // For all, and for one; and the one goes before all.
    assert_eq!(one(&format!("[timings]\n{keys}{}", of(""))).timings, all);
    let one_of_all = format!("[timings]\nretry_delay = 99\nstabilization_period = 99\n{}", of(&format!("[.timings]\n{keys}")));
    assert_eq!(one(&one_of_all).timings, all);
    assert_eq!(one(&of("soak = \"3s\"")).timings.stabilization_period, Millis::secs(3));
}

#[test]
fn s3_61_and_62_dependencies_name_services_units_and_targets() {
    let text = "unit_prefix = \"lilith-\"\n[service.\"sso.api\"]\n[service.\"merchant.api\"]\n\
        dependencies = [\"sso.api\", \"network.target\", \"lilith-profile-api.service\"]\n\
        [service.\"marketplace.api\"]\ndependencies = [\"lilith-sso-api.service\"]";
    let services = read(text).unwrap().services;
    // As they are written, in the order of the file.
    let told: Vec<_> = services.iter().map(|service| (service.name.as_str(), service.dependencies.join(" "))).collect();
    assert_eq!(
        told,
        [
            ("sso.api", String::new()),
            ("merchant.api", "sso.api network.target lilith-profile-api.service".to_owned()),
            ("marketplace.api", "lilith-sso-api.service".to_owned()),
        ]
    );
    // A unit that is the one of a service closes a circle as well as its name does.
    let circle =
        text.replace("[service.\"sso.api\"]", "[service.\"sso.api\"]\ndependencies = [\"lilith-marketplace-api.service\"]");
    assert!(error(&circle).contains("sso.api → marketplace.api → sso.api"), "{}", error(&circle));
}

#[test]
fn s3_63_a_service_has_its_unit_by_prefix_or_by_name() {
    let unit = |text: &str| one(text).unit;
    assert_eq!(unit("unit_prefix = \"lilith-\"\n[service.\"sso.api\"]"), "lilith-sso-api.service");
    assert_eq!(unit("[service.\"sso.backend.api\"]"), "sso-backend-api.service");
    assert_eq!(unit("unit_prefix = \"x-\"\n[service.a]\nunit = \"postgresql@16-main.service\""), "postgresql@16-main.service");
    // One unit on two hosts is two.
    let two = "[service.a]\nunit = \"x.service\"\nhost = \"one\"\n[service.b]\nunit = \"x.service\"\nhost = \"two\"";
    assert_eq!(read(two).unwrap().services.len(), 2);
}

#[test]
fn s3_16_apis_and_ml_are_reloaded_for_their_configuration() {
    let reload = |lines: &str| one(&of(lines)).reload;
    for kind in ["api", "ml"] {
        assert_eq!(reload(&format!("kind = \"{kind}\"")), Reload::Config, "{kind}");
        assert_eq!(reload(&format!("kind = \"{kind}\"\nreload = \"never\"")), Reload::Never, "{kind}");
    }
    for kind in ["infrastructure", "worker", "web", "other"] {
        assert_eq!(reload(&format!("kind = \"{kind}\"")), Reload::Never, "{kind}");
        assert_eq!(reload(&format!("kind = \"{kind}\"\nreload = \"code\"")), Reload::Code, "{kind}");
    }
    let kinds = [("infrastructure", ServiceKind::Infrastructure), ("api", ServiceKind::Api), ("ml", ServiceKind::Ml)];
    let more = [("worker", ServiceKind::Worker), ("web", ServiceKind::Web), ("other", ServiceKind::Other)];
    for (word, kind) in kinds.into_iter().chain(more) {
        assert_eq!(one(&of(&format!("kind = \"{word}\""))).kind, kind);
    }
    assert_eq!(one(&of("")).kind, ServiceKind::Other);
}

#[test]
fn s3_14_a_deploy_has_a_source_a_destination_and_what_is_kept() {
    let service =
        one(&of("[.deploy]\nsource = \"/tmp//deploy/\"\ndestination = \"/srv/x/\"\nexclude = [\"*.log\"]\nkeep = [\"a/b/\"]\n\
        unit_file = \"x.service\"\ntimeout = \"1m\""));
    let deploy = Deploy {
        source: "/tmp/deploy".to_owned(),
        destination: "/srv/x".to_owned(),
        exclude: vec!["*.log".to_owned()],
        keep: vec!["a/b".to_owned()],
        unit_file: Some("x.service".to_owned()),
    };
    assert_eq!((service.deploy, service.timings.deploy_timeout), (Some(deploy), Millis::secs(60)));
    // Left to the request: no source, or one under --deploy-path.
    for (line, source) in [("", ""), ("source = \"x\"", "x")] {
        let service = one(&of(&format!("[.deploy]\ndestination = \"/srv/x\"\n{line}")));
        assert_eq!(service.deploy.unwrap().source, source);
    }
}

#[test]
fn s3_86_and_87_a_migration_runs_where_the_service_does() {
    let migrate = |lines: &str| one(&of(lines)).migrate.unwrap();
    let command = |directory: &str| Migrate::Command {
        argv: ["./node_modules/.bin/prisma", "migrate", "deploy"].map(str::to_owned).to_vec(),
        directory: directory.to_owned(),
    };
    let prisma = "migrate.command = \"./node_modules/.bin/prisma migrate deploy\"\n";
    assert_eq!(migrate(&format!("{prisma}deploy.destination = \"/srv/x\"")), command("/srv/x"));
    assert_eq!(migrate(&format!("{prisma}deploy.destination = \"/srv/x\"\nmigrate.directory = \"/srv/y/\"")), command("/srv/y"));
    assert_eq!(migrate("migrate.named = \"sso-migrate\""), Migrate::Named { name: "sso-migrate".to_owned() });
    let on = |word: &str| one(&of(&format!("migrate = {{ named = \"x\"{word} }}"))).migrate_on;
    assert_eq!([on(""), on(", on = \"first\"")], [MigrateOn::First; 2]);
    assert_eq!(on(", on = \"every\""), MigrateOn::Every);
    assert_eq!(one(&of("migrate = { named = \"x\", timeout = \"1m\" }")).timings.migrate_timeout, Millis::secs(60));
}

#[test]
fn s3_60_the_example_is_the_platform_of_the_document() {
    let manifest = read(EXAMPLE).unwrap();
    let told = manifest.services.iter().map(|service| {
        let check = service.check.as_ref().map_or("systemd".to_owned(), |check| match &check.kind {
            CheckKind::Command { argv } => argv.join(" "),
            CheckKind::Http { url, status, contains } => format!("{url} {status} {}", contains.as_deref().unwrap_or_default()),
            other => format!("{other:?}"),
        });
        let migrate = service.migrate.as_ref().map(ToString::to_string).unwrap_or_default();
        let (name, unit, kind) = (&service.name, &service.unit, service.kind);
        format!("{name}  {unit}  {kind}  {check}  {migrate}").trim_end().to_owned()
    });
    insta::assert_snapshot!(told.collect::<Vec<_>>().join("\n"));
    assert!(
        manifest.services.iter().all(|service| service.timings == Timings::default() && service.interval == Millis::secs(30))
    );
    assert_eq!(manifest.places["sso.redis"].to_string(), "reveille.toml:26");
    // S3-59, S3-60: the order in which the engine restarts them.
    assert_eq!(engine::service_order(&manifest.services), Ok(vec![0, 1, 2, 3, 4]));
    // Commands are not for agents: said once, and no error.
    insta::assert_snapshot!(manifest.notes.join("\n"));
}

#[test]
fn the_example_with_agents_has_nothing_that_agents_refuse() {
    let manifest = read(AGENTS).unwrap();
    assert_eq!(manifest.notes, Vec::<String>::new());
    let hosts: Vec<_> = manifest.services.iter().map(|service| service.host.as_deref().unwrap()).collect();
    assert_eq!(hosts, ["store1", "store1", "app1", "app1"]);
    let classifier = &manifest.services[2];
    let check = Check {
        name: "health".to_owned(),
        kind: CheckKind::Hook { name: "classifier-health".to_owned() },
        limit: Millis::secs(60),
    };
    assert_eq!((classifier.check.clone(), classifier.reload), (Some(check), Reload::Code));
    assert_eq!(classifier.timings.stabilization_period, Millis::secs(120));
    // What holds for all, where it says nothing itself.
    assert_eq!(manifest.services[3].timings.retry_delay, Millis::secs(2));
    assert_eq!(manifest.services[3].timings.health_check_timeout, Millis::secs(10));
}
