use std::io::Cursor;
use std::net::TcpListener;
use std::thread::JoinHandle;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::PrivateKeyDer;
use rustls::{ServerConfig, ServerConnection};

use super::*;

struct Ca(CertifiedIssuer<'static, KeyPair>);

impl Ca {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    fn fingerprint(&self) -> String {
        certificate_fingerprint(self.0.der())
    }

    /// A server that answers one request with this text, and gives what it was asked.
    fn serve(&self, name: &str, answer: String) -> (u16, JoinHandle<Option<String>>) {
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new([name.to_owned()]).unwrap().signed_by(&key, &self.0).unwrap();
        let chain = vec![certificate.der().clone(), self.0.der().clone()];
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let config = Arc::new(builder.with_no_client_auth().with_single_cert(chain, key).unwrap());
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let asked = std::thread::spawn(move || {
            let (tcp, _) = listener.accept().unwrap();
            tcp.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
            let mut stream = StreamOwned::new(ServerConnection::new(config).unwrap(), tcp);
            let mut asked = Vec::new();
            let mut part = [0; 4096];
            loop {
                let text = String::from_utf8_lossy(&asked).into_owned();
                if let Some((head, body)) = text.split_once("\r\n\r\n") {
                    let length = head.lines().find_map(|l| l.strip_prefix("Content-Length: ")).unwrap().parse().unwrap();
                    if body.len() >= length {
                        stream.write_all(answer.as_bytes()).unwrap();
                        stream.conn.send_close_notify();
                        drop(stream.flush());
                        return Some(text);
                    }
                }
                match stream.read(&mut part) {
                    Ok(0) | Err(_) => return None,
                    Ok(n) => asked.extend(&part[..n]),
                }
            }
        });
        (port, asked)
    }
}

fn answer() -> EnrolAnswer {
    EnrolAnswer {
        host_id: model::TargetId(uuid::Uuid::from_u128(7)),
        mqtt_host: "localhost".to_owned(),
        mqtt_port: 8883,
        mqtt_secret: "broker-secret".to_owned(),
        controller_public_key: protocol::native::ControllerKey::from_seed(&[1; 32]).unwrap().public(),
        ca_pem: "PEM".to_owned(),
    }
}

fn http(status: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\ncontent-type: application/json\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

fn place() -> (tempfile::TempDir, Config) {
    let folder = tempfile::tempdir().unwrap();
    let machine_id_file = folder.path().join("machine-id");
    std::fs::write(&machine_id_file, "0123456789abcdef\n").unwrap();
    let config = Config { state_dir: folder.path().join("state"), machine_id_file, ..Config::default() };
    (folder, config)
}

fn go(config: &Config, port: u16, ca_fingerprint: String) -> Result<EnrolAnswer, EnrolError> {
    let url = format!("https://localhost:{port}");
    let token = Token { url, ca_fingerprint, secret: "s3cret".to_owned(), name: "web-1".to_owned() };
    enrol(config, Path::new("-"), Cursor::new(format!("{token}\n")))
}

#[test]
fn a_host_enrols_with_a_key_of_its_own_and_keeps_the_answer() {
    let (ca, (_folder, config)) = (Ca::new(), place());
    let (port, asked) = ca.serve("localhost", http("200 OK", &serde_json::to_string(&answer()).unwrap()));
    assert_eq!(go(&config, port, ca.fingerprint()).unwrap(), answer());
    let asked = asked.join().unwrap().unwrap();
    let body: EnrolRequest = serde_json::from_str(asked.split_once("\r\n\r\n").unwrap().1).unwrap();
    assert_eq!((body.secret.as_str(), body.machine_id.as_str()), ("s3cret", "0123456789abcdef"));
    assert_eq!(body.public_key, identity::key(&config.state_dir).unwrap().public());
    assert_eq!(identity::enrolment(&config.state_dir).unwrap(), answer());
    // Again, with another token: the same key, so the controller knows the device again.
    let (port, asked) = ca.serve("localhost", http("200 OK", &serde_json::to_string(&answer()).unwrap()));
    go(&config, port, ca.fingerprint()).unwrap();
    assert!(asked.join().unwrap().unwrap().contains(&body.public_key.to_string()));
}

#[test]
fn nothing_is_said_to_anyone_but_the_holder_of_the_ca() {
    let (ca, other, (_folder, config)) = (Ca::new(), Ca::new(), place());
    // Another CA altogether; the right CA for another name; the right CA's certificate shown beside a leaf of another.
    let (port, asked) = other.serve("localhost", http("200 OK", "{}"));
    assert!(matches!(go(&config, port, ca.fingerprint()), Err(EnrolError::NotTheController(..))));
    assert_eq!(asked.join().unwrap(), None);
    let (port, asked) = ca.serve("elsewhere.example", http("200 OK", "{}"));
    assert!(matches!(go(&config, port, ca.fingerprint()), Err(EnrolError::NotTheController(..))));
    assert_eq!(asked.join().unwrap(), None);
    let stranger = KeyPair::generate().unwrap();
    let leaf = CertificateParams::new(["localhost".to_owned()]).unwrap().signed_by(&stranger, &other.0).unwrap();
    let verifier = Pinned { fingerprint: ca.fingerprint(), provider: Arc::new(rustls::crypto::ring::default_provider()) };
    let name = ServerName::try_from("localhost").unwrap();
    let shown = [ca.0.der().clone(), other.0.der().clone()];
    assert!(verifier.verify_server_cert(leaf.der(), &shown, &name, &[], UnixTime::now()).is_err());
    assert!(identity::enrolment(&config.state_dir).is_err());
}

#[test]
fn a_refusal_is_told_in_the_controllers_words() {
    let (ca, (_folder, config)) = (Ca::new(), place());
    let problem = serde_json::to_string(&Problem::new(403, "Forbidden", "this token was used already")).unwrap();
    let (port, _asked) = ca.serve("localhost", http("403 Forbidden", &problem));
    let error = go(&config, port, ca.fingerprint()).unwrap_err();
    assert_eq!(error.to_string(), "the controller refused (403): this token was used already");
    assert!(identity::enrolment(&config.state_dir).is_err());
}

#[test]
fn a_broken_answer_is_no_enrolment() {
    for (answer, said) in [
        (http("200 OK", "{}"), "missing field"),
        ("HTTP/1.1 200 OK\r\ncontent-length: 50\r\n\r\n{".to_owned(), "1 of 50 bytes"),
        ("HTTP/1.1 200 OK\r\n\r\n{}".to_owned(), "names no length"),
        ("garbage\r\n\r\n".to_owned(), "not HTTP/1.1"),
        (String::new(), "ended before its body"),
    ] {
        let (ca, (_folder, config)) = (Ca::new(), place());
        let (port, _asked) = ca.serve("localhost", answer);
        let error = go(&config, port, ca.fingerprint()).unwrap_err().to_string();
        assert!(error.contains(said), "{said}: {error}");
        assert!(identity::enrolment(&config.state_dir).is_err());
    }
}

#[test]
fn odd_addresses_are_refused_before_anything_is_sent() {
    for url in ["https://", "https://a/b", "https://user@host", "https://host:99999", "https://ho st", "https://h\r\nX: y"] {
        let token = Token { url: url.to_owned(), ca_fingerprint: "a".repeat(64), secret: String::new(), name: String::new() };
        assert!(matches!(post(&token, b"{}"), Err(EnrolError::Address(_))), "{url}");
    }
}
