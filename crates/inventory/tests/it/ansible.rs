//! Ansible's two kinds of file.

use super::{error, read, shown};

const INI: &str = r#"
# Hosts without a group stand first.
jump.example:2200

[web]
web[01:03] ansible_user=ops site=fra
web09 ansible_host=10.0.0.9 ansible_port=2222 reveille_label_rack="r 7"   # the odd one

[db]
db-[a:b].example
web01

[eu:children]
web
db

[eu:vars]
ansible_user=root
site = ams
db_password = secret
"#;

const YAML: &str = r"
all:
  vars:
    ansible_user: root
  hosts:
    jump.example:
      ansible_port: 2200
  children:
    eu:
      vars: { site: ams, db_password: !vault 'x' }
      children:
        web:
          hosts:
            web[01:03]: { ansible_user: ops, site: fra }
            web09:
              ansible_host: 10.0.0.9
              ansible_port: 2222
              reveille_label_rack: 7
        db:
          hosts:
            db-[a:b].example:
            web01:
empty:
";

#[test]
fn an_ini_inventory_gives_groups_as_labels_and_no_secret() {
    let ini = INI.replace("\"r 7\"", "r7");
    let labels = ("fleet.toml", "[ansible]\nlabels = [\"site\"]");
    insta::assert_snapshot!(shown(&[("hosts", &ini), labels]));
    assert!(!shown(&[("hosts", &ini)]).contains("site="), "only what is named becomes a label");
    assert!(!format!("{:?}", read(&[("hosts", &ini), labels]).unwrap()).contains("secret"));
}

#[test]
fn a_yaml_inventory_says_the_same() {
    let labels = ("fleet.toml", "[ansible]\nlabels = [\"site\"]");
    insta::assert_snapshot!(shown(&[("hosts.yml", YAML), labels]));
    // Without an ending it is known by its begin.
    assert_eq!(shown(&[("hosts", YAML)]).lines().count(), 7);
}

#[test]
fn the_nearer_group_and_the_host_itself_go_over_the_farther_one() {
    let text = "[all:vars]\nansible_user=all\n[outer:children]\ninner\n[outer:vars]\nansible_user=outer\n[inner]\na\nb ansible_user=own\n\
                [inner:vars]\nansible_user=inner\n[other]\nc\n";
    let users: Vec<String> = read(&[("hosts", text)]).unwrap().hosts.values().map(|host| host.address.to_string()).collect();
    assert_eq!(users, ["inner@a", "own@b", "all@c"]);
}

#[test]
fn a_bad_ansible_inventory_is_refused_with_its_line() {
    let texts = [
        ("hosts", "[web\na"),
        ("hosts", "[web:kids]\na"),
        ("hosts", "[web]\na[1:"),
        ("hosts", "[web]\na b"),
        ("hosts", "[web]\na x='1"),
        ("hosts", "[web:vars]\nx"),
        ("hosts", "[web:children]\ndb"),
        ("hosts", "[a:children]\nb\n[b:children]\na"),
        ("hosts", "[web]\na ansible_port=x"),
        ("hosts", "[web]\na ansible_host={{ ip }}"),
        ("hosts.json", "{ \"_meta\": { \"hostvars\": {} }, \"all\": {} }"),
        ("hosts", "[web]\na ansible_host=h\nb ansible_host=h"),
        ("hosts", "[we b]\na"),
        ("hosts.sh", "#!/bin/sh\n"),
        ("hosts.yml", "all:\n  hots:\n    a:\n"),
        ("hosts.yml", "all:\n  hosts:\n    - a\n"),
        ("hosts.yml", "all:\n  hosts:\n    a:\n    a:\n"),
        ("hosts.yml", "all:\n  hosts:\n    a: { ansible_host: [1] }\n"),
        ("hosts.yml", "all:\n  hosts: [\n"),
        ("hosts.yml", "all:\n  hosts:\n    a:\n  children:\n    web:\n      hosts:\n        b[2:1]:\n"),
    ];
    let told: Vec<String> = texts.iter().map(|file| error(&[*file])).collect();
    insta::assert_snapshot!(told.join("\n"));
}

#[test]
fn what_is_not_obeyed_is_told_once() {
    let notes = read(&[("hosts", "[web]\na ansible_ssh_common_args=-4\nb ansible_ssh_common_args=-4\nc\n")]).unwrap().notes;
    assert_eq!(notes, ["hosts: ansible_ssh_common_args is not obeyed: say it in ssh_config"]);
}

#[test]
fn a_host_that_is_reached_otherwise_than_over_ssh_is_left_out_with_a_word() {
    let found = read(&[("hosts", "localhost ansible_connection=local\n[web]\na\nw ansible_connection=winrm\n")]).unwrap();
    assert_eq!(found.hosts.keys().collect::<Vec<_>>(), ["a"]);
    let mut notes = found.notes;
    notes.sort();
    assert!(
        notes.len() == 2 && notes[0].starts_with("hosts:1: host localhost is left out") && notes[1].contains("winrm"),
        "{notes:?}"
    );
}
