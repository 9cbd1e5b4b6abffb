//! Unit files that are made from the manifest, and what cannot be said in one.

use inventory::services::{Run, unit_file};

use super::{EXAMPLE, error, of, read};

/// The unit files of all services of a file that say how they are run.
fn units(text: &str) -> String {
    let manifest = read(text).unwrap();
    let run = manifest.services.iter().filter_map(|service| Some((service, manifest.runs.get(&service.name)?)));
    run.map(|(service, run)| format!("===== {}\n{}", service.unit, unit_file(service, run, &manifest.services))).collect()
}

fn lines(text: &str, key: &str) -> Vec<String> {
    let begin = format!("{key}=");
    units(text).lines().filter_map(|line| line.strip_prefix(&begin).map(str::to_owned)).collect()
}

const PLATFORM: &str = r#"
unit_prefix = "lilith-"
[service."sso.redis"]
unit = "redis-server.service"
host = "db1"
[service."sso.queue"]
[service."sso.api"]
kind = "api"
host = "app1"
dependencies = ["sso.redis", "sso.queue", "network-online.target", "lilith-sso-queue.service"]
deploy = { destination = "/var/www/sso" }
[service."sso.api".run]
command = "/usr/bin/node dist/server.js --port 3001"
reload_command = ["kill", "-HUP", "$MAINPID"]
user = "www-data"
group = "web"
environment = { NODE_ENV = "production", GREETING = "100 % \"good\" $HOME" }
environment_file = "/etc/sso/api.env"
restart = "always"
memory_max = "512M"
[service."sso.worker"]
run = { command = "worker" }
"#;

#[test]
fn s3_137_a_unit_file_is_written_from_the_manifest() {
    insta::assert_snapshot!(units(PLATFORM));
    assert_eq!(units(EXAMPLE), "", "without run a unit is somebody else's");
}

#[test]
fn what_systemd_would_read_otherwise_is_quoted() {
    let words = [
        r"a b", "", "100%", "$HOME", "${X}", "$$", "it's", r#""x""#, r"C:\x", r"\x41", ";", "#", "ä", "a=b", "$MAINPID", "%n",
        "~", "-x",
    ];
    let list = words.map(|word| format!("{word:?}")).join(", ");
    let text = of(&format!("[.run]\ncommand = [\"/bin/echo\", {list}]\nreload_command = [\"/bin/echo\", {list}]"));
    insta::assert_snapshot!(format!("{}\n{}", lines(&text, "ExecStart").join("\n"), lines(&text, "ExecReload").join("\n")));
    let text = of("[.run]\ncommand = \"x\"\ndirectory = \"/srv/50% of it\"\nenvironment = { A = \"\", B = 'a\"\\n $x 5%' }");
    assert_eq!(lines(&text, "WorkingDirectory"), ["/srv/50%% of it"]);
    assert_eq!(lines(&text, "Environment"), ["A=", r#""B=a\"\\n $x 5%%""#]);
}

#[test]
fn a_dependency_is_wanted_and_never_required() {
    let text = units(PLATFORM);
    assert!(!text.contains("Requires=") && !text.contains("BindsTo="), "{text}");
    // On another host it is no unit of this one; a unit that is named twice stands once.
    assert_eq!(lines(PLATFORM, "Wants"), ["lilith-sso-queue.service network-online.target"]);
    assert_eq!(lines(PLATFORM, "After"), lines(PLATFORM, "Wants"));
}

#[test]
fn only_who_is_no_root_gets_no_new_rights() {
    for (user, told) in [("user = \"web\"", 1), ("user = \"1000\"", 1), ("user = \"root\"", 0), ("user = \"0\"", 0), ("", 0)] {
        assert_eq!(lines(&of(&format!("[.run]\ncommand = \"x\"\n{user}")), "NoNewPrivileges").len(), told, "{user}");
    }
}

#[test]
fn a_service_runs_where_its_tree_is_unless_it_says_otherwise() {
    let directory = |lines: &str| {
        let run: Run = read(&of(lines)).unwrap().runs.remove("a.b").unwrap();
        run.directory
    };
    assert_eq!(directory("deploy.destination = \"/srv/x/\"\n[.run]\ncommand = \"x\""), Some("/srv/x".to_owned()));
    assert_eq!(
        directory("deploy.destination = \"/srv/x\"\n[.run]\ncommand = \"x\"\ndirectory = \"/srv/y\""),
        Some("/srv/y".to_owned())
    );
    assert_eq!(directory("[.run]\ncommand = \"x\""), None);
}

#[test]
fn what_no_unit_file_can_say_is_told() {
    let run = |lines: &str| error(&of(&format!("[.run]\n{lines}")));
    let mut told = String::new();
    for lines in [
        "user = \"x\"",
        "command = \"\"",
        "command = [\"x\", \"a\\nb\"]",
        "command = \"./x\"",
        "command = \"-/bin/x\"",
        "command = \"/srv/../bin/x\"",
        "command = [\"/srv/$x\"]",
        "command = \"x | y\"",
        "command = \"x\"\nreload_command = \"@x\"",
        "command = \"x\"\nuser = \"a b\"",
        "command = \"x\"\nuser = \"-a\"\ngroup = \"a:b\"",
        "command = \"x\"\ndirectory = \"srv\"",
        "command = \"x\"\ndirectory = '/srv/x\\'",
        "command = \"x\"\nenvironment_file = \"/etc/*.env\"",
        "command = \"x\"\nenvironment = [\"A=b\"]",
        "command = \"x\"\nenvironment = { PORT = 3001, 1A = \"x\", B = \"a\\nb\" }",
        "command = \"x\"\nrestart = \"never\"",
        "command = \"x\"\nmemory_max = \"lots\"",
        "command = \"x\"\nmemory_max = \"101%\"",
        "comand = \"x\"",
    ] {
        told += &format!("{}\n", run(lines));
    }
    told += &error(&of("unit = \"x.timer\"\n[.run]\ncommand = \"x\""));
    told += "\n";
    // The folder of a deploy is that of the service, where the service names none.
    told += &error(&of("deploy.destination = '/srv/a[1]'\n[.run]\ncommand = \"x\""));
    told += "\n";
    assert!(read(&of("deploy.destination = '/srv/a[1]'\n[.run]\ncommand = \"x\"\ndirectory = \"/srv\"")).is_ok());
    told += &error(&of("deploy = { destination = \"/srv/x\", unit_file = \"x.service\" }\n[.run]\ncommand = \"x\""));
    insta::assert_snapshot!(told);
}
