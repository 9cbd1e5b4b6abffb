//! What is said of files that cannot be used.

use inventory::services::{ServicesError, Wrong};

use super::{EXAMPLE, error, of, read};

/// Each with the problems that are told of it.
fn told(texts: &[&str]) -> String {
    texts.iter().map(|text| format!("{}\n", error(text))).collect::<String>()
}

fn told_of(lines: &[&str]) -> String {
    told(&lines.iter().map(|lines| of(lines)).collect::<Vec<_>>().iter().map(String::as_str).collect::<Vec<_>>())
}

#[test]
fn a_slip_in_a_key_is_told_with_what_was_meant() {
    insta::assert_snapshot!(told(&[
        "[sevice.a]",
        "[service.a]\nuntis = \"x.service\"",
        "[service.a.health-check]",
        "[service.a.health_check]\nulr = \"http://x/\"",
        "[timings]\nHEALTH_CHECK_TIMEOUT = 30000",
        "[service.a.deploy]\ndestination = \"/srv/x\"\nrsync = true",
        "x = [",
        "[service.a]\n[service.a]",
    ]));
}

#[test]
fn another_kind_of_value_is_told_with_what_can_stand_there() {
    insta::assert_snapshot!(told_of(&[
        "unit = 5",
        "unit = \"\"",
        "unit = \"a\\nb\"",
        "kind = \"infrastucture\"",
        "kind = \"database\"",
        "kind = \"ap\"",
        "reload = true",
        "dependencies = \"network.target\"",
        "dependencies = [\"network.target\", 5]",
        "soak = 30",
        "soak = \"30\"",
        "soak = 1.5",
        "health_check = \"http://x/\"",
        "health_check.command = 5",
        "health_check.command = [\"a\", 5]",
        "health_check.systemd = false",
    ]));
    insta::assert_snapshot!(told(&[
        "service = 5",
        "[service]\na = 5",
        "unit_prefix = \"a b\"",
        "timings.max_retry_attempts = \"3\""
    ]));
}

#[test]
fn names_and_units_are_those_of_systemd() {
    insta::assert_snapshot!(told(&[
        "[service.\"a b\"]",
        "[service.\"\"]",
        "[service.-x]",
        "[service.\"sso.service\"]",
        "[service.a]\nunit = \"nginx\"",
        "[service.a]\nunit = \"a b.service\"",
        "[service.a]\nunit = \"getty@.service\"",
        "[service.a]\nunit = \"network.target\"",
        "[service.a]\nhost = \"a b\"",
        "[service.a]\nunit = \"x.service\"\n\n[service.b]\nunit = \"x.service\"",
        "[service.a]\nunit = \"x.service\"\nhost = \"one\"\n[service.b]\nunit = \"x.service\"",
        "unit_prefix = \"l-\"\n[service.\"a.b\"]\n[service.a-b]",
    ]));
}

#[test]
fn dependencies_lead_somewhere_and_never_back() {
    insta::assert_snapshot!(told(&[
        "[service.\"sso.api\"]\n[service.b]\ndependencies = [\n  \"network.target\",\n  \"sso.apj\",\n]",
        "[service.a]\ndependencies = [\"postgresql\"]",
        "[service.a]\ndependencies = [\"a\"]",
        "[service.a]\ndependencies = [\"a.service\"]",
        "[service.a]\ndependencies = [\"network.target\", \"network.target\"]",
        "[service.a]\ndependencies = [\"b\"]\n[service.b]\ndependencies = [\"c\"]\n[service.c]\ndependencies = [\"b\"]",
        // Two that have nothing to do with each other are both told.
        "[service.a]\ndependencies = [\"b\"]\n[service.b]\ndependencies = [\"a\"]\n\
         [service.c]\ndependencies = [\"d\"]\n[service.d]\ndependencies = [\"e\"]\n[service.e]\ndependencies = [\"c\"]",
    ]));
}

#[test]
fn s3_47_a_service_has_one_health_check_that_can_be_made() {
    insta::assert_snapshot!(told_of(&[
        "health_check = { url = \"http://x/\", tcp = \"x:1\" }",
        "health_check = { systemd = true, hook = \"x\" }",
        "health_check = { tcp = \"x:1\", status = 200, body = \"x\" }",
        "health_check.url = \"localhost:3001/health\"",
        "health_check.url = \"ftp://x/\"",
        "health_check.url = \"http://\"",
        "health_check.url = \"http:///health\"",
        "health_check.url = \"http://x:70000/\"",
        "health_check.url = \"http://x/a b\"",
        "health_check.url = \"http://ann:secret@x/\"",
        "health_check = { url = \"http://x/\", status = 20 }",
        "health_check = { url = \"http://x/\", body = \" \" }",
        "health_check.tcp = \"localhost\"",
        "health_check.tcp = \"localhost:0\"",
        "health_check.hook = \"../x\"",
        "health_check.command = \"\"",
        "health_check.command = []",
        "health_check.command = [\"\", \"x\"]",
        "health_check.command = [\"a\\u0000\"]",
        "health_check.command = \"a 'b\"",
        "health_check.command = \"curl -sf http://x/ | grep healthy\"",
        "health_check.command = \"./check\"",
    ]));
}

#[test]
fn s3_52_times_are_times() {
    insta::assert_snapshot!(told_of(&[
        "soak = \"0s\"",
        "soak = \"25h\"",
        "soak = \"5min\"",
        "health_check.interval = 0",
        "health_check.interval = -1",
        "health_check.interval = 86401",
        "health_check.timeout = 30",
        "health_check.retries = 0",
        "health_check.retries = 101",
        "timings.retry_delay = 0",
        "timings.max_retry_attempts = 0",
        "timings.stabilization_period = \"1m\"\nsoak = \"1m\"",
        "timings.health_check_timeout = 1\nhealth_check.timeout = \"1ms\"",
        "timings.max_retry_attempts = 1\nhealth_check.retries = 1",
        "timings.retry_delay = 1\nhealth_check.retry_delay = \"1ms\"",
        "timings.deploy_timeout = 1\ndeploy = { destination = \"/srv/x\", timeout = \"1ms\" }",
        "timings.migrate_timeout = 1\nmigrate = { named = \"x\", timeout = \"1ms\" }",
    ]));
}

#[test]
fn s3_14_a_deploy_replaces_only_what_is_the_services_own() {
    insta::assert_snapshot!(told_of(&[
        "deploy.source = \"/tmp/x\"",
        "deploy.destination = \"srv/x\"",
        "deploy.destination = \"/\"",
        "deploy.destination = \"/var/www/\"",
        "deploy.destination = \"/etc/systemd/system\"",
        "deploy.destination = \"/home/ann\"",
        "deploy.destination = \"/srv/x/../..\"",
        "deploy = { destination = \"/srv/x\", source = \"../x\" }",
        "deploy = { destination = \"/srv/x\", source = \"/srv/x/new\" }",
        "deploy = { destination = \"/srv/x/y\", source = \"/srv/x\" }",
        "deploy = { destination = \"/srv/x\", keep = [\"/etc\", \"../x\", \".\", \"*.env\"] }",
        "deploy = { destination = \"/srv/x\", exclude = [\"/etc\", \"a/../b\", \"+ x\", \"\", \"!x\"] }",
        "deploy = { destination = \"/srv/x\", unit_file = \"/etc/systemd/system/x.service\" }",
    ]));
    let two = "[service.a]\ndeploy.destination = \"/srv/sso\"\n[service.b]\ndeploy.destination = \"/srv/sso/api\"";
    insta::assert_snapshot!(told(&[two]), @r#"reveille.toml:4: service.b.deploy.destination: "/srv/sso/api" and "/srv/sso" of a (reveille.toml:1) lie in each other, and a deploy replaces all of it; give each its own folder"#);
    let apart = two.replace("[service.a]", "[service.a]\nhost = \"x\"").replace("[service.b]", "[service.b]\nhost = \"y\"");
    assert!(read(&apart).is_ok());
}

#[test]
fn s3_86_a_migration_is_one_command_in_one_folder() {
    insta::assert_snapshot!(told_of(&[
        "migrate = {}",
        "migrate = { command = \"x\", named = \"y\", directory = \"/srv/x\" }",
        "migrate.command = \"./x\"",
        "migrate = { command = \"./x\", directory = \"x\" }",
        "migrate = { named = \"x\", directory = \"/srv/x\" }",
        "migrate.named = \"a/b\"",
        "migrate = { command = [], directory = \"/srv/x\" }",
    ]));
}

#[test]
fn all_that_is_wrong_is_told_at_once_in_the_order_of_the_lines() {
    let text = "unit_prefix = \" \"\n[service.\"sso.api\"]\nkind = \"api\"\nsoak = \"0s\"\ndependencies = [\"sso.db\", \"x\"]\n\
        [service.\"sso.api\".health_check]\nurl = \"x\"\nretries = 0\nport = 1\n[service.\"sso.db\"]\ndependencies = [\"sso.api\"]\n";
    insta::assert_snapshot!(error(text));
    let Err(ServicesError::Problems(problems)) = read(text) else { panic!("this is taken") };
    assert!(problems.iter().any(|problem| matches!(&problem.wrong, Wrong::Cycle(cycle) if cycle.len() == 3)));
    assert!(problems.is_sorted_by_key(|problem| problem.place.line));
}

#[test]
fn too_much_is_refused() {
    let many: String = (0..=inventory::services::SERVICES_MAX).map(|n| format!("[service.s{n}]\n")).collect();
    assert_eq!(error(&many), "reveille.toml:1001: service.s1000: more than 1000 services; split the file");
    assert_eq!(error(&" ".repeat(5 << 20)), "reveille.toml is larger than 4 MiB: that is no list of services");
    // As many as are taken, each waiting for the one before it.
    let chain = |n: usize| if n == 0 { String::new() } else { format!("dependencies = [\"s{}\"]\n", n - 1) };
    let most: String = (0..inventory::services::SERVICES_MAX).map(|n| format!("[service.s{n}]\n{}", chain(n))).collect();
    assert_eq!(read(&most).unwrap().services.len(), inventory::services::SERVICES_MAX);
}

#[test]
fn no_text_makes_it_panic() {
    for text in
        ["\u{0}", "[", "[[service]]", "[service.\"", "😀", "service.a.b.c.d = 1", "[service.😀]", "[service.\"😀\"]\nunit=\"😀\""]
    {
        drop(read(text));
    }
    // The example, torn off anywhere, and with any of its characters gone.
    for (at, c) in EXAMPLE.char_indices().step_by(3) {
        drop(read(&EXAMPLE[..at]));
        drop(read(&format!("{}{}", &EXAMPLE[..at], &EXAMPLE[at + c.len_utf8()..])));
    }
}
