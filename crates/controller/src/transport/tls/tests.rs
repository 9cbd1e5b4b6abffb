use super::*;

const DAY: Duration = Duration::from_secs(24 * 3600);

fn names(list: &[&str]) -> Vec<String> {
    list.iter().map(ToString::to_string).collect()
}

fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + DAY * 20_000
}

fn load(dir: &Path, list: &[&str], at: SystemTime) -> Identity {
    Identity::load_or_create(dir, &names(list), at).unwrap()
}

fn server_file(dir: &Path) -> String {
    fs::read_to_string(dir.join(SERVER_FILE)).unwrap()
}

#[test]
fn the_identity_is_made_once_and_then_loaded() {
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().join("state");
    let first = load(&state, &["localhost", "127.0.0.1"], now());
    let before = server_file(&state);
    let second = load(&state, &["localhost", "127.0.0.1"], now() + DAY);
    assert_eq!(first.ca_fingerprint(), second.ca_fingerprint());
    assert_eq!(before, server_file(&state));
    assert_eq!(fs::read_to_string(state.join(CA_CERTIFICATE_FILE)).unwrap(), second.ca_pem());
    second.server_config(&[b"mqtt"]).unwrap();
}

#[test]
fn the_fingerprint_is_that_of_the_certificate_that_is_handed_out() {
    let dir = tempfile::tempdir().unwrap();
    let identity = load(dir.path(), &["localhost"], now());
    let der = CertificateDer::from_pem_slice(identity.ca_pem().as_bytes()).unwrap();
    assert_eq!(identity.ca_fingerprint(), fingerprint(&der));
    assert_eq!(identity.ca_fingerprint().len(), "sha256:".len() + 64);
    assert_eq!(fingerprint(b""), "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
}

#[test]
fn private_files_are_for_the_owner_only_and_no_draft_stays() {
    let dir = tempfile::tempdir().unwrap();
    load(dir.path(), &["localhost"], now());
    for file in [CA_FILE, SERVER_FILE] {
        assert_eq!(fs::metadata(dir.path().join(file)).unwrap().permissions().mode() & 0o777, 0o600, "{file}");
    }
    assert!(!fs::read_to_string(dir.path().join(CA_CERTIFICATE_FILE)).unwrap().contains("PRIVATE"));
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 3);
}

#[test]
fn the_server_certificate_is_renewed_before_its_end_and_for_new_names_under_the_same_ca() {
    let dir = tempfile::tempdir().unwrap();
    let first = load(dir.path(), &["localhost"], now());
    let before = server_file(dir.path());
    load(dir.path(), &["localhost"], first.renew_at() - DAY);
    assert_eq!(before, server_file(dir.path()));
    let late = load(dir.path(), &["localhost"], first.renew_at() + DAY);
    let renewed = server_file(dir.path());
    assert_ne!(before, renewed);
    assert!(late.renew_at() > first.renew_at());
    let named = load(dir.path(), &["localhost", "10.0.0.1"], now());
    assert_ne!(renewed, server_file(dir.path()));
    assert_eq!(named.ca_fingerprint(), first.ca_fingerprint());
}

#[test]
fn a_damaged_server_file_is_made_anew_a_damaged_ca_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    load(dir.path(), &["localhost"], now());
    fs::write(dir.path().join(SERVER_FILE), &server_file(dir.path())[..200]).unwrap();
    load(dir.path(), &["localhost"], now());
    assert!(server_file(dir.path()).contains("PRIVATE KEY"));

    let ca = dir.path().join(CA_FILE);
    let text = fs::read_to_string(&ca).unwrap();
    fs::write(&ca, &text[..text.len() / 2]).unwrap();
    assert!(matches!(Identity::load_or_create(dir.path(), &names(&["localhost"]), now()), Err(TlsError::Damaged { .. })));
    assert_eq!(fs::read_to_string(&ca).unwrap(), &text[..text.len() / 2], "a damaged CA is left alone");
}

#[test]
fn a_key_that_others_can_read_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    load(dir.path(), &["localhost"], now());
    for file in [CA_FILE, SERVER_FILE] {
        let path = dir.path().join(file);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(
            matches!(Identity::load_or_create(dir.path(), &names(&["localhost"]), now()), Err(TlsError::Exposed(p)) if p == path)
        );
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    }
}

#[test]
fn a_draft_of_a_crash_is_in_nobodys_way_and_an_existing_ca_is_never_overwritten() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("ca.new"), "half a fi").unwrap();
    let identity = load(dir.path(), &["localhost"], now());
    write_whole(&dir.path().join(CA_FILE), "another", 0o600, Existing::Keep).unwrap();
    assert_eq!(load(dir.path(), &["localhost"], now()).ca_fingerprint(), identity.ca_fingerprint());
}

#[test]
fn names_that_cannot_be_in_a_certificate_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    assert!(matches!(Identity::load_or_create(dir.path(), &[], now()), Err(TlsError::NoName)));
    for bad in ["", "a b", "a,b", "a\nb", "höst"] {
        assert!(matches!(Identity::load_or_create(dir.path(), &names(&[bad]), now()), Err(TlsError::Name(_))), "{bad:?}");
    }
}

#[test]
fn the_crypto_provider_can_be_installed_twice() {
    install_crypto_provider();
    install_crypto_provider();
    assert!(rustls::crypto::CryptoProvider::get_default().is_some());
}
