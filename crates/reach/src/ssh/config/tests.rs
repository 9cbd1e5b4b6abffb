use super::*;
use crate::ssh::settings::{AgentSocket, Proxy, Strictness};

struct Home(tempfile::TempDir);

impl Home {
    fn new(config: &str) -> Self {
        let home = Self(tempfile::tempdir().unwrap());
        std::fs::create_dir(home.0.path().join(".ssh")).unwrap();
        home.write("config", config);
        home
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.0.path().join(".ssh").join(name), text).unwrap();
    }

    fn around(&self) -> Surroundings {
        let env = [("SSH_AUTH_SOCK", "/agent"), ("KEYS", "/keys"), ("OTHER", "/other")];
        let env = env.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        Surroundings { home: self.0.path().to_owned(), user: "alice".into(), hostname: "desk.example".into(), env }
    }

    fn read(&self) -> Result<Config, SettingsError> {
        Config::read(ConfigFiles::Only(self.0.path().join(".ssh/config")), &self.around())
    }

    fn of(&self, host: &str) -> Result<Settings, SettingsError> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(self.read()?.settings(&host.parse().unwrap(), &self.around()))
    }
}

#[test]
fn without_any_file_it_is_as_ssh_does_it() {
    let home = Home::new("");
    let settings = home.of("web1").unwrap();
    let ssh = home.0.path().join(".ssh");
    assert_eq!((settings.host.as_str(), settings.port, settings.user.as_str()), ("web1", 22, "alice"));
    assert_eq!(settings.user_known_hosts, [ssh.join("known_hosts"), ssh.join("known_hosts2")]);
    assert_eq!((settings.strictness, settings.proxy), (Strictness::KnownOnly, Proxy::None));
    assert_eq!(settings.agent, AgentSocket::At("/agent".into()));
    assert!(!settings.identities_named && settings.identity_files.contains(&ssh.join("id_ed25519")));
}

#[test]
fn the_first_value_counts_and_blocks_count_where_they_fit() {
    let home = Home::new(
        "Host web* !web9\n  HostName %h.example\n  User=deploy\n  IdentityFile ~/.ssh/web\n  IdentityFile ${KEYS}/%r\n\
         Match user deploy host *.example\n  Port 2222\n  IdentitiesOnly yes\n\
         Match originalhost web2 !localuser bob\n  HostKeyAlias \"the second\"\n\
         Host *\n  User nobody\n  Port 22\n  StrictHostKeyChecking accept-new\n  ConnectTimeout 7\n  IdentityAgent $OTHER\n  Ciphers a,b\n",
    );
    let web1 = home.of("web1").unwrap();
    assert_eq!((web1.host.as_str(), web1.port, web1.user.as_str()), ("web1.example", 2222, "deploy"));
    assert_eq!(web1.identity_files, [home.0.path().join(".ssh/web"), "/keys/deploy".into()]);
    assert!(web1.identities_only && web1.identities_named && web1.key_alias.is_none());
    assert_eq!((web1.strictness, web1.connect_timeout), (Strictness::AcceptNew, Some(Duration::from_secs(7))));
    assert_eq!(web1.agent, AgentSocket::At("/other".into()));
    assert_eq!(home.of("web2").unwrap().key_alias.as_deref(), Some("the second"));
    let web9 = home.of("web9").unwrap();
    assert_eq!((web9.host.as_str(), web9.port, web9.user.as_str()), ("web9", 22, "nobody"));
    let named = home.of("bob@web1:99").unwrap();
    assert_eq!((named.port, named.user.as_str()), (99, "bob"), "what is said beats what is configured");
}

#[test]
fn proxies_are_filled_in_and_whichever_comes_first_counts() {
    let home = Home::new(
        "Host a\n  ProxyCommand nc \"%h\" %p # %r@%n %%\n  ProxyJump x\nHost b\n  ProxyJump j@one:2, two\n  ProxyCommand nc\n\
         Host c\n  ProxyJump none\n  ProxyCommand nc\n",
    );
    assert_eq!(home.of("a").unwrap().proxy, Proxy::Command("nc \"a\" 22 # alice@a %".into()));
    assert_eq!(home.of("b").unwrap().proxy, Proxy::Jump(vec!["j@one:2".parse().unwrap(), "two".parse().unwrap()]));
    assert_eq!(home.of("c").unwrap().proxy, Proxy::None);
}

#[test]
fn included_files_count_where_they_are_included() {
    let home = Home::new("Host web*\n  Include conf.d/*\nHost *\n  User last\n");
    std::fs::create_dir(home.0.path().join(".ssh/conf.d")).unwrap();
    home.write("conf.d/2", "Port 2\nUser second\n");
    home.write("conf.d/1", "Host web1\n  Port 1\nHost db1\n  Port 3\n");
    let port_and_user = |host: &str| home.of(host).map(|s| (s.port, s.user)).unwrap();
    assert_eq!(port_and_user("web1"), (1, "second".into()));
    assert_eq!(port_and_user("web2"), (2, "second".into()));
    assert_eq!(port_and_user("db1"), (22, "last".into()), "a block inside another needs both");
    home.write("conf.d/3", "Include conf.d/3\n");
    assert!(home.of("web1").unwrap_err().to_string().contains("circle"));
}

#[test]
fn what_is_not_understood_is_asked_of_ssh_itself() {
    let home = Home::new("Match exec \"test %n = web1\"\n  User chosen\nHost *\n  User other\n  Port 77\n");
    assert_eq!(home.of("web1").unwrap().user, "chosen");
    let web2 = home.of("web2:5").unwrap();
    assert_eq!((web2.user.as_str(), web2.port), ("other", 5));
}

#[test]
fn what_cannot_be_is_an_error_with_a_hint() {
    for (config, words) in [
        ("Port x", "1 to 65535"),
        ("ConnectTimeout soon", "seconds"),
        ("StrictHostKeyChecking maybe", "accept-new"),
        ("IdentityFile %q", "%q"),
        ("IdentityFile ${NOPE}/x", "NOPE"),
        ("ProxyJump a b", "HOST"),
        ("Port", "line 1"),
        ("Match colour blue", "criterion"),
        ("KnownHostsCommand /bin/x", "file of known hosts"),
        ("PKCS11Provider /lib/x.so", "ssh-agent"),
    ] {
        let error = home_error(config);
        assert!(error.contains(words), "{config}: {error}");
    }
    let home = Home::new("");
    std::fs::remove_file(home.0.path().join(".ssh/config")).unwrap();
    assert!(home.of("web1").unwrap_err().to_string().contains("cannot read"), "a file that was named must be there");
}

fn home_error(config: &str) -> String {
    Home::new(config).of("web1").unwrap_err().to_string()
}

#[test]
fn what_is_not_obeyed_is_told_once_and_not_what_every_distribution_ships() {
    let config = "Host a\n  CertificateFile ~/.ssh/a-cert.pub\nHost b\n  CertificateFile ~/.ssh/b-cert.pub\n  AddressFamily any\n\
                  Host *\n  Ciphers aes256-gcm@openssh.com\n  GSSAPIAuthentication no\n";
    let home = Home::new(config);
    let told = home.read().unwrap().not_obeyed();
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(told[0].contains("config line 2: CertificateFile is not obeyed") && told[1].contains("Ciphers"), "{told:?}");
    let mut shipped = home.read().unwrap();
    shipped.not_obeyed.clear();
    shipped.pass_over("gssapiauthentication", "yes", Path::new("/etc/ssh/ssh_config"), 1);
    assert!(shipped.not_obeyed().is_empty());
    shipped.pass_over("bindaddress", "10.0.0.1", Path::new("/etc/ssh/ssh_config"), 2);
    assert_eq!(shipped.not_obeyed().len(), 1);
}
