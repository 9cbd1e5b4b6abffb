//! What is changed on a host over SSH is changed by one command at a time.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use controller::control::{Adopt, NewRollout, Performer, Reached};
use controller::local::{LocalOptions, State};
use controller::transport::BoxFuture;
use engine::DrainRule;
use model::{
    Ack, AckStatus, Action, BootIdentity, Command, Drain, ItemState, Labels, Millis, Observed, Report, RolloutOptions, TargetId,
};
use tokio::sync::{Notify, mpsc};

use crate::api_rollouts::Played;
use crate::api_stage::{LIMIT, config};

/// A host whose drain ends when it is let.
#[derive(Default)]
struct Slow {
    others: Played,
    story: Mutex<Vec<&'static str>>,
    end: Notify,
}

impl Slow {
    fn tell(&self, what: &'static str) {
        self.story.lock().unwrap().push(what);
    }

    fn story(&self) -> Vec<&'static str> {
        self.story.lock().unwrap().clone()
    }

    async fn act(&self, command: &Command, say: mpsc::Sender<Ack>) {
        let item = |in_service| vec![ItemState { name: "web".into(), state: "some".into(), in_service }];
        let ack = |status, items: Option<Vec<ItemState>>| Ack {
            command: command.id,
            status,
            error: None,
            boot: BootIdentity::new("0d4f3a52-5c1d-4a39-8ad5-5e0f5f1f9a11", 3).unwrap(),
            observed: items.map(Observed::Items),
            already: false,
            report: None,
        };
        if command.action.kind().is_disruptive() {
            say.send(ack(AckStatus::Accepted, None)).await.unwrap();
            say.send(ack(AckStatus::ExecutionStarted, None)).await.unwrap();
        }
        let items = match &command.action {
            Action::Drain { .. } => {
                self.tell("drain begins");
                self.end.notified().await;
                self.tell("drain ends");
                item(false)
            }
            Action::Undrain { prior, .. } => {
                self.tell("undrain");
                prior.clone()
            }
            _ => item(true),
        };
        drop(say.send(ack(AckStatus::Completed, Some(items))).await);
    }
}

impl Performer for Slow {
    fn perform<'a>(&'a self, host: &'a Reached, command: &'a Command, left: Millis, say: mpsc::Sender<Ack>) -> BoxFuture<'a, ()> {
        match &command.action {
            Action::Observe { .. } | Action::Drain { .. } | Action::Undrain { .. } => Box::pin(self.act(command, say)),
            _ => self.others.perform(host, command, left, say),
        }
    }

    fn perform_here<'a>(&'a self, command: &'a Command, left: Millis, say: mpsc::Sender<Ack>) -> BoxFuture<'a, ()> {
        self.others.perform_here(command, left, say)
    }

    fn survey<'a>(&'a self, host: &'a Reached) -> BoxFuture<'a, Result<Report, String>> {
        self.others.survey(host)
    }
}

async fn wait(what: &str, mut so: impl AsyncFnMut() -> bool) {
    let asked = async {
        while !so().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    assert!(tokio::time::timeout(LIMIT, asked).await.is_ok(), "{what}");
}

#[tokio::test]
async fn g7_an_undrain_waits_for_the_drain_that_is_still_at_work_on_the_host() {
    let dir = tempfile::tempdir().unwrap();
    let slow = Arc::new(Slow::default());
    let rule = DrainRule { on: "*".parse().unwrap(), drain: Drain::Hook { name: "web".to_owned() } };
    let engine = engine::Config { drains: BTreeMap::from([("web".to_owned(), rule)]), probe_limit: Millis::secs(2), ..config() };
    let performer: Arc<dyn Performer> = Arc::clone(&slow) as _;
    let options = LocalOptions { engine, performer, resend: Millis(200), user: "ann".to_owned(), events: None };
    let local = State::open(dir.path().join("state")).await.unwrap().start(options).await.unwrap();
    let adopt = Adopt { name: "a".to_owned(), address: "root@a".to_owned(), labels: Labels::new() };
    let (ids, _): (Vec<TargetId>, _) = local.adopt(&[adopt]).await.unwrap();
    assert!(local.survey(&ids).await.unwrap().is_empty());
    let said = RolloutOptions { soak: Some(Millis(0)), ..RolloutOptions::default() };
    let new = NewRollout { targets: vec!["*".to_owned()], options: said, ..NewRollout::default() };
    let started = local.control().start_rollout(local.who(), &new).await.unwrap();
    wait("no drain", async || slow.story() == ["drain begins"]).await;
    local.control().cancel(local.who(), started.id).await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(slow.story(), ["drain begins"], "neither given up nor overtaken");
    slow.end.notify_one();
    wait("no end", async || local.control().orchestration(local.who(), started.id).await.unwrap().outcome.is_some()).await;
    assert_eq!(slow.story(), ["drain begins", "drain ends", "undrain"]);
    local.close().await.unwrap();
}
