use std::process::Command;

use super::*;
use crate::ssh::settings::{AgentSocket, Proxy};

struct Bench {
    folder: tempfile::TempDir,
    settings: Settings,
}

impl Bench {
    fn new(host: &str, port: u16) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let settings = Settings {
            name: "web1".into(),
            host: host.into(),
            port,
            user: "root".into(),
            key_alias: None,
            identity_files: Vec::new(),
            identities_named: false,
            identities_only: false,
            agent: AgentSocket::None,
            user_known_hosts: vec![folder.path().join("known")],
            global_known_hosts: vec![folder.path().join("global")],
            strictness: Strictness::KnownOnly,
            proxy: Proxy::None,
            connect_timeout: None,
        };
        Self { folder, settings }
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.folder.path().join(name), text).unwrap();
    }

    fn judge(&self, key: &str) -> Result<(), KeyError> {
        KnownHosts::default().judge(&self.settings, &PublicKey::from_openssh(key).unwrap())
    }
}

const ONE: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ";
const TWO: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIA6rWI3G2sz07DnfFlrouTcysQlj2P+jpNSOEWD9OJ3X";

#[test]
fn names_ports_aliases_patterns_and_lists() {
    let mut bench = Bench::new("Web1.Example", 22);
    for names in ["web1.example", "other,web1.example", "*.example", "web?.example,!db.example"] {
        bench.write("known", &format!("# a comment\n\n{names} {ONE} me@desk\n"));
        assert_eq!(bench.judge(ONE), Ok(()), "{names}");
        assert!(matches!(bench.judge(TWO), Err(KeyError::Changed { line: 3, .. })), "{names}");
    }
    for names in ["web2.example", "*.example,!web1.example", "[web1.example]:2222"] {
        bench.write("known", &format!("{names} {ONE}\n"));
        assert!(matches!(bench.judge(ONE), Err(KeyError::Unknown { .. })), "{names}");
    }
    bench.settings.port = 2222;
    assert_eq!(bench.judge(ONE), Ok(()));
    bench.settings.key_alias = Some("web2.example".into());
    bench.write("global", &format!("web2.example {TWO}\n"));
    assert_eq!(bench.judge(TWO), Ok(()), "an alias has no port, and the machine's file counts too");
}

#[test]
fn hashed_names_are_found_as_ssh_keygen_writes_them() {
    let bench = Bench::new("web1", 2222);
    bench.write("known", &format!("[web1]:2222 {ONE}\nweb1 {TWO}\n"));
    let file = bench.folder.path().join("known");
    assert!(Command::new("ssh-keygen").args(["-q", "-H", "-f"]).arg(&file).output().unwrap().status.success());
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(text.starts_with("|1|") && !text.contains("web1"), "{text}");
    assert_eq!(bench.judge(ONE), Ok(()));
    assert!(matches!(bench.judge(TWO), Err(KeyError::Changed { line: 1, .. })));
}

#[test]
fn another_kind_of_key_than_the_known_one_is_a_changed_key_and_several_may_be_known() {
    let bench = Bench::new("web1", 22);
    let ecdsa = "ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBBEmKSENjQEezOmxkZMy7opKgwFB9nkt5YRrYMjNuG5N87uRgg6CLrbo5wAdT/y6v0mKV0U2w0WZ2YB/++Tpockg=";
    bench.write("known", &format!("web1 {ecdsa}\n"));
    // As OpenSSH: whoever stands in between would show a kind that is not known.
    for strictness in [Strictness::KnownOnly, Strictness::AcceptNew] {
        let bench = Bench { settings: Settings { strictness, ..bench.settings.clone() }, folder: tempfile::tempdir().unwrap() };
        let changed = bench.judge(ONE);
        assert!(
            matches!(&changed, Err(KeyError::Changed { shown, .. }) if shown.ends_with("ssh-ed25519 instead of ecdsa-sha2-nistp256")),
            "{changed:?}"
        );
    }
    assert_eq!(KnownHosts::default().algorithms(&bench.settings), ["ecdsa-sha2-nistp256"], "it is asked for the known kind");
    bench.write("known", &format!("web1 {ONE}\nweb1 {TWO}\n"));
    assert_eq!((bench.judge(ONE), bench.judge(TWO)), (Ok(()), Ok(())));
    bench.write("global", &format!("@revoked * {TWO}\n"));
    assert!(matches!(bench.judge(TWO), Err(KeyError::Revoked { .. })), "revoked beats known");
    assert_eq!(bench.judge(ONE), Ok(()));
}

#[test]
fn a_new_key_is_noted_once_on_a_line_of_its_own() {
    let mut bench = Bench::new("web1", 2222);
    bench.settings.strictness = Strictness::AcceptNew;
    bench.write("known", &format!("web2 {TWO}"));
    let known = KnownHosts::default();
    let key = PublicKey::from_openssh(ONE).unwrap();
    assert_eq!(known.judge(&bench.settings, &key), Ok(()));
    assert_eq!(known.judge(&bench.settings, &key), Ok(()), "a file that changed is read again");
    let text = std::fs::read_to_string(bench.folder.path().join("known")).unwrap();
    assert_eq!(text, format!("web2 {TWO}\n[web1]:2222 {ONE}\n"));
    assert!(matches!(bench.judge(TWO), Err(KeyError::Changed { .. })));
    bench.settings.user_known_hosts = vec![bench.folder.path().join("known/below")];
    assert!(
        matches!(bench.judge(ONE), Err(KeyError::File { .. } | KeyError::NotNoted { .. })),
        "nothing is believed that cannot be noted"
    );
}

#[test]
fn a_file_that_cannot_be_read_lets_nobody_be_believed() {
    let mut bench = Bench::new("web1", 22);
    bench.settings.strictness = Strictness::AcceptNew;
    std::fs::create_dir(bench.folder.path().join("global")).unwrap();
    assert!(matches!(bench.judge(ONE), Err(KeyError::File { .. })));
}
