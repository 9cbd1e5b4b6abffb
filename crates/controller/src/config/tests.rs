use super::*;

fn read(text: &str, variables: &[(&str, &str)]) -> Result<ServerConfig, ConfigError> {
    let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    ServerConfig::read(Some((Path::new("server.toml"), text)), variables)
}

#[test]
fn an_empty_file_is_the_defaults() {
    assert_eq!(read("", &[]).unwrap(), ServerConfig::default());
}

#[test]
fn the_environment_stands_over_the_file() {
    let text = "state_dir = \"/srv/a\"\n[engine]\nheartbeat = 1000\n[[engine.limit_group]]\nname = \"web\"\non = \"role=web\"\nmax_unavailable = 1\n";
    let config = read(
        text,
        &[
            ("REVEILLE_SERVER_STATE_DIR", "/srv/b"),
            ("REVEILLE_SERVER_ENGINE__ACTIVE_LIMIT", "3000"),
            ("REVEILLE_SERVER_API__LISTEN", "[\"127.0.0.1:0\"]"),
            ("REVEILLE_TOKEN", "is not ours"),
        ],
    );
    let config = config.unwrap();
    assert_eq!(config.state_dir, Path::new("/srv/b"));
    assert_eq!((config.engine.heartbeat, config.engine.active_limit), (Millis(1000), Millis(3000)));
    assert_eq!(config.engine.limit_groups[0].name, "web");
    assert_eq!(config.api.listen, ["127.0.0.1:0".parse().unwrap()]);
}

#[test]
fn an_unknown_key_is_an_error_that_shows_the_line_and_what_is_allowed() {
    let error = read("[mqtt]\nlisten = [\"0.0.0.0:1883\"]\nlissten = 3\n", &[]).unwrap_err().to_string();
    for part in ["server.toml", "line 3", "lissten", "listen", "max_connections"] {
        assert!(error.contains(part), "{part} in {error}");
    }
    assert!(read("[engine]\nheart_beat = 3\n", &[]).is_err());
    let error = read("", &[("REVEILLE_SERVER_MQTT__LISSTEN", "3")]).unwrap_err().to_string();
    assert!(error.contains("REVEILLE_SERVER_MQTT__LISSTEN") && error.contains("max_connections"), "{error}");
    let error = read("", &[("REVEILLE_SERVER_STATE_DIR__X", "3")]).unwrap_err().to_string();
    assert!(error.contains("REVEILLE_SERVER_STATE_DIR__X"), "{error}");
}

#[test]
fn values_that_make_no_sense_name_their_key() {
    let cases = [
        ("state_dir = \"here\"", "state_dir"),
        ("api.listen = []", "api.listen"),
        ("mqtt.listen = []", "mqtt.listen"),
        ("api.url = \"http://x\"", "api.url"),
        ("commands.resend = 0", "commands.resend"),
        ("engine.active_limit = 1000", "engine.active_limit"),
        ("engine.lockout_count = 0", "engine.lockout_count"),
        ("engine.wait_limit = 0", "engine.wait_limit"),
        ("[[engine.limit_group]]\nname = \"a\"\non = \"a=b\"\nmax_unavailable = 0", "engine.limit_group.max_unavailable"),
        ("[[engine.limit_group]]\nname = \"a\"\nmax_unavailable = 1", "engine.limit_group"),
        ("ssh.survey = 10", "ssh.survey"),
        ("ssh.survey = \"2m\"", "ssh.survey"),
        ("events.file = \"here\"", "events.file"),
        ("events.rotate_size = 1", "events.rotate_size"),
        ("events.keep = 0", "events.keep"),
        ("[[events.http]]\nurl = \"http://example.org\"", "events.http.url"),
        ("[[events.http]]\nurl = \"https://a:b@example.org\"", "events.http.url"),
        ("[[events.http]]\nurl = \"https://a\"\n[[events.http]]\nurl = \"https://a\"", "events.http.url"),
        ("licensing.required = true", "licensing.required"),
        ("licensing.issuer_key = \"x\"", "licensing.issuer_key"),
    ];
    for (text, key) in cases {
        let error = read(text, &[]).unwrap_err();
        assert!(matches!(&error, ConfigError::Value { key: found, .. } if *found == key), "{text}: {error}");
    }
}
