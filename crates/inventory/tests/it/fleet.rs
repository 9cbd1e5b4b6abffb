//! `fleet.toml`.

use model::Millis;

use super::{error, read, shown};

const FLEET: &str = r#"
[host.web-1]
address = "ops@10.0.0.1:2222"
labels = { role = "web", rack = 7 }
generation = 41

[host."db.example"]
labels = { role = "db" }

[[limit_group]]
name = "web"
on = "role=web"
max_unavailable = 1

[deploy]
command = ["./deploy", "{name}"]
"#;

#[test]
fn a_fleet_file_lists_hosts_limits_and_habits() {
    let fleet = read(&[("fleet.toml", FLEET)]).unwrap();
    assert_eq!(fleet.config.limit_groups.len(), 1);
    let deploy = fleet.deploy.unwrap();
    assert_eq!((deploy.command.len(), deploy.limit), (2, Millis::secs(600)));
    insta::assert_snapshot!(shown(&[("fleet.toml", FLEET)]), @"
    db.example  db.example  role=db  fleet.toml:7
    web-1  ops@10.0.0.1:2222  generation=41,rack=7,role=web  fleet.toml:2
    ");
}

#[test]
fn a_bad_fleet_file_is_refused_with_its_line() {
    let texts = [
        "[host.a]\nadress = \"x\"",
        "[host.a]\n\n[hots.b]",
        "[host.a]\naddress = \"a b\"",
        "[host.a]\naddress = \"x\"\n[host.a]",
        "[host.\"a b\"]",
        "[host.a]\nlabels = { \"a b\" = \"x\" }",
        "[host.a]\nlabels = { a = \"x,y\" }",
        "[host.a]\nlabels = { generation = \"1\" }\ngeneration = 2",
        "\nheartbeat = \"5\"",
        "heartbeat = 1\n[[limit_group]]\nnam = \"x\"",
        "[deploy]\ncommand = []",
        "[rollout]\n\ncanary = \"11x\"",
        "[rollout]\nconcurrency = 0",
        "[drain.a]\non = \"role=\"\nkind = \"units\"\nunits = []",
        "x = [",
    ];
    let told: Vec<String> = texts.iter().map(|text| error(&[("fleet.toml", text)])).collect();
    insta::assert_snapshot!(told.join("\n"));
}

#[test]
fn a_host_under_two_names_is_an_error_that_names_both() {
    let text = "[host.a]\naddress = \"ops@10.0.0.1\"\n\n[host.b]\naddress = \"10.0.0.1:22\"\n";
    let told = error(&[("fleet.toml", text)]);
    assert!(told.starts_with("a (fleet.toml:1) and b (fleet.toml:4) are both reached at 10.0.0.1"), "{told}");
    // Also across files, and when a name is the address of another.
    let told = error(&[("a.toml", "[host.a]"), ("b.toml", "[host.b]\naddress = \"a\"")]);
    assert!(told.contains("a (a.toml:1) and b (b.toml:1)"), "{told}");
    // Two ports of one address are two hosts.
    let apart = "[host.a]\naddress = \"127.0.0.1:2201\"\n[host.b]\naddress = \"127.0.0.1:2202\"\n";
    assert_eq!(read(&[("fleet.toml", apart)]).unwrap().hosts.len(), 2);
}

#[test]
fn several_files_become_one_inventory_unless_they_contradict_each_other() {
    let first = ("a.toml", "[host.a]\naddress = \"10.0.0.1\"\nlabels = { role = \"web\" }\n[deploy]\ncommand = [\"x\"]\n");
    let second = ("hosts", "[fra]\na\nb\n");
    insta::assert_snapshot!(shown(&[first, second]), @"
    a  10.0.0.1  group.fra=true,role=web  a.toml:1
    b  b  group.fra=true  hosts:3
    ");
    let told = [
        error(&[first, ("b.toml", "[host.a]\naddress = \"10.0.0.2\"")]),
        error(&[first, ("b.toml", "[host.a]\nlabels = { role = \"db\" }")]),
        error(&[first, ("b.toml", "[deploy]\ncommand = [\"y\"]")]),
        error(&[("a.toml", "heartbeat = 5000"), ("b.toml", "heartbeat = 6000")]),
    ];
    insta::assert_snapshot!(told.join("\n"));
}

#[test]
fn nothing_listed_is_no_error_of_the_file() {
    assert!(read(&[("fleet.toml", "")]).unwrap().hosts.is_empty());
    assert!(read(&[]).unwrap().hosts.is_empty());
}

#[test]
fn no_text_makes_it_panic() {
    for name in ["fleet.toml", "hosts", "hosts.yml"] {
        for text in [
            "\u{0}",
            "[",
            "[[",
            "]",
            "[host.\"",
            "a: [",
            "- a",
            "---\n...",
            "a:\n\t- b",
            "\"",
            "[host]\na=1",
            "all: {hosts: 3}",
            "😀",
        ] {
            drop(read(&[(name, text)]));
        }
    }
}
