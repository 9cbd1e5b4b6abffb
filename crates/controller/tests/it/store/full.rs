//! A full disk: an error of its own, nothing half written, and it goes on when there is room.

use controller::store::OpenOptions;
use driver::{Store as _, StoreError};
use engine::JournalId;

use super::stage::{NOW, Open, Stage, append, fleet_fact};

/// Appends until there is no room; gives what is then held.
async fn fill(open: &mut Open) -> u64 {
    let mut held = 0;
    for _ in 0..10_000 {
        let facts = (0..20).map(fleet_fact).collect();
        match open.append(vec![append(JournalId::Fleet, held, facts)], vec![]).await {
            Ok(()) => held += 20,
            Err(StoreError::Full(text)) => {
                assert!(text.contains("full"), "{text}");
                return held;
            }
            Err(error) => panic!("{error}"),
        }
    }
    panic!("the disk never became full");
}

#[tokio::test]
async fn a_full_database_says_so_and_goes_on_when_there_is_room() {
    let stage = Stage::new();
    let small = OpenOptions { max_pages: Some(100), ..OpenOptions::new(stage.path(), NOW) };
    let mut open = stage.open_with(small).await;
    let held = fill(&mut open).await;
    assert!(held > 0);
    assert_eq!(open.store.load().await.unwrap().fleet.len() as u64, held);
    open.database.close().await;
    let mut open = stage.open().await;
    open.append(vec![append(JournalId::Fleet, held, vec![fleet_fact(1)])], vec![]).await.unwrap();
    assert_eq!(open.store.load().await.unwrap().fleet.len() as u64, held + 1);
}

/// On a file system that is really full. Mounting one needs root; who is not root has the test above.
#[tokio::test]
async fn a_full_file_system_says_so_and_goes_on_when_there_is_room() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let _mounted = Mounted::new(dir.path());
    let path = dir.path().join("reveille.db");
    let stuff = dir.path().join("stuff");
    std::fs::write(&stuff, vec![0; 512 * 1024]).unwrap();
    let stage = Stage::new();
    let mut open = stage.open_with(OpenOptions::new(&path, NOW)).await;
    let held = fill(&mut open).await;
    std::fs::remove_file(&stuff).unwrap();
    open.append(vec![append(JournalId::Fleet, held, vec![fleet_fact(1)])], vec![]).await.unwrap();
    assert_eq!(open.store.load().await.unwrap().fleet.len() as u64, held + 1);
    open.database.close().await;
}

struct Mounted(std::path::PathBuf);

impl Mounted {
    fn new(path: &std::path::Path) -> Self {
        let status =
            std::process::Command::new("mount").args(["-t", "tmpfs", "-o", "size=2M", "tmpfs"]).arg(path).status().unwrap();
        assert!(status.success(), "root could not mount a tmpfs");
        Self(path.to_owned())
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg("-l").arg(&self.0).status();
    }
}
