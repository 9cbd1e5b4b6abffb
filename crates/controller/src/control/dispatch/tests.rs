use model::{Drain, OrchestrationId, Report};
use protocol::native::ControllerKey;
use uuid::Uuid;

use super::super::courier::Link;
use super::super::license::Licensing;
use super::super::performer::Reached;
use super::super::{Clock, ControlConfig};
use super::*;
use crate::store::{Database, OpenOptions};
use crate::transport::BoxFuture;

const LIMIT: Duration = Duration::from_secs(60);

/// Notes how much time each command has left.
struct Asked(mpsc::UnboundedSender<Millis>);

impl Performer for Asked {
    fn perform<'a>(&'a self, _: &'a Reached, _: &'a Command, _: Millis, _: mpsc::Sender<Ack>) -> BoxFuture<'a, ()> {
        Box::pin(async {})
    }

    fn perform_here<'a>(&'a self, _: &'a Command, left: Millis, _: mpsc::Sender<Ack>) -> BoxFuture<'a, ()> {
        self.0.send(left).unwrap();
        Box::pin(async {})
    }

    fn survey<'a>(&'a self, _: &'a Reached) -> BoxFuture<'a, Result<Report, String>> {
        Box::pin(async { Err(String::new()) })
    }
}

/// An engine that is never answered does not begin a new attempt: after an outage, healthy hosts would be given up.
#[tokio::test]
async fn g8_a_command_that_expired_during_an_outage_is_answered_and_not_dropped() {
    let dir = tempfile::tempdir().unwrap();
    let database = Database::open(OpenOptions::new(dir.path().join("db"), Clock::new().now())).await.unwrap();
    let config = ControlConfig {
        engine: engine::Config::default(),
        resend: Millis::secs(2),
        key: Arc::new(ControllerKey::from_seed(&[1; 32]).unwrap()),
        licensing: Licensing::default(),
        one_time_password_file: None,
        reach: None,
    };
    let shared = Arc::new(Shared::new(&config, database, Link::default()).await.unwrap());
    let (messages, _receiver) = mpsc::channel(1);
    let (asked, mut left) = mpsc::unbounded_channel();
    let reach = Reach::new(Arc::new(Asked(asked)), messages.downgrade());
    reach.attach(&shared);
    let now = shared.engine_time();
    let command = |id: u128, expires_at| Command {
        id: CommandId(Uuid::from_u128(id)),
        target: TargetId::CONTROLLER,
        subject: TargetId(Uuid::from_u128(7)),
        action: Action::Observe { drain: Drain::Hook { name: "web".to_owned() } },
        orchestration: OrchestrationId(Uuid::from_u128(2)),
        attempt: 1,
        fence: Fence { epoch: 1, position: 1 },
        issued_at: model::Timestamp::from_millis(0),
        expires_at,
    };
    reach.begin(&command(1, model::Timestamp::from_millis(1))).unwrap();
    let told = tokio::time::timeout(LIMIT, left.recv()).await;
    assert_eq!(told.expect("it was dropped"), Some(Millis(0)));
    reach.begin(&command(2, now + Millis::secs(3600))).unwrap();
    let told = tokio::time::timeout(LIMIT, left.recv()).await.expect("it was dropped").unwrap();
    assert!(told > Millis::secs(3000) && told <= Millis::secs(3600), "{told}");
}
