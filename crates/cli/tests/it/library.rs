//! The library, called by a program: what it refuses before anything is done. What it does is shown by the lab.

use std::process::{Command, Stdio};

use reveille::{RestartError, RestartOptions};

/// A service without a unit on any machine, a folder for the journal, and options that name both.
fn options() -> (tempfile::TempDir, RestartOptions) {
    let dir = tempfile::tempdir().unwrap();
    let manifest = dir.path().join("reveille.toml");
    std::fs::write(&manifest, "[service.\"nobodys.api\"]\nunit = \"reveille-test-of-nobody.service\"\n").unwrap();
    let options =
        RestartOptions { manifest: Some(manifest), state_dir: Some(dir.path().join("state")), ..RestartOptions::default() };
    (dir, options)
}

/// Both functions refuse it, and alike.
async fn refused(options: RestartOptions) -> RestartError {
    let [service] = &options.services[..] else { panic!("one service") };
    let one = reveille::restart_service(service, options.clone()).await.unwrap_err();
    assert_eq!(reveille::rolling_restart(options).await.unwrap_err(), one);
    one
}

fn of(service: &str, options: RestartOptions) -> RestartOptions {
    RestartOptions { services: vec![service.to_owned()], ..options }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manifest_that_is_wrong_or_not_there_is_an_error_with_a_hint() {
    let (dir, options) = options();
    let none = dir.path().join("none.toml");
    let error = refused(of("nobodys.api", RestartOptions { manifest: Some(none), ..options.clone() })).await;
    assert!(error.exit_code == 2 && error.message.contains("none.toml"), "{error}");
    assert!(error.hint.unwrap().contains("--manifest"));
    let bad = dir.path().join("bad.toml");
    std::fs::write(&bad, "[service.a]\ncolour = \"red\"\n").unwrap();
    let error = refused(of("a", RestartOptions { manifest: Some(bad), ..options })).await;
    assert!(error.exit_code == 2 && error.message.contains("bad.toml:2: service.a.colour: unknown key"), "{error}");
    assert!(error.hint.is_some());
    assert!(!dir.path().join("state").exists(), "nothing is opened for it");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_is_not_listed_is_an_error_that_names_those_that_are() {
    let (dir, options) = options();
    let error = refused(of("nobodys.apii", options)).await;
    assert!(error.exit_code == 2 && error.message.contains("nobodys.apii; there are: nobodys.api"), "{error}");
    assert!(error.hint.is_some_and(|hint| hint.contains("reveille.toml")));
    assert!(!dir.path().join("state").exists(), "nothing is opened for it");
}

#[tokio::test(flavor = "multi_thread")]
async fn s3_46_a_path_without_a_deploy_is_an_error_with_a_hint() {
    let (dir, options) = options();
    let error = refused(of("nobodys.api", RestartOptions { deploy_path: Some("/tmp/tree".into()), ..options })).await;
    assert!(error.exit_code == 2 && error.hint.as_deref().is_some_and(|hint| hint.contains("add --deploy")), "{error}");
    assert!(error.to_string().ends_with(')'), "the hint is a part of what is shown: {error}");
    assert!(!dir.path().join("state").exists(), "nothing is opened for it");
}

#[tokio::test(flavor = "multi_thread")]
async fn s3_43_force_has_a_reason_here_too() {
    let (_dir, options) = options();
    let error = refused(of("nobodys.api", RestartOptions { force: Some(" ".to_owned()), ..options })).await;
    assert!(error.exit_code == 2 && error.message.contains("reason"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn while_another_process_uses_the_state_directory_nothing_begins() {
    let (dir, options) = options();
    let state = dir.path().join("state");
    std::fs::create_dir(&state).unwrap();
    let mut flock = Command::new("flock");
    flock.arg(state.join("reveille.db.lock")).args(["-c", "echo held; read end"]);
    let mut holder = flock.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut held = String::new();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(holder.stdout.as_mut().unwrap()), &mut held).unwrap();
    let error = refused(of("nobodys.api", options)).await;
    drop(holder.stdin.take());
    holder.wait().unwrap();
    assert!(error.exit_code == 3 && error.message.contains("another reveille"), "{error}");
    assert!(error.hint.unwrap().contains("--state-dir"));
}
