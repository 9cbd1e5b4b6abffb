//! The file that `reveille init` writes.

use inventory::services::{FoundUnit, first_file, schema};
use model::{CheckKind, ServiceKind};

use super::read;

fn unit(unit: &str, description: &str, after: &[&str], requires: &[&str]) -> FoundUnit {
    let all = |units: &[&str]| units.iter().map(|unit| (*unit).to_owned()).collect();
    FoundUnit { unit: unit.to_owned(), description: description.to_owned(), after: all(after), requires: all(requires) }
}

fn platform() -> Vec<FoundUnit> {
    vec![
        unit(
            "lilith-merchant-api.service",
            "Merchant \"API\"\n[service.x]",
            &["network.target", "lilith-sso-api.service"],
            &["lilith-sso-api.service"],
        ),
        unit("lilith-sso-api.service", "SSO", &["postgresql@16-main.service", "redis-server.service"], &["system.slice"]),
        unit("lilith-seo-ml.service", "", &[], &[]),
        unit("lilith-mail-worker.service", "", &[], &["redis-server.service"]),
        unit("postgresql@16-main.service", "PostgreSQL Cluster 16-main", &["network.target"], &[]),
        unit("redis-server.service", "Advanced key-value store", &[], &[]),
        unit("minio.service", "MinIO", &[], &[]),
        unit("mysql.service", "MySQL", &[], &[]),
        unit("nginx.service", "A high performance web server", &[], &["lilith-sso-api.service"]),
        unit("getty@.service", "A template", &[], &[]),
        unit("network.target", "Network", &[], &[]),
        unit("backup.timer", "Backups", &[], &[]),
    ]
}

#[test]
fn a_first_file_is_made_from_the_units_of_a_host() {
    let text = first_file(&platform());
    insta::assert_snapshot!(text);
    let manifest = read(&text).unwrap();
    let service = |name: &str| manifest.services.iter().find(|service| service.name == name).unwrap();
    // Each unit under the name that is mapped to it, or with its own.
    let mut units: Vec<&str> = manifest.services.iter().map(|service| service.unit.as_str()).collect();
    units.sort_unstable();
    let found = platform();
    let mut expected: Vec<&str> =
        found.iter().map(|found| found.unit.as_str()).filter(|unit| !unit.contains("@.") && !unit.ends_with(".target")).collect();
    expected.sort_unstable();
    assert_eq!(units, expected);
    assert_eq!(service("merchant.api").dependencies, ["sso.api"]);
    assert_eq!(service("sso.api").kind, ServiceKind::Api);
    // S3-76 to S3-78.
    let check = |name: &str| service(name).check.as_ref().map(|check| check.kind.clone());
    let command = |argv: &[&str]| Some(CheckKind::Command { argv: argv.iter().map(|word| (*word).to_owned()).collect() });
    assert_eq!(check("postgresql-16-main"), command(&["pg_isready", "-h", "localhost", "-p", "5432"]));
    assert_eq!(check("redis-server"), command(&["redis-cli", "-h", "localhost", "-p", "6379", "ping"]));
    let url = "http://localhost:9000/minio/health/live".to_owned();
    assert_eq!(check("minio"), Some(CheckKind::Http { url, status: 200, contains: None }));
}

#[test]
fn a_first_file_explains_every_key() {
    let text = first_file(&[]);
    let said = |inner: &serde_json::Value| inner["properties"].as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    let schema = schema();
    let service = &schema["properties"]["service"]["additionalProperties"];
    let tables = ["health_check", "deploy", "migrate", "run", "timings"];
    for (header, table) in tables.map(|name| (format!("service.NAME.{name}"), &service["properties"][name])) {
        assert!(text.contains(&format!("# [{header}]\n")), "{header}");
        for key in said(table) {
            assert!(text.contains(&format!("#   {key} = ")), "{header} {key}");
        }
    }
    for key in said(service).into_iter().filter(|key| !tables.contains(&key.as_str())) {
        assert!(text.contains(&format!("#   {key} = ")), "{key}");
    }
    assert!(text.contains("#   unit_prefix = ") && text.lines().all(|line| line.chars().count() <= 112));
}

#[test]
fn whatever_is_found_the_first_file_can_be_read() {
    let odd: [&[FoundUnit]; 7] = [
        &[],
        // Units that wait for each other.
        &[
            unit("a.service", "", &["b.service"], &[]),
            unit("b.service", "", &["c.service", "d.service"], &[]),
            unit("c.service", "", &["a.service"], &["d.service", "c.service"]),
            unit("d.service", "", &["b.service"], &[]),
        ],
        // Names that become the same, or those of units.
        &[
            unit("a-b.service", "", &[], &[]),
            unit("a@b.service", "", &[], &[]),
            unit("a:b.service", "", &[], &[]),
            unit("a-service.service", "", &[], &[]),
            unit("a-x-service.service", "", &[], &[]),
            unit("a-b.service", "", &[], &[]),
            unit("a-.service", "", &[], &[]),
            unit("b-.service", "", &[], &[]),
        ],
        &[unit("dev-disk-by\\x2dlabel.service", "\u{7}\r\n\"", &[], &[]), unit("____.service", "", &[], &[])],
        &[unit("::.service", "", &[], &[]), unit(":.service", "", &[], &[])],
        &[unit(&format!("{}.service", "x".repeat(200)), &"y".repeat(500), &[], &[])],
        &[unit("no unit", "", &[], &[]), unit("x.mount", "", &[], &[])],
    ];
    for units in odd {
        let text = first_file(units);
        match read(&text) {
            Ok(manifest) => {
                let fit = units.iter().filter(|unit| unit.unit.ends_with(".service")).map(|unit| &unit.unit);
                let fit: std::collections::BTreeSet<_> = fit.collect();
                assert_eq!(manifest.services.len(), fit.len(), "{text}");
            }
            Err(error) => panic!("{error}\n{text}"),
        }
    }
    // What is left out is said.
    assert!(first_file(odd[1]).contains("systemd has it wait for these, too"));
    assert!(first_file(odd[6]).contains("Left out"));
}
