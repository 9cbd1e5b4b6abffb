//! Getting in.

use std::time::Duration;

use model::{ErrorCode, Millis};
use reach::ssh::{Far, KeyError, SshError};
use recipe::{Invocation, Output};

use crate::bench::{Agent, PATIENCE, Person, Server, keygen};

fn sh(script: &str) -> Invocation {
    let argv = ["sh", "-c", script].map(str::to_owned).to_vec();
    Invocation { argv, env: vec![("WORD".to_owned(), "it's".to_owned())], limit: Millis::secs(60), first: None }
}

async fn run(far: &mut Far, script: &str) -> Result<Output, SshError> {
    tokio::time::timeout(PATIENCE, far.run(&sh(script))).await.expect("it waits without a limit")
}

#[tokio::test]
async fn a_key_file_lets_in_and_exit_output_and_environment_are_brought() {
    let person = Person::new();
    let server = Server::start(&person);
    person.knows(&server);
    let mut far = person.access().far(server.destination());
    let output = run(&mut far, "echo \"$WORD\"; echo no >&2; cat; exit 3").await.unwrap();
    assert_eq!(output, Output { exit: Some(3), stdout: "it's\n".into(), stderr: "no\n".into(), timed_out: false });
    // A shell in between may make a number of it.
    assert!(matches!(run(&mut far, "kill -9 $$").await.unwrap().exit, None | Some(137)));
    assert_eq!(server.connections(), 1, "one connection for all steps");
    far.let_go();
    assert!(run(&mut far, "true").await.unwrap().succeeded());
    assert_eq!(server.connections(), 2, "a new one when it was let go");
}

#[tokio::test]
async fn g2_a_tool_that_says_too_much_is_not_run_again_over_a_new_connection() {
    let person = Person::new();
    let server = Server::start(&person);
    person.knows(&server);
    let mut far = person.access().far(server.destination());
    assert!(run(&mut far, "true").await.unwrap().succeeded());
    let error = run(&mut far, "echo run >> $FARM/runs; exec head -c 6000000 /dev/zero").await.unwrap_err();
    assert!(matches!(error, SshError::Unreadable { .. }), "{error}");
    assert_eq!(std::fs::read_to_string(server.folder.path().join("runs")).unwrap(), "run\n");
}

#[tokio::test]
async fn an_agent_lets_in_and_a_key_with_a_passphrase_says_so_otherwise() {
    let mut person = Person::new();
    let server = Server::start(&person);
    person.knows(&server);
    let agent = Agent::with(&person.ssh("id_ed25519"));
    // The private half is gone: only the agent has it.
    std::fs::remove_file(person.ssh("id_ed25519")).unwrap();
    let error = run(&mut person.access().far(server.destination()), "true").await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::Denied);
    person.config = format!("Host *\n  IdentityAgent {}\n", agent.path().display());
    assert!(run(&mut person.access().far(server.destination()), "true").await.unwrap().succeeded());
    // Only named keys: the agent's is named by its public half.
    person.config += &format!("  IdentitiesOnly yes\n  IdentityFile {}\n", person.ssh("id_ed25519").display());
    assert!(run(&mut person.access().far(server.destination()), "true").await.unwrap().succeeded());
    std::fs::remove_file(person.ssh("id_ed25519.pub")).unwrap();
    keygen(&person.ssh("id_ed25519"), "a passphrase");
    let error = run(&mut person.access().far(server.destination()), "true").await.unwrap_err();
    assert!(error.code() == ErrorCode::Denied && error.to_string().contains("ssh-add"), "{error}");
}

#[tokio::test]
async fn an_unknown_key_is_refused_with_advice_and_noted_where_that_is_allowed() {
    let mut person = Person::new();
    let server = Server::start(&person);
    let error = run(&mut person.access().far(server.destination()), "true").await.unwrap_err();
    assert!(matches!(&error, SshError::Key(KeyError::Unknown { .. })) && error.code() == ErrorCode::Denied, "{error}");
    assert!(error.to_string().contains("ssh-keyscan") && error.to_string().contains("SHA256:"), "{error}");
    person.config = "StrictHostKeyChecking accept-new\n".to_owned();
    assert!(run(&mut person.access().far(server.destination()), "true").await.unwrap().succeeded());
    person.config = String::new();
    assert!(run(&mut person.access().far(server.destination()), "true").await.unwrap().succeeded(), "noted");
}

#[tokio::test]
async fn a_changed_key_is_an_error_with_advice_even_where_new_ones_are_allowed() {
    let mut person = Person::new();
    person.config = "StrictHostKeyChecking no\n".to_owned();
    let server = Server::start(&person);
    let key = |path: &std::path::Path| std::fs::read_to_string(path.with_extension("pub")).unwrap();
    let other = person.ssh("other");
    keygen(&other, "");
    std::fs::write(person.ssh("known_hosts"), format!("[127.0.0.1]:{} {}", server.port(), key(&other))).unwrap();
    let error = run(&mut person.access().far(server.destination()), "true").await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::HostKeyChanged);
    let words = error.to_string();
    assert!(words.contains("rebuilt") && words.contains("ssh-keygen -f") && words.contains("-R"), "{words}");
    std::fs::write(person.ssh("known_hosts"), format!("@revoked * {}", server.host_key())).unwrap();
    let error = run(&mut person.access().far(server.destination()), "true").await.unwrap_err();
    assert!(matches!(error, SshError::Key(KeyError::Revoked { .. })), "{error}");
    std::fs::write(person.ssh("known_hosts"), format!("@cert-authority * {}", key(&other))).unwrap();
    person.config = String::new();
    let error = run(&mut person.access().far(server.destination()), "true").await.unwrap_err();
    assert!(error.to_string().contains("@cert-authority"), "{error}");
}

#[tokio::test]
async fn through_a_second_server() {
    let mut person = Person::new();
    let (jump, server) = (Server::start(&person), Server::start(&person));
    person.knows(&jump);
    person.knows(&server);
    person.config = format!("Host web1\n  HostName 127.0.0.1\n  Port {}\n  ProxyJump 127.0.0.1:{}\n", server.port(), jump.port());
    let mut far = person.access().far("web1".parse().unwrap());
    assert_eq!(run(&mut far, "echo $FARM").await.unwrap().stdout.trim(), server.folder.path().to_str().unwrap());
    assert_eq!((jump.connections(), server.connections()), (1, 1));
    jump.shut(true);
    far.let_go();
    assert!(matches!(run(&mut far, "true").await.unwrap_err(), SshError::Unreachable { .. }));
}

/// Passes bytes to the server, and stays alive when the far end is gone.
fn stubborn_proxy(server: &Server) -> String {
    format!(
        "sh -c 'echo $$ >> {0}/proxies; exec 3<>/dev/tcp/127.0.0.1/{1}; cat <&3 & cat >&3; sleep 1000'",
        server.folder.path().display(),
        server.port()
    )
    .replace("sh -c", "bash -c")
}

#[tokio::test]
async fn pain_4_a_proxy_that_stays_alive_holds_nothing_up() {
    let mut person = Person::new();
    let server = Server::start(&person);
    person.config = format!(
        "Host web1\n  HostName web1\n  HostKeyAlias web1\n  ConnectTimeout 3\n  ProxyCommand {}\n",
        stubborn_proxy(&server)
    );
    std::fs::write(person.ssh("known_hosts"), format!("web1 {}", server.host_key())).unwrap();
    let mut far = person.access().far("web1".parse().unwrap());
    assert!(run(&mut far, "true").await.unwrap().succeeded());
    let begun = std::time::Instant::now();
    let (lost, ()) = tokio::join!(run(&mut far, "sleep 600"), async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        server.shut(true);
        server.cut();
    });
    assert!(matches!(lost.unwrap_err(), SshError::Lost { .. }));
    assert!(begun.elapsed() < Duration::from_secs(60), "given up by signs of life, not by the proxy's end");
    // The door is shut and the proxy lives: connecting has its own limit.
    assert!(run(&mut far, "true").await.unwrap_err().may_pass());
    server.shut(false);
    assert!(run(&mut far, "true").await.unwrap().succeeded(), "and at once when it is back");
    drop(far);
    let pids = std::fs::read_to_string(server.folder.path().join("proxies")).unwrap();
    for pid in pids.lines() {
        let gone = || !std::fs::read_to_string(format!("/proc/{pid}/cmdline")).is_ok_and(|line| line.contains("dev/tcp"));
        for _ in 0..600 {
            if gone() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        assert!(gone(), "proxy {pid} is left running");
    }
}

#[tokio::test]
async fn a_connection_that_is_cut_in_the_middle_is_lost_and_the_next_step_makes_a_new_one() {
    let person = Person::new();
    let server = Server::start(&person);
    person.knows(&server);
    let mut far = person.access().far(server.destination());
    assert!(run(&mut far, "true").await.unwrap().succeeded());
    let (lost, ()) = tokio::join!(run(&mut far, "sleep 600"), async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        server.cut();
    });
    assert!(matches!(lost.unwrap_err(), SshError::Lost { .. }));
    assert!(run(&mut far, "true").await.unwrap().succeeded());
    // Cut while nothing runs: the step does not suffer from it.
    server.cut();
    assert!(run(&mut far, "true").await.unwrap().succeeded());
}

#[tokio::test]
async fn a_tool_that_does_not_end_is_ended_at_its_limit() {
    let person = Person::new();
    let server = Server::start(&person);
    person.knows(&server);
    let mut far = person.access().far(server.destination());
    let argv = ["sh", "-c", "echo begun; exec sleep 600"].map(str::to_owned).to_vec();
    let slow = Invocation { argv, env: Vec::new(), limit: Millis::secs(5), first: None };
    let output = tokio::time::timeout(PATIENCE, far.run(&slow)).await.unwrap().unwrap();
    assert!(output.timed_out && output.exit.is_none() && output.stdout == "begun\n", "{output:?}");
    // What it left behind holds its output open; that is not waited for.
    let begun = std::time::Instant::now();
    assert_eq!(run(&mut far, "sleep 600 & echo left").await.unwrap().stdout, "left\n");
    assert!(begun.elapsed() < Duration::from_secs(60));
    assert!(run(&mut far, "yes").await.unwrap_err().to_string().contains("more than"));
}

#[tokio::test]
async fn nobody_is_there() {
    let person = Person::new();
    let server = Server::start(&person);
    let to = server.destination();
    drop(server);
    let error = run(&mut person.access().far(to), "true").await.unwrap_err();
    assert!(matches!(&error, SshError::Unreachable { .. }) && error.may_pass(), "{error}");
    // Something that is no ssh server: it says nothing at all.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let to = format!("127.0.0.1:{}", silent.local_addr().unwrap().port()).parse().unwrap();
    let mut options = person.options();
    options.limits.connect = Duration::from_millis(700);
    let mut far = reach::ssh::Access::new(options).unwrap().far(to);
    assert!(matches!(run(&mut far, "true").await.unwrap_err(), SshError::Silent { .. }));
}

#[tokio::test]
async fn a_proxy_is_not_left_running_when_the_far_end_stops_in_the_middle_of_the_handshake() {
    let mut person = Person::new();
    let pid = person.home.path().join("pid");
    person.config = format!(
        "ConnectTimeout 1\nProxyCommand sh -c 'echo $$ > {}; printf \"SSH-2.0-x\\r\\n\"; cat > /dev/null; sleep 1000'\n",
        pid.display()
    );
    let mut options = person.options();
    options.limits.keepalive = Duration::from_secs(600);
    let mut far = reach::ssh::Access::new(options).unwrap().far("web1".parse().unwrap());
    assert!(matches!(run(&mut far, "true").await.unwrap_err(), SshError::Silent { .. }));
    let pid = std::fs::read_to_string(pid).unwrap();
    let line = format!("/proc/{}/cmdline", pid.trim());
    crate::world::wait("it is left running", || std::fs::read(&line).map_or(true, |line| line.is_empty())).await;
}
