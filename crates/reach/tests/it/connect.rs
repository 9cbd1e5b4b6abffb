//! Getting in.

use std::time::Duration;

use model::{ErrorCode, Millis};
use reach::ssh::{Far, KeyError, SshError};
use recipe::{Invocation, Output};

use crate::bench::{Agent, PATIENCE, Person, Server, keygen};

fn sh(script: &str) -> Invocation {
    let argv = ["sh", "-c", script].map(str::to_owned).to_vec();
    Invocation { argv, env: vec![("WORD".to_owned(), "it's".to_owned())], limit: Millis::secs(60) }
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
    assert_eq!(run(&mut far, "kill -9 $$").await.unwrap().exit, None);
    assert_eq!(server.connections(), 1, "one connection for all steps");
    far.let_go();
    assert!(run(&mut far, "true").await.unwrap().succeeded());
    assert_eq!(server.connections(), 2, "a new one when it was let go");
}
