//! Opening the database: lock, settings, migrations, epoch.

use std::io;
use std::ops::{Deref, DerefMut};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use driver::StoreError;
use model::Timestamp;
use sqlx::pool::PoolConnection;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{Row as _, Sqlite, SqliteConnection};
use tokio::sync::{broadcast, watch};

use super::append::Change;
use super::lock::{self, Holder, Lock, LockError};

/// The schema, step by step. Append only: a step that was ever shipped is never changed.
pub(super) const MIGRATIONS: &[&str] = &[
    include_str!("../../migrations/0001_first.sql"),
    include_str!("../../migrations/0002_tracks.sql"),
    include_str!("../../migrations/0003_events.sql"),
    include_str!("../../migrations/0004_services.sql"),
];

/// Below it SQLite can damage a WAL that two connections checkpoint.
const SQLITE_MIN: (u32, u32, u32) = (3, 51, 3);

/// How long a statement waits for another process that has the file (a backup, for one).
const BUSY_LIMIT: Duration = Duration::from_secs(5);
const READERS: u32 = 4;
/// Changes that a slow watcher may fall behind before it must read the store again.
const CHANGES_KEPT: usize = 1024;

/// How to open.
#[derive(Clone, Debug)]
pub struct OpenOptions {
    /// The file; `.lock`, `-wal` and `-shm` stand beside it.
    pub path: PathBuf,
    /// The wall clock; the epoch of a new database is made from it.
    pub now: Timestamp,
    /// At most so many pages of 4 KiB; for tests of a full disk.
    pub max_pages: Option<u32>,
    /// Where pause files are looked for.
    #[cfg(feature = "pause-points")]
    pub pause_dir: PathBuf,
}

impl OpenOptions {
    /// The ordinary way.
    pub fn new(path: impl Into<PathBuf>, now: Timestamp) -> Self {
        let path = path.into();
        #[cfg(feature = "pause-points")]
        let pause_dir = path.parent().map(Path::to_owned).unwrap_or_default();
        Self {
            path,
            now,
            max_pages: None,
            #[cfg(feature = "pause-points")]
            pause_dir,
        }
    }
}

/// Why a database cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another controller runs on it.
    #[error("{} is in use by another controller{holder}: wait for it or stop it; two must never run on one database", path.display())]
    InUse {
        /// The file.
        path: PathBuf,
        /// By whom.
        holder: Holder,
    },
    /// The lock file cannot be used.
    #[error("cannot use {}: {source}; check that its directory exists and belongs to this user", path.display())]
    Lock {
        /// The lock file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The SQLite library is too old.
    #[error("SQLite {found} can damage its own log; at least {}.{}.{} is needed", SQLITE_MIN.0, SQLITE_MIN.1, SQLITE_MIN.2)]
    OldSqlite {
        /// Its version.
        found: String,
    },
    /// A newer program wrote it.
    #[error(
        "the database has schema {found}, this program knows {known}: run the newer program, or restore a backup from before the update"
    )]
    Newer {
        /// Its version.
        found: i64,
        /// Ours.
        known: i64,
    },
    /// Anything else.
    #[error("cannot open {}: {source}", path.display())]
    Sql {
        /// The file.
        path: PathBuf,
        /// What SQLite said.
        source: sqlx::Error,
    },
}

/// An open database; cheap to clone. The lock is held until it is closed, or the last clone is gone.
#[derive(Clone, Debug)]
pub struct Database {
    pub(super) inner: Arc<Inner>,
}

#[derive(Debug)]
pub(super) struct Inner {
    /// One connection: it is the queue of the writers.
    writer: SqlitePool,
    pub(super) readers: SqlitePool,
    pub(super) changes: broadcast::Sender<Change>,
    /// The highest position of an event of a service.
    pub(super) told: watch::Sender<i64>,
    pub(super) opened_at: Timestamp,
    #[cfg(feature = "pause-points")]
    pub(super) pause_dir: PathBuf,
    /// `None` once closed.
    lock: Mutex<Option<Lock>>,
}

impl Database {
    /// Opens the file, making it if there is none, and brings its schema up to date.
    ///
    /// # Errors
    /// [`OpenError`]; in particular while another controller has it open.
    pub async fn open(options: OpenOptions) -> Result<Self, OpenError> {
        let path = options.path;
        let lock_path = lock::path_beside(&path);
        let lock = Lock::take(&lock_path, options.now).map_err(|error| match error {
            LockError::Held(holder) => OpenError::InUse { path: path.clone(), holder },
            LockError::Io(source) => OpenError::Lock { path: lock_path, source },
        })?;
        let sql = |source| OpenError::Sql { path: path.clone(), source };
        let mut connect = SqliteConnectOptions::new()
            .filename(&path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .busy_timeout(BUSY_LIMIT);
        if let Some(pages) = options.max_pages {
            connect = connect.pragma("max_page_count", pages.to_string());
        }
        let pool = SqlitePoolOptions::new().acquire_timeout(Duration::from_secs(10)).max_lifetime(None).idle_timeout(None);
        let writer = pool.clone().max_connections(1).connect_with(connect.clone()).await.map_err(sql)?;
        check_version(&writer).await.map_err(sql)??;
        migrate(&writer, options.now).await.map_err(sql)??;
        private(&path).map_err(|source| OpenError::Lock { path: path.clone(), source })?;
        let readers = pool.max_connections(READERS).connect_with(connect).await.map_err(sql)?;
        let (changes, _) = broadcast::channel(CHANGES_KEPT);
        let inner = Inner {
            writer,
            readers,
            changes,
            told: watch::Sender::new(0),
            opened_at: options.now,
            #[cfg(feature = "pause-points")]
            pause_dir: options.pause_dir,
            lock: Mutex::new(Some(lock)),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Closes all connections, writes the log back into the file and lets the lock go. Other clones can do nothing more.
    pub async fn close(&self) {
        self.inner.readers.close().await;
        self.inner.writer.close().await;
        *self.inner.lock.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// What was committed, as it is committed.
    pub fn changes(&self) -> broadcast::Receiver<Change> {
        self.inner.changes.subscribe()
    }

    /// Begins a transaction that may write.
    pub(super) async fn write(&self) -> Result<Write, StoreError> {
        let mut write = Write { connection: self.inner.writer.acquire().await.map_err(store_error)?, committed: false };
        sqlx::raw_sql("BEGIN IMMEDIATE").execute(&mut *write).await.map_err(store_error)?;
        Ok(write)
    }

    /// The highest lease under which this database was led here.
    pub(super) fn led_lease(&self) -> u64 {
        let mut lock = self.inner.lock.lock().unwrap_or_else(PoisonError::into_inner);
        lock.as_mut().map_or(0, Lock::led_lease)
    }

    pub(super) fn remember_lease(&self, lease: u64) -> io::Result<()> {
        let mut lock = self.inner.lock.lock().unwrap_or_else(PoisonError::into_inner);
        lock.as_mut().map_or(Ok(()), |lock| lock.write(lease))
    }
}

/// A transaction that writes. Unless it is committed its connection is closed, which takes everything back: after an error
/// such as a full disk SQLite may have ended the transaction by itself, and nobody can tell what state the connection is in.
pub(super) struct Write {
    connection: PoolConnection<Sqlite>,
    committed: bool,
}

impl Write {
    /// Durable when it returns.
    pub(super) async fn commit(mut self) -> Result<(), sqlx::Error> {
        sqlx::raw_sql("COMMIT").execute(&mut *self.connection).await?;
        self.committed = true;
        Ok(())
    }
}

impl Deref for Write {
    type Target = SqliteConnection;
    fn deref(&self) -> &SqliteConnection {
        &self.connection
    }
}

impl DerefMut for Write {
    fn deref_mut(&mut self) -> &mut SqliteConnection {
        &mut self.connection
    }
}

impl Drop for Write {
    fn drop(&mut self) {
        if !self.committed {
            self.connection.close_on_drop();
        }
    }
}

/// The file holds hashes of secrets and names of hosts: nobody else reads it.
fn private(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))
}

async fn check_version(pool: &SqlitePool) -> Result<Result<(), OpenError>, sqlx::Error> {
    let found: String = sqlx::query_scalar("SELECT sqlite_version()").fetch_one(pool).await?;
    let mut parts = found.split('.').map(|part| part.parse::<u32>().unwrap_or(0));
    let mut next = || parts.next().unwrap_or(0);
    let version = (next(), next(), next());
    Ok(if version >= SQLITE_MIN { Ok(()) } else { Err(OpenError::OldSqlite { found }) })
}

async fn migrate(pool: &SqlitePool, now: Timestamp) -> Result<Result<(), OpenError>, sqlx::Error> {
    let mut transaction = pool.begin_with("BEGIN IMMEDIATE").await?;
    let found: i64 = sqlx::query("PRAGMA user_version").fetch_one(&mut *transaction).await?.try_get(0)?;
    let known = i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX);
    if found > known {
        return Ok(Err(OpenError::Newer { found, known }));
    }
    if found == known {
        // Nothing is written: a full disk must not keep the controller from its start.
        return transaction.rollback().await.map(Ok);
    }
    for step in MIGRATIONS.iter().skip(usize::try_from(found).unwrap_or(0)) {
        sqlx::raw_sql(*step).execute(&mut *transaction).await?;
    }
    // A pragma takes no parameters; the number is our own.
    sqlx::raw_sql(sqlx::AssertSqlSafe(format!("PRAGMA user_version = {known}"))).execute(&mut *transaction).await?;
    for (key, value) in [("epoch", now.millis() / 1000), ("lease", 0), ("created_at", now.millis())] {
        let insert = sqlx::query("INSERT INTO meta (key, value) VALUES ($1, $2) ON CONFLICT (key) DO NOTHING");
        insert.bind(key).bind(value).execute(&mut *transaction).await?;
    }
    transaction.commit().await?;
    Ok(Ok(()))
}

/// A full disk is told apart, since it heals by itself.
pub(super) fn store_error(error: sqlx::Error) -> StoreError {
    const FULL: &str = "13";
    match &error {
        sqlx::Error::Database(database) if database.code().as_deref() == Some(FULL) => {
            StoreError::Full(database.message().to_owned())
        }
        _ => StoreError::Other(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A shipped step must not change: databases that have it would differ from new ones.
    #[test]
    fn shipped_migrations_are_as_they_were() {
        let hex = |text: &str| super::super::sha256(text.as_bytes()).iter().map(|b| format!("{b:02x}")).collect::<String>();
        let found: Vec<String> = MIGRATIONS.iter().map(|step| hex(step)[..16].to_owned()).collect();
        assert_eq!(found, ["6d847e4b5f0f502c", "2a527b04b3e176a5", "20e9e92ab5c2e249", "e1eb2369b7d9d804"]);
    }
}
