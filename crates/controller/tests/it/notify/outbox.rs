//! From the store to those who want them, over crashes.

use std::future::Future;
use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use controller::notify::{FileSettings, FileSink, Notifier, Sink, Taken, prepare};
use controller::store::{Database, EventFilter, OpenOptions, SqliteStore, StoredEvent};
use driver::{Batch, Store as _};

use super::{NOON, events, expected, ids};

async fn open(dir: &Path) -> Database {
    Database::open(OpenOptions::new(dir.join("reveille.db"), NOON)).await.unwrap()
}

async fn commit(database: &Database, events: Vec<StoredEvent>) {
    let mut store = SqliteStore::new(database.clone());
    let lease = store.lead().await.unwrap();
    let events = events.into_iter().map(|stored| stored.event).collect();
    let batch = Batch { lease, appends: vec![], views: vec![], tracks: vec![], audit: vec![], events };
    store.append(&batch).await.unwrap();
}

/// Takes two at a time, and says no every second time.
#[derive(Clone, Default)]
struct Moody(Arc<Mutex<(Vec<i64>, u32)>>);

impl Sink for Moody {
    fn name(&self) -> String {
        "moody".to_owned()
    }

    fn take<'a>(&'a mut self, events: &'a [StoredEvent], _: bool) -> Pin<Box<dyn Future<Output = Taken> + Send + 'a>> {
        let mut state = self.0.lock().unwrap();
        state.1 += 1;
        let count = if state.1.is_multiple_of(2) { 0 } else { events.len().min(2) };
        state.0.extend(events[..count].iter().map(|event| event.position));
        let trouble = (count < events.len()).then(|| "not now".to_owned());
        Box::pin(std::future::ready(Taken { count, trouble }))
    }
}

async fn until(what: &str, mut so: impl FnMut() -> bool) {
    let met = tokio::time::timeout(Duration::from_secs(30), async {
        while !so() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
    assert!(met.await.is_ok(), "{what}");
}

#[tokio::test]
async fn s3_71_what_was_committed_before_a_crash_is_in_the_file_once_after_it() {
    let dir = tempfile::tempdir().unwrap();
    let settings = FileSettings::new(dir.path().join("events.jsonl"));
    let sink = || FileSink::new(settings.clone());
    let read = || ids(&std::fs::read_to_string(&settings.path).unwrap_or_default());
    let database = open(dir.path()).await;
    prepare(&database, &[sink().name()]).await.unwrap();
    commit(&database, events(1..6)).await;
    // Killed when the second was written, and nobody has said so in the store.
    let all = database.service_events(&EventFilter { after: Some(0), ..EventFilter::default() }, None).await.unwrap();
    sink().take(&all[..2], false).await;
    assert_eq!(read(), expected(1..3));
    database.close().await;
    for _ in 0..2 {
        let database = open(dir.path()).await;
        prepare(&database, &[sink().name()]).await.unwrap();
        let notifier = Notifier::start(&database, vec![Box::new(sink())]);
        until("all are there", || read().len() >= 5).await;
        notifier.finish(Duration::from_secs(5)).await;
        assert_eq!(read(), expected(1..6), "each once, in order");
        database.close().await;
    }
}

#[tokio::test]
async fn s3_73_who_says_no_gets_all_in_order_later_and_a_new_one_begins_at_the_end() {
    let dir = tempfile::tempdir().unwrap();
    let database = open(dir.path()).await;
    commit(&database, events(1..4)).await;
    let moody = Moody::default();
    prepare(&database, &["moody".to_owned()]).await.unwrap();
    let notifier = Notifier::start(&database, vec![Box::new(moody.clone())]);
    commit(&database, events(4..8)).await;
    // The same ones again are the same.
    commit(&database, events(5..8)).await;
    until("all came", || moody.0.lock().unwrap().0.len() >= 4).await;
    notifier.finish(Duration::from_secs(5)).await;
    assert_eq!(moody.0.lock().unwrap().0, [4, 5, 6, 7]);
    assert_eq!(database.event_sink("moody").await.unwrap(), 7);
}

#[tokio::test]
async fn s3_64_events_are_read_in_pages_by_service_and_host() {
    let dir = tempfile::tempdir().unwrap();
    let database = open(dir.path()).await;
    let mut all = events(1..8);
    all[2].event.service = "web.api".to_owned();
    all[3].event.metadata.host_id = model::TargetId(uuid::Uuid::from_u128(2));
    commit(&database, all).await;
    let read = async |filter: EventFilter, hosts: Option<&[model::TargetId]>| {
        let events = database.service_events(&filter, hosts).await.unwrap();
        events.into_iter().map(|event| event.position).collect::<Vec<_>>()
    };
    let page = |after, limit| EventFilter { after, service: None, limit };
    assert_eq!(read(page(None, 3), None).await, [5, 6, 7], "the newest");
    assert_eq!(read(page(Some(0), 3), None).await, [1, 2, 3]);
    assert_eq!(read(page(Some(3), 3), None).await, [4, 5, 6]);
    let web = EventFilter { service: Some("web.api".to_owned()), ..EventFilter::default() };
    assert_eq!(read(web, None).await, [3]);
    assert_eq!(read(page(Some(0), 0), Some(&[model::TargetId(uuid::Uuid::from_u128(2))])).await, [4]);
}
