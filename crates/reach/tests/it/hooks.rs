//! Drains by commands and by HTTP: the same three verbs, the same lines.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use model::{AckStatus, Action, Drain, ErrorCode, Millis};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use crate::own::{LONG, back, command, end, error, items, out, perform, site, words};
use crate::proxy::{head, patient};

/// A tool with its state in a file.
struct Tool {
    dir: tempfile::TempDir,
}

impl Tool {
    fn new(state: &str) -> Self {
        let tool = Self { dir: tempfile::tempdir().unwrap() };
        std::fs::write(tool.path("state"), state).unwrap();
        tool
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn said(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap_or_default()
    }

    fn drain(&self, drain: &str, undrain: &str) -> Drain {
        let sh = |script: &str| {
            let script = format!("cd {}; {script}", self.dir.path().display());
            ["sh", "-c", &script].map(str::to_owned).to_vec()
        };
        Drain::Command { state: sh("cat state"), drain: sh(drain), undrain: sh(undrain) }
    }
}

const CORDON: &str = "env | grep -E '^REVEILLE_(FORCE|GRACE_SECS|PRIOR)=' | sort > asked; echo 'n1 cordoned out' > state";
const RESTORE: &str = "printf '%s\n' \"$REVEILLE_PRIOR\" > state";

#[tokio::test]
async fn a_command_drains_is_confirmed_and_brings_back_what_was() {
    let tool = Tool::new("n1 ready in\n");
    let (site, drain) = (site(), tool.drain(CORDON, RESTORE));
    let prior = items(&end(&site, Action::Observe { drain: drain.clone() }).await);
    assert_eq!(words(&prior), ["n1 ready in"]);
    let drained = end(&site, Action::Drain { drain: drain.clone(), grace: Millis::secs(90), force: true }).await;
    assert_eq!((drained.status, words(&items(&drained))), (AckStatus::Completed, vec!["n1 cordoned out".to_owned()]));
    assert_eq!(tool.said("asked"), "REVEILLE_FORCE=1\nREVEILLE_GRACE_SECS=90\n");

    // Out of service already: nothing is run.
    std::fs::remove_file(tool.path("asked")).unwrap();
    let again = end(&site, out(&drain, LONG)).await;
    assert!(again.status == AckStatus::Completed && again.already && tool.said("asked").is_empty(), "{again:?}");

    let undrained = end(&site, back(&drain, &prior, LONG)).await;
    assert_eq!((undrained.status, words(&items(&undrained))), (AckStatus::Completed, vec!["n1 ready in".to_owned()]));
    assert!(end(&site, back(&drain, &prior, LONG)).await.already);
}

#[tokio::test]
async fn what_was_out_before_is_out_afterwards() {
    let tool = Tool::new("n1 cordoned out\n");
    let (site, drain) = (site(), tool.drain(CORDON, "touch asked; echo 'n1 ready in' > state"));
    let prior = items(&end(&site, Action::Observe { drain: drain.clone() }).await);
    assert_eq!(end(&site, out(&drain, LONG)).await.status, AckStatus::Completed);
    assert_eq!(end(&site, back(&drain, &prior, LONG)).await.status, AckStatus::Completed);
    assert!(tool.said("asked").is_empty() && !tool.path("asked").exists() && tool.said("state") == "n1 cordoned out\n");
}

#[tokio::test]
async fn a_tool_that_fails_lies_or_hangs_has_not_drained() {
    let site = site();
    for (script, says) in [
        ("echo 'pods in the way' >&2; exit 1", "pods in the way"),
        // It says that it is out, and that it could not do what it is there for.
        ("echo 'n1 cordoned out' > state; echo 'cannot evict' >&2; exit 1", "cannot evict"),
        ("true", "still in service: n1 (ready)"),
        ("sleep 600", "killed"),
    ] {
        let tool = Tool::new("n1 ready in\n");
        let ack = end(&site, out(&tool.drain(script, RESTORE), Millis(700))).await;
        let (code, message) = error(&ack);
        assert!(code == ErrorCode::NotDrained && message.contains(says), "{script}: {code} {message}");
        assert_eq!(items(&ack).len(), 1, "{script}: what was seen last");
    }
    let tool = Tool::new("n1 cordoned out\n");
    let prior = [model::ItemState { name: "n1".to_owned(), state: "ready".to_owned(), in_service: true }];
    let ack = end(&site, back(&tool.drain(CORDON, "echo refused >&2; exit 1"), &prior, Millis(700))).await;
    let (code, message) = error(&ack);
    assert!(code == ErrorCode::NotObserved && message.contains("n1 is cordoned") && message.contains("refused"), "{message}");
}

#[tokio::test]
async fn a_state_that_cannot_be_read_is_never_nothing() {
    let site = site();
    for state in ["", "n1 ready\n", "error: connection refused\n"] {
        let tool = Tool::new(state);
        let drain = tool.drain("touch asked", RESTORE);
        for action in [Action::Observe { drain: drain.clone() }, out(&drain, LONG), back(&drain, &[], LONG)] {
            assert_eq!(error(&end(&site, action).await).0, ErrorCode::Malformed, "{state:?}");
        }
        assert!(!tool.path("asked").exists(), "nothing is drained that cannot be read");
    }
    let missing = ["/nonexistent/tool".to_owned()].to_vec();
    let drain = Drain::Command { state: missing.clone(), drain: missing.clone(), undrain: missing };
    let (code, message) = error(&end(&site, Action::Observe { drain }).await);
    assert!(code == ErrorCode::ToolFailed && message.contains("the state cannot be read"), "{message}");
}

#[tokio::test]
async fn a_drain_that_is_given_up_does_not_go_on_behind_an_undrain() {
    let tool = Tool::new("n1 ready in\n");
    let site = Arc::new(site());
    let slow = tool.drain("touch begun; (sleep 2; echo 'n1 cordoned out' > state) & wait", RESTORE);
    let first = {
        let (site, command) = (Arc::clone(&site), command(out(&slow, LONG)));
        tokio::spawn(async move { perform(&site, &command).await })
    };
    patient("the drain to begin", async {
        while !tool.path("begun").exists() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    first.abort();
    let prior = [model::ItemState { name: "n1".to_owned(), state: "ready".to_owned(), in_service: true }];
    assert_eq!(end(&site, back(&slow, &prior, LONG)).await.status, AckStatus::Completed);
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(tool.said("state"), "n1 ready in\n");
}

#[tokio::test]
async fn two_changes_of_one_host_come_one_after_the_other() {
    let tool = Tool::new("n1 ready in\nn2 ready in\n");
    let site = site();
    // Each takes what the other one has left; both at once would find the lock held.
    let one = |name: &str| {
        let script =
            format!("mkdir lock || exit 9; sleep 0.5; sed -i 's/^{name} ready in/{name} cordoned out/' state; rmdir lock");
        let Drain::Command { drain, undrain, .. } = tool.drain(&script, RESTORE) else { unreachable!() };
        let state = ["sh", "-c", &format!("grep ^{name} {}", tool.path("state").display())].map(str::to_owned).to_vec();
        command(out(&Drain::Command { state, drain, undrain }, LONG))
    };
    let (first, second) = (one("n1"), one("n2"));
    let (first, second) = tokio::join!(perform(&site, &first), perform(&site, &second));
    for acks in [first, second] {
        assert_eq!(acks.last().unwrap().status, AckStatus::Completed, "{acks:?}");
    }
}

/// A hook over HTTP, with its state in memory; tells what it was asked.
async fn hook(state: &str, path: &Path) -> (Drain, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/n1/", listener.local_addr().unwrap());
    let (asked, state) = (Arc::new(Mutex::new(Vec::new())), state.to_owned());
    std::fs::write(path, state).unwrap();
    let (told, path) = (Arc::clone(&asked), path.to_owned());
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let request = head(&mut stream).await.unwrap();
            let line = request.lines().next().unwrap().to_owned();
            let field = |name: &str| request.lines().find_map(|line| line.strip_prefix(name)).unwrap_or("0").to_owned();
            let mut body = vec![0; field("content-length: ").parse().unwrap()];
            stream.read_exact(&mut body).await.unwrap();
            let (status, answer) = match line.as_str() {
                "GET /n1/state HTTP/1.1" => ("200 OK", std::fs::read_to_string(&path).unwrap()),
                "POST /n1/drain HTTP/1.1" => {
                    std::fs::write(&path, "n1 cordoned out\n").unwrap();
                    ("202 Accepted", field("reveille-force: ") + &field("reveille-grace-secs: "))
                }
                "POST /n1/undrain HTTP/1.1" => {
                    std::fs::write(&path, &body).unwrap();
                    ("204 No Content", String::new())
                }
                _ => ("404 Not Found", "no such host".to_owned()),
            };
            told.lock().unwrap().push(format!("{line} {answer}"));
            let answer = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{answer}", answer.len());
            drop(stream.write_all(answer.as_bytes()).await);
        }
    });
    (Drain::Http { url }, asked)
}

#[tokio::test]
async fn http_drains_is_confirmed_and_brings_back_what_was() {
    let dir = tempfile::tempdir().unwrap();
    let (drain, asked) = hook("n1 ready in\n", &dir.path().join("state")).await;
    let site = site();
    let prior = items(&end(&site, Action::Observe { drain: drain.clone() }).await);
    let drained = end(&site, out(&drain, Millis::secs(90))).await;
    assert_eq!((drained.status, words(&items(&drained))), (AckStatus::Completed, vec!["n1 cordoned out".to_owned()]));
    assert!(asked.lock().unwrap().iter().any(|line| line == "POST /n1/drain HTTP/1.1 090"), "{asked:?}");
    assert!(end(&site, out(&drain, LONG)).await.already);
    let undrained = end(&site, back(&drain, &prior, LONG)).await;
    assert_eq!((undrained.status, words(&items(&undrained))), (AckStatus::Completed, vec!["n1 ready in".to_owned()]));

    let Drain::Http { url } = drain else { unreachable!() };
    let (code, message) = error(&end(&site, Action::Observe { drain: Drain::Http { url: format!("{url}/else") } }).await);
    assert!(code == ErrorCode::ToolFailed && message.contains("404") && message.contains("no such host"), "{message}");
}
