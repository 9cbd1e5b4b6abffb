//! The event file.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use controller::notify::{FileSettings, FileSink, Sink as _};

use super::{event, events, expected, ids};

fn settings(dir: &Path) -> FileSettings {
    FileSettings::new(dir.join("log/orchestrator-events.jsonl"))
}

fn numbered(path: &Path, number: u32) -> PathBuf {
    PathBuf::from(format!("{}.{number}", path.display()))
}

#[tokio::test]
async fn s3_71_and_72_a_line_is_as_in_the_document() {
    let dir = tempfile::tempdir().unwrap();
    let settings = FileSettings { metadata: false, ..settings(dir.path()) };
    let mut sink = FileSink::new(settings.clone());
    assert_eq!(sink.take(&[event(1)], true).await.count, 1);
    let text = std::fs::read_to_string(&settings.path).unwrap();
    let line = r#"{"type":"SERVICE_RESTART_START","serviceId":"sso.api","timestamp":"2026-01-19T12:00:00.000Z"}"#;
    assert_eq!(text, format!("{line}\n"));
    assert_eq!(std::fs::metadata(&settings.path).unwrap().permissions().mode() & 0o777, 0o640);
    assert_eq!(controller::config::ServerConfig::default().events.file, Path::new("/var/log/reveille/orchestrator-events.jsonl"));
    // With everything it begins in the same way.
    let full = FileSettings { path: dir.path().join("full"), metadata: true, ..settings };
    FileSink::new(full.clone()).take(&[event(1)], false).await;
    let text = std::fs::read_to_string(&full.path).unwrap();
    assert!(text.starts_with(&line[..line.len() - 1]) && text.contains(r#","metadata":{"eventId":"#), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s3_72_lines_of_two_writers_never_mix_while_the_file_is_rotated() {
    let dir = tempfile::tempdir().unwrap();
    let settings = FileSettings { rotate_size: 8192, keep: 100, ..settings(dir.path()) };
    let writer = |first: u32| {
        let mut sink = FileSink::new(settings.clone());
        tokio::spawn(async move {
            for number in (first..first + 200).step_by(5) {
                let taken = sink.take(&events(number..number + 5), false).await;
                assert_eq!((taken.count, taken.trouble), (5, None));
            }
        })
    };
    let (one, other) = (writer(1000), writer(5000));
    one.await.unwrap();
    other.await.unwrap();
    let mut files = vec![settings.path.clone()];
    files.extend((1..100).map(|number| numbered(&settings.path, number)).filter(|path| path.exists()));
    assert!(files.len() > 5, "it was rotated");
    let mut all = Vec::new();
    for file in &files {
        assert!(std::fs::metadata(file).unwrap().len() <= 8192);
        all.extend(ids(&std::fs::read_to_string(file).unwrap()));
    }
    all.sort();
    let mut wanted = [expected(1000..1200), expected(5000..5200)].concat();
    wanted.sort();
    assert_eq!(all, wanted);
}

#[tokio::test]
async fn s3_72_a_line_that_was_torn_by_a_crash_is_closed_before_the_next() {
    let dir = tempfile::tempdir().unwrap();
    let settings = settings(dir.path());
    let mut sink = FileSink::new(settings.clone());
    sink.take(&[event(1)], false).await;
    let whole = std::fs::read_to_string(&settings.path).unwrap();
    std::fs::write(&settings.path, format!("{whole}{}", &whole[..40])).unwrap();
    sink.take(&[event(2)], true).await;
    let text = std::fs::read_to_string(&settings.path).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!((lines.len(), lines[1]), (3, &whole[..40]));
    assert_eq!(ids(&[lines[0], lines[2]].join("\n")), expected(1..3));
}

#[tokio::test]
async fn s3_71_the_file_is_rotated_and_the_oldest_goes() {
    let dir = tempfile::tempdir().unwrap();
    let length = serde_json::to_vec(&event(1).event).unwrap().len() as u64 + 1;
    let settings = FileSettings { rotate_size: 3 * length, keep: 2, ..settings(dir.path()) };
    FileSink::new(settings.clone()).take(&events(1..13), false).await;
    let read = |path: &Path| ids(&std::fs::read_to_string(path).unwrap());
    assert_eq!(read(&settings.path), expected(10..13));
    assert_eq!(read(&numbered(&settings.path, 1)), expected(7..10));
    assert_eq!(read(&numbered(&settings.path, 2)), expected(4..7));
    assert!(!numbered(&settings.path, 3).exists());
    // Somebody else does it too.
    std::fs::rename(&settings.path, dir.path().join("moved")).unwrap();
    let mut sink = FileSink::new(settings.clone());
    sink.take(&[event(20)], false).await;
    std::fs::rename(&settings.path, dir.path().join("moved again")).unwrap();
    sink.take(&[event(21)], false).await;
    assert_eq!(read(&settings.path), expected(21..22));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s3_71_a_writer_that_waited_writes_to_the_file_that_is_there_then() {
    let dir = tempfile::tempdir().unwrap();
    let settings = settings(dir.path());
    FileSink::new(settings.clone()).take(&[event(1)], false).await;
    let held = std::fs::File::open(&settings.path).unwrap();
    rustix::fs::flock(&held, rustix::fs::FlockOperation::LockExclusive).unwrap();
    let mut waiting = FileSink::new(settings.clone());
    let waiting = tokio::spawn(async move { waiting.take(&[event(2)], false).await.count });
    tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    assert_eq!(ids(&std::fs::read_to_string(&settings.path).unwrap()), expected(1..2), "it waits");
    let moved = numbered(&settings.path, 1);
    std::fs::rename(&settings.path, &moved).unwrap();
    std::fs::write(&settings.path, "").unwrap();
    drop(held);
    assert_eq!(waiting.await.unwrap(), 1);
    assert_eq!(ids(&std::fs::read_to_string(&settings.path).unwrap()), expected(2..3));
    assert_eq!(ids(&std::fs::read_to_string(&moved).unwrap()), expected(1..2));
}

#[tokio::test]
async fn s3_72_what_is_there_after_a_crash_is_not_written_again() {
    let dir = tempfile::tempdir().unwrap();
    let length = serde_json::to_vec(&event(1).event).unwrap().len() as u64 + 1;
    let settings = FileSettings { rotate_size: 3 * length, ..settings(dir.path()) };
    FileSink::new(settings.clone()).take(&events(1..5), true).await;
    // Some are in the file, some in the one before it.
    let taken = FileSink::new(settings.clone()).take(&events(1..7), true).await;
    assert_eq!((taken.count, taken.trouble), (6, None));
    let read = |path: &Path| ids(&std::fs::read_to_string(path).unwrap());
    assert_eq!(read(&numbered(&settings.path, 1)), expected(1..4));
    assert_eq!(read(&settings.path), expected(4..7));
}

/// A file system of its own, unmounted at the end.
struct Small(PathBuf);

impl Small {
    /// `None` where nothing may be mounted.
    fn mount(dir: &Path) -> Option<Self> {
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=32k", "tmpfs"]).arg(dir);
        mount.status().is_ok_and(|status| status.success()).then(|| Self(dir.to_owned()))
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        drop(Command::new("umount").arg(&self.0).status());
    }
}

#[tokio::test]
async fn s3_72_on_a_full_disk_events_wait_and_lines_stay_whole() {
    let dir = tempfile::tempdir().unwrap();
    let Some(small) = Small::mount(dir.path()) else { return eprintln!("skipped: nothing can be mounted here") };
    let settings = settings(&small.0);
    std::fs::write(small.0.join("filler"), vec![0; 16 * 1024]).unwrap();
    let mut sink = FileSink::new(settings.clone());
    let all = events(1..61);
    let first = sink.take(&all, false).await;
    assert!(first.count < 60 && first.trouble.is_some(), "{first:?}");
    let text = std::fs::read_to_string(&settings.path).unwrap();
    assert!(text.ends_with('\n'), "what did not fit was taken back");
    assert_eq!(ids(&text), expected(1..u32::try_from(first.count).unwrap() + 1));
    std::fs::remove_file(small.0.join("filler")).unwrap();
    let rest = sink.take(&all[first.count..], true).await;
    assert_eq!((first.count + rest.count, rest.trouble), (60, None));
    assert_eq!(ids(&std::fs::read_to_string(&settings.path).unwrap()), expected(1..61));
}

#[tokio::test]
async fn s3_71_where_no_file_can_be_the_reason_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let settings = settings(dir.path());
    std::fs::create_dir_all(&settings.path).unwrap();
    let taken = FileSink::new(settings).take(&[event(1)], false).await;
    assert_eq!(taken.count, 0);
    assert!(taken.trouble.is_some_and(|why| why.contains("orchestrator-events.jsonl")));
}
