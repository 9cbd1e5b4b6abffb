//! The site where the engine runs, as whoever dispatches commands sees it.

use std::time::Duration;

use model::{
    Ack, AckStatus, Action, BootIdentity, Command, CommandId, Drain, ErrorCode, Fence, ItemState, Millis, Observed,
    OrchestrationId, TargetId, Timestamp,
};
use reach::own::{OwnSite, Settings};
use tokio::sync::mpsc;
use uuid::Uuid;

use crate::proxy::{Backend, PATIENCE, Proxy, ask, patient};

pub(crate) const LONG: Millis = Millis(PATIENCE.as_secs() * 1000);
const HOST: TargetId = TargetId(Uuid::from_u128(7));

pub(crate) fn boot() -> BootIdentity {
    BootIdentity::new("0d4f3a52-5c1d-4a39-8ad5-5e0f5f1f9a11", 3).unwrap()
}

pub(crate) fn site() -> OwnSite {
    OwnSite::new(Settings { boot: boot(), roots_pem: Vec::new() })
}

pub(crate) fn command(action: Action) -> Command {
    Command {
        id: CommandId(Uuid::from_u128(1)),
        target: TargetId::CONTROLLER,
        subject: HOST,
        action,
        orchestration: OrchestrationId(Uuid::from_u128(2)),
        attempt: 1,
        fence: Fence { epoch: 1, position: 1 },
        issued_at: Timestamp::from_millis(0),
        expires_at: Timestamp::from_millis(i64::MAX),
    }
}

/// All that is said about a command.
pub(crate) async fn perform(site: &OwnSite, command: &Command) -> Vec<Ack> {
    let (say, mut said) = mpsc::channel(8);
    patient("the end of a command", site.perform(command, say)).await;
    let mut acks = Vec::new();
    while let Some(ack) = said.recv().await {
        assert_eq!((ack.command, ack.boot), (command.id, boot()));
        acks.push(ack);
    }
    acks
}

/// The last word about it.
pub(crate) async fn end(site: &OwnSite, action: Action) -> Ack {
    perform(site, &command(action)).await.pop().unwrap()
}

pub(crate) fn items(ack: &Ack) -> Vec<ItemState> {
    match &ack.observed {
        Some(Observed::Items(items)) => items.clone(),
        other => panic!("no items: {other:?} {:?}", ack.error),
    }
}

pub(crate) fn error(ack: &Ack) -> (ErrorCode, String) {
    assert_eq!(ack.status, AckStatus::Failed);
    let error = ack.error.clone().unwrap();
    (error.code, error.message)
}

fn behind(proxy: &Proxy, servers: &[&str]) -> Drain {
    Drain::Haproxy { address: proxy.admin(), servers: servers.iter().map(|server| (*server).to_owned()).collect() }
}

pub(crate) fn out(drain: &Drain, grace: Millis) -> Action {
    Action::Drain { drain: drain.clone(), grace, force: false }
}

pub(crate) fn back(drain: &Drain, prior: &[ItemState], limit: Millis) -> Action {
    Action::Undrain { drain: drain.clone(), prior: prior.to_vec(), limit, forced: false }
}

pub(crate) fn words(items: &[ItemState]) -> Vec<String> {
    let service = |item: &ItemState| if item.in_service { "in" } else { "out" };
    items.iter().map(|item| format!("{} {} {}", item.name, item.state, service(item))).collect()
}

/// A request through the proxy that its server has and does not answer yet.
async fn held(proxy: &Proxy, server: &Backend) -> tokio::task::JoinHandle<(String, String)> {
    let (front, before) = (proxy.socket("front.sock"), server.served());
    let asked = tokio::spawn(async move {
        let mut stream = tokio::net::UnixStream::connect(front).await.unwrap();
        ask(&mut stream, "/held").await
    });
    patient("the request to be held", async {
        while server.served() == before {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    asked
}

#[tokio::test]
async fn haproxy_drains_when_the_last_session_ends_and_takes_work_again() {
    let (one, two) = (Backend::start("one").await, Backend::start("two").await);
    let proxy = Proxy::start(&[format!("web1 127.0.0.1:{}", one.port), format!("web2 127.0.0.1:{} disabled", two.port)]).await;
    let site = std::sync::Arc::new(site());
    let drain = behind(&proxy, &["web/web1"]);
    let prior = items(&end(&site, Action::Observe { drain: drain.clone() }).await);
    assert_eq!(words(&prior), ["web/web1 ready in"]);
    let held = held(&proxy, &one).await;
    proxy.say("set server web/web2 state ready").await;

    let draining = {
        let (site, command) = (std::sync::Arc::clone(&site), command(out(&drain, LONG)));
        tokio::spawn(async move { perform(&site, &command).await })
    };
    proxy.wait_for("web1", "2", "8").await;
    for _ in 0..20 {
        assert_eq!(proxy.get("/").await, ("200".to_owned(), "two".to_owned()));
    }
    assert_eq!(one.served(), 1, "a drained server gets nothing new");
    // It has had time to say that it is done.
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert!(!draining.is_finished() && !held.is_finished(), "a session is waited for");
    one.release();
    let acks = patient("the end of the drain", draining).await.unwrap();
    assert_eq!(held.await.unwrap(), ("200".to_owned(), "one".to_owned()), "its last request was answered");
    let statuses: Vec<AckStatus> = acks.iter().map(|ack| ack.status).collect();
    assert_eq!(statuses, [AckStatus::Accepted, AckStatus::ExecutionStarted, AckStatus::Completed]);
    assert_eq!(words(&items(&acks[2])), ["web/web1 drain out"]);
    assert!(!acks[2].already);
    let again = end(&site, out(&drain, LONG)).await;
    assert!(again.status == AckStatus::Completed && again.already, "{again:?}");

    let undrained = end(&site, back(&drain, &prior, LONG)).await;
    assert_eq!((undrained.status, words(&items(&undrained))), (AckStatus::Completed, vec!["web/web1 ready in".to_owned()]));
    assert!(!undrained.already);
    assert!(end(&site, back(&drain, &prior, LONG)).await.already);
    for _ in 0..4 {
        proxy.get("/").await;
    }
    assert_eq!(one.served(), 3, "half of four");
}

#[tokio::test]
async fn haproxy_at_the_deadline_names_what_is_left_and_force_cuts_it_off() {
    let one = Backend::start("one").await;
    let proxy = Proxy::start(&[format!("web1 127.0.0.1:{}", one.port)]).await;
    let site = site();
    let drain = behind(&proxy, &["web/web1"]);
    let prior = items(&end(&site, Action::Observe { drain: drain.clone() }).await);
    let held = held(&proxy, &one).await;

    let late = end(&site, out(&drain, Millis(300))).await;
    let (code, message) = error(&late);
    assert_eq!(code, ErrorCode::NotDrained);
    assert!(message.contains("web/web1 has 1 session"), "{message}");
    assert_eq!(words(&items(&late)), ["web/web1 drain out"]);
    assert!(!held.is_finished(), "nothing is cut off without force");

    let forced = end(&site, Action::Drain { drain: drain.clone(), grace: LONG, force: true }).await;
    assert_eq!((forced.status, words(&items(&forced))), (AckStatus::Completed, vec!["web/web1 maint out".to_owned()]));
    assert_ne!(patient("the end of the request", held).await.unwrap().1, "one");
    let forced = Action::Undrain { drain: drain.clone(), prior, limit: LONG, forced: true };
    assert_eq!(words(&items(&end(&site, forced).await)), ["web/web1 ready in"]);
}

#[tokio::test]
async fn g7_haproxy_maintenance_that_a_person_set_during_our_drain_stays_and_is_told() {
    let one = Backend::start("one").await;
    let at = format!("127.0.0.1:{}", one.port);
    let proxy = Proxy::start(&["web1", "web2"].map(|name| format!("{name} {at}"))).await;
    proxy.say("set server web/web2 state drain").await;
    let site = site();
    let drain = behind(&proxy, &["web/web1", "web/web2"]);
    let prior = items(&end(&site, Action::Observe { drain: drain.clone() }).await);
    assert_eq!(words(&prior), ["web/web1 ready in", "web/web2 drain out"]);
    assert_eq!(end(&site, out(&drain, LONG)).await.status, AckStatus::Completed);
    for server in ["web1", "web2"] {
        proxy.say(&format!("set server web/{server} state maint")).await;
    }
    for _ in 0..2 {
        let undrained = end(&site, back(&drain, &prior, LONG)).await;
        assert!(undrained.status == AckStatus::Completed && undrained.already, "{undrained:?}");
        assert_eq!(words(&items(&undrained)), ["web/web1 maint out", "web/web2 maint out"]);
    }
    // Taken back by the person while we are at it: then what is left is ours.
    proxy.say("set server web/web1 state drain").await;
    let undrained = end(&site, back(&drain, &prior, LONG)).await;
    assert_eq!(words(&items(&undrained)), ["web/web1 ready in", "web/web2 maint out"]);
}

#[tokio::test]
async fn haproxy_is_back_only_when_its_own_check_says_so() {
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = closed.local_addr().unwrap().port();
    let proxy = Proxy::start(&[format!("web1 127.0.0.1:{port} check")]).await;
    let site = site();
    let drain = behind(&proxy, &["web/web1"]);
    // A listener that nobody takes connections from is up for HAProxy until it is gone.
    let prior = items(&end(&site, Action::Observe { drain: drain.clone() }).await);
    assert_eq!(words(&prior), ["web/web1 ready in"]);
    assert_eq!(end(&site, out(&drain, LONG)).await.status, AckStatus::Completed);
    drop(closed);
    proxy.wait_for("web1", "0", "8").await;

    let (code, message) = error(&end(&site, back(&drain, &prior, Millis(300))).await);
    assert_eq!(code, ErrorCode::NotObserved);
    assert!(message.contains("web/web1") && message.contains("down for HAProxy's own check"), "{message}");
    let web = Backend::at("one", tokio::net::TcpListener::bind(("127.0.0.1", port)).await.unwrap());
    let undrained = end(&site, back(&drain, &prior, LONG)).await;
    assert_eq!((undrained.status, words(&items(&undrained))), (AckStatus::Completed, vec!["web/web1 ready in".to_owned()]));
    assert_eq!(proxy.get("/").await, ("200".to_owned(), "one".to_owned()));
    drop(web);
}

#[tokio::test]
async fn haproxy_servers_that_a_person_took_out_stay_as_they_were() {
    let one = Backend::start("one").await;
    let at = format!("127.0.0.1:{}", one.port);
    let proxy = Proxy::start(&["web1", "web2", "web3", "web4"].map(|name| format!("{name} {at}"))).await;
    proxy.say("set server web/web2 state drain").await;
    proxy.say("set server web/web3 state maint").await;
    let site = site();
    let drain = behind(&proxy, &["web/web1", "web/web2", "web/web3"]);
    let before = ["web/web1 ready in", "web/web2 drain out", "web/web3 maint out"];
    let prior = items(&end(&site, Action::Observe { drain: drain.clone() }).await);
    assert_eq!(words(&prior), before);
    for force in [false, true] {
        let drained = end(&site, Action::Drain { drain: drain.clone(), grace: LONG, force }).await;
        assert_eq!(words(&items(&drained)), ["web/web1 drain out", "web/web2 drain out", "web/web3 maint out"]);
        let undrained = end(&site, back(&drain, &prior, LONG)).await;
        assert_eq!((undrained.status, words(&items(&undrained))), (AckStatus::Completed, before.map(str::to_owned).to_vec()));
    }
    // What a person put right meanwhile is not taken out again.
    assert_eq!(end(&site, out(&drain, LONG)).await.status, AckStatus::Completed);
    proxy.say("set server web/web3 state ready").await;
    let undrained = end(&site, back(&drain, &prior, LONG)).await;
    assert_eq!(words(&items(&undrained)), ["web/web1 ready in", "web/web2 drain out", "web/web3 ready in"]);
    assert_eq!(undrained.status, AckStatus::Completed);
}

#[tokio::test]
async fn haproxy_on_tcp_and_whatever_is_wrong_with_it_is_told() {
    let one = Backend::start("one").await;
    let proxy = Proxy::start(&[format!("web1 127.0.0.1:{}", one.port)]).await;
    let site = site();
    let at = |address: &str, server: &str| Drain::Haproxy { address: address.to_owned(), servers: vec![server.to_owned()] };
    let observe = async |drain: Drain| end(&site, Action::Observe { drain }).await;
    assert_eq!(words(&items(&observe(at(&proxy.tcp, "web/web1")).await)), ["web/web1 ready in"]);

    let (code, message) = error(&observe(at(&proxy.admin(), "web/web9")).await);
    assert_eq!(code, ErrorCode::NotFound);
    assert!(message.contains("web/web9") && message.contains("it knows web/web1"), "{message}");
    let (code, _) = error(&observe(at(&proxy.admin(), "other/web1")).await);
    assert_eq!(code, ErrorCode::NotFound);
    for bad in ["web1", "web/", "/web1", "web/web1;shutdown sessions", "web/web1\nshutdown", "web/web1 x", "a/b/c"] {
        assert_eq!(error(&observe(at(&proxy.admin(), bad)).await).0, ErrorCode::Malformed, "{bad:?}");
    }
    let (code, message) = error(&observe(at("127.0.0.1:1", "web/web1")).await);
    assert_eq!(code, ErrorCode::Unreachable);
    assert!(message.contains("stats socket"), "{message}");
    assert_eq!(error(&observe(at("/nonexistent/socket", "web/web1")).await).0, ErrorCode::Unreachable);
    // It answers, and is no HAProxy.
    let other = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = other.local_addr().unwrap().to_string();
    let hello = tokio::task::spawn_blocking(move || {
        let (mut stream, _) = other.accept().unwrap();
        std::io::Write::write_all(&mut stream, b"220 mail.example ESMTP\n").unwrap();
        // Until it has asked: a reset would take the greeting away.
        std::io::Read::read(&mut stream, &mut [0; 64]).unwrap();
    });
    assert_eq!(error(&observe(at(&address, "web/web1")).await).0, ErrorCode::Malformed);
    hello.await.unwrap();
    // An operator may look and may not change anything.
    let operator = at(&proxy.socket("operator.sock").display().to_string(), "web/web1");
    assert_eq!(words(&items(&observe(operator.clone()).await)), ["web/web1 ready in"]);
    let (code, message) = error(&end(&site, out(&operator, LONG)).await);
    assert!(code == ErrorCode::Denied && message.contains("level admin"), "{code} {message}");
    assert_eq!(words(&items(&observe(operator).await)), ["web/web1 ready in"]);
}

#[tokio::test]
async fn what_is_for_a_host_is_refused_here() {
    let site = site();
    let ack = end(&site, Action::Observe { drain: Drain::Units { units: vec!["web.service".to_owned()] } }).await;
    assert_eq!(error(&ack).0, ErrorCode::Unsupported);
    let reboot = Action::Reboot { expect_boot: boot(), begin_within: LONG, ignore_inhibitors: false };
    assert_eq!(error(&end(&site, reboot.clone()).await).0, ErrorCode::Unsupported);
    let elsewhere = Command { target: HOST, ..command(reboot) };
    assert_eq!(error(perform(&site, &elsewhere).await.last().unwrap()).0, ErrorCode::WrongTarget);
}
