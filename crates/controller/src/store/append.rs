//! The journals: lead, load, append.

use std::collections::BTreeSet;

use driver::{Append, Batch, Loaded, Store, StoreError};
use engine::{Fact, FleetEntry, JOURNAL_VERSION, JournalId, View};
use model::{OrchestrationId, TargetId, Timestamp};
use sqlx::sqlite::SqliteRow;
use sqlx::{QueryBuilder, Row as _, Sqlite, SqliteConnection};

use super::codec::{self, Head, Row};
use super::open::{Database, store_error};

/// Rows that are inserted by one statement, at most: each statement is a way to the database's thread and back, and takes a
/// limited number of values.
pub(super) const ROWS: usize = 500;

/// An orchestration as it stands after a commit.
#[derive(Clone, Debug)]
pub struct Change {
    /// Number of records in its journal.
    pub sequence: u64,
    /// Its state.
    pub view: std::sync::Arc<View>,
}

/// The journals of a [`Database`], for the driver.
#[derive(Debug)]
pub struct SqliteStore {
    database: Database,
    /// Orchestrations whose journal could not be read. Once their lock is let go, they are over.
    unreadable: BTreeSet<OrchestrationId>,
}

impl SqliteStore {
    /// For one driver at a time.
    pub fn new(database: Database) -> Self {
        Self { database, unreadable: BTreeSet::new() }
    }
}

impl SqliteStore {
    /// When the engine accepts a new orchestration for a host, one that cannot be read no longer stands in its way there.
    async fn let_go_unreadable(
        &self,
        connection: &mut SqliteConnection,
        id: OrchestrationId,
        host: TargetId,
        at: Timestamp,
    ) -> Result<(), StoreError> {
        for other in self.unreadable.iter().filter(|other| **other != id) {
            super::track::let_go(connection, *other, host, at).await?;
        }
        Ok(())
    }
}

impl Store for SqliteStore {
    async fn lead(&mut self) -> Result<u64, StoreError> {
        let mut transaction = self.database.write().await?;
        let lease = meta(&mut transaction, "lease").await?;
        // Each lead begins an epoch of its own: commands that a lost part of the database had sent must not count as newer
        // than ours (design, section 5). Whether a part was lost cannot always be seen: a copy made while the controller ran,
        // or put back together with its lock file, looks like the database that was used last. Seconds since 1970, since the
        // lost part may have led often.
        let epoch = meta(&mut transaction, "epoch").await?;
        let led = self.database.led_lease();
        let missed = led.saturating_sub(lease);
        if missed > 0 {
            tracing::warn!(missed, "the database is an older copy of the one used last");
        }
        let seconds = u64::try_from(self.database.inner.opened_at.millis() / 1000).unwrap_or(0);
        let epoch = epoch.saturating_add(1).saturating_add(missed).max(seconds);
        set_meta(&mut transaction, "epoch", epoch).await?;
        let lease = lease.max(led).saturating_add(1);
        set_meta(&mut transaction, "lease", lease).await?;
        transaction.commit().await.map_err(store_error)?;
        if let Err(error) = self.database.remember_lease(lease) {
            return Err(StoreError::Other(format!("cannot write the lock file: {error}")));
        }
        Ok(lease)
    }

    async fn load(&mut self) -> Result<Loaded, StoreError> {
        let mut transaction = self.database.write().await?;
        let epoch = meta(&mut transaction, "epoch").await?;
        let (rows, head) = read_journal(&mut transaction, JournalId::Fleet, 0).await?;
        let fleet = codec::decode(&rows, head.as_ref()).map_err(|error| {
            StoreError::Other(format!(
                "the fleet journal is damaged ({error}): locks and stranded hosts would be forgotten, so the controller does not start; restore a backup"
            ))
        })?;
        let ids = sqlx::query_scalar::<Sqlite, String>("SELECT id FROM orchestration WHERE open = 1 ORDER BY number");
        let mut open = Vec::new();
        self.unreadable.clear();
        for id in ids.fetch_all(&mut *transaction).await.map_err(store_error)? {
            let Ok(id) = id.parse::<OrchestrationId>() else {
                return Err(StoreError::Other(format!("an orchestration has the id {id:?}: restore a backup")));
            };
            let (rows, head) = read_journal(&mut transaction, JournalId::Orchestration(id), 0).await?;
            let journal = codec::decode(&rows, head.as_ref()).map_err(|error| error.to_string());
            if let Err(reason) = &journal {
                tracing::error!(orchestration = %id, reason, "a journal cannot be read; this orchestration is set aside, its host stays locked");
                self.unreadable.insert(id);
            }
            open.push((id, journal));
        }
        transaction.commit().await.map_err(store_error)?;
        Ok(Loaded { epoch, fleet, open })
    }

    async fn append(&mut self, batch: &Batch) -> Result<(), StoreError> {
        #[cfg(feature = "pause-points")]
        super::pause::point(&self.database.inner.pause_dir, "before_append", batch).await;
        let mut transaction = self.database.write().await?;
        let now = meta(&mut transaction, "lease").await?;
        if now != batch.lease {
            return Err(StoreError::LeaseLost { ours: batch.lease, now });
        }
        for append in &batch.appends {
            append_records(&mut transaction, append).await?;
            for fact in &append.facts {
                if let Fact::Fleet(record) = fact
                    && let FleetEntry::Unlocked { host, orchestration, .. } = &record.entry
                    && self.unreadable.contains(orchestration)
                {
                    super::track::let_go(&mut transaction, *orchestration, *host, record.at).await?;
                }
            }
        }
        let mut changes = Vec::with_capacity(batch.views.len());
        for view in &batch.views {
            self.let_go_unreadable(&mut transaction, view.id, view.host, view.initiated_at).await?;
            let sequence = put_view(&mut transaction, view).await?;
            changes.push(Change { sequence, view: std::sync::Arc::new(view.clone()) });
        }
        for (id, track) in &batch.tracks {
            if track.outcome.is_none() {
                self.let_go_unreadable(&mut transaction, *id, track.target, self.database.inner.opened_at).await?;
            }
            super::track::put(&mut transaction, *id, track).await?;
        }
        super::audit::insert(&mut transaction, &batch.audit).await?;
        let told = super::events::insert(&mut transaction, &batch.events).await?;
        transaction.commit().await.map_err(store_error)?;
        for change in changes {
            // Nobody watching is no error.
            drop(self.database.inner.changes.send(change));
        }
        if let Some(told) = told {
            self.database.inner.told.send_replace(told);
        }
        #[cfg(feature = "pause-points")]
        super::pause::point(&self.database.inner.pause_dir, "after_append", batch).await;
        Ok(())
    }
}

async fn append_records(connection: &mut SqliteConnection, append: &Append) -> Result<(), StoreError> {
    let name = codec::name(append.journal);
    let head = read_head(connection, &name).await?;
    let (records, mut checksum) = head.map_or((0, codec::NOTHING.to_vec()), |head| (head.records, head.checksum));
    if records != append.follows {
        return Err(StoreError::Conflict(format!(
            "journal {name} holds {records} records, the append follows {}",
            append.follows
        )));
    }
    let version = u64::from(JOURNAL_VERSION);
    let mut position = records;
    for facts in append.facts.chunks(ROWS) {
        let mut rows = Vec::with_capacity(facts.len());
        for fact in facts {
            let record = match fact {
                Fact::Fleet(record) => codec::encode(record),
                Fact::Orchestration(_, record) => codec::encode(record),
            };
            let record = record.map_err(|error| StoreError::Other(format!("an entry cannot be written as JSON: {error}")))?;
            checksum = codec::chain(&checksum, version, &record).to_vec();
            rows.push((position, record, checksum.clone()));
            position += 1;
        }
        let mut insert = QueryBuilder::<Sqlite>::new("INSERT INTO journal (journal, position, version, record, checksum) ");
        insert.push_values(rows, |mut row, (position, record, checksum)| {
            row.push_bind(&name).push_bind(signed(position)).push_bind(signed(version));
            row.push_bind(record).push_bind(checksum);
        });
        insert.build().execute(&mut *connection).await.map_err(store_error)?;
    }
    let upsert = sqlx::query(
        "INSERT INTO journal_head (journal, records, checksum) VALUES ($1, $2, $3) \
         ON CONFLICT (journal) DO UPDATE SET records = excluded.records, checksum = excluded.checksum",
    );
    let upsert = upsert.bind(&name).bind(signed(position)).bind(&checksum);
    upsert.execute(&mut *connection).await.map_err(store_error)?;
    Ok(())
}

/// Returns how many records its journal holds.
async fn put_view(connection: &mut SqliteConnection, view: &View) -> Result<u64, StoreError> {
    let json =
        serde_json::to_string(view).map_err(|error| StoreError::Other(format!("a view cannot be written as JSON: {error}")))?;
    let upsert = sqlx::query_scalar::<Sqlite, i64>(
        "INSERT INTO orchestration (id, host, open, records, initiated_at, ended_at, view) \
         VALUES ($1, $2, $3, COALESCE((SELECT records FROM journal_head WHERE journal = $1), 0), $4, $5, $6) \
         ON CONFLICT (id) DO UPDATE SET open = excluded.open, records = excluded.records, ended_at = excluded.ended_at, \
         view = excluded.view RETURNING records",
    );
    let upsert = upsert
        .bind(view.id.to_string())
        .bind(view.host.to_string())
        .bind(i64::from(view.outcome.is_none()))
        .bind(view.initiated_at.millis())
        .bind(view.ended_at.map(model::Timestamp::millis))
        .bind(json);
    upsert.fetch_one(&mut *connection).await.map(unsigned).map_err(store_error)
}

/// The rows of a journal from a position on, and where it should end.
pub(super) async fn read_journal(
    connection: &mut SqliteConnection,
    journal: JournalId,
    from: u64,
) -> Result<(Vec<Row>, Option<Head>), StoreError> {
    let name = codec::name(journal);
    let head = read_head(connection, &name).await?;
    let select = sqlx::query(
        "SELECT position, version, record, checksum FROM journal WHERE journal = $1 AND ($2 = 0 OR position >= $2) ORDER BY position",
    );
    let rows = select.bind(&name).bind(signed(from)).try_map(|row: SqliteRow| {
        Ok(Row {
            position: damaged_number(row.try_get("position"))?,
            version: damaged_number(row.try_get("version"))?,
            // A damaged text may not even be UTF-8: then its checksum does not fit either.
            record: String::from_utf8_lossy(row.try_get_unchecked::<&[u8], _>("record")?).into_owned(),
            checksum: row.try_get_unchecked::<&[u8], _>("checksum")?.to_owned(),
        })
    });
    let rows = rows.fetch_all(&mut *connection).await.map_err(store_error)?;
    Ok((rows, head))
}

async fn read_head(connection: &mut SqliteConnection, name: &str) -> Result<Option<Head>, StoreError> {
    let select = sqlx::query("SELECT records, checksum FROM journal_head WHERE journal = $1").bind(name.to_owned());
    let head = select.try_map(|row: SqliteRow| {
        Ok(Head { records: damaged_number(row.try_get(0))?, checksum: row.try_get_unchecked::<&[u8], _>(1)?.to_owned() })
    });
    head.fetch_optional(&mut *connection).await.map_err(store_error)
}

/// What is no number any more is none that fits, so that it isolates its own journal and not all of them (G8).
fn damaged_number(found: Result<i64, sqlx::Error>) -> Result<u64, sqlx::Error> {
    match found {
        Ok(number) => Ok(unsigned(number)),
        Err(sqlx::Error::ColumnDecode { .. }) => Ok(u64::MAX),
        Err(error) => Err(error),
    }
}

async fn meta(connection: &mut SqliteConnection, key: &'static str) -> Result<u64, StoreError> {
    let select = sqlx::query_scalar::<Sqlite, i64>("SELECT value FROM meta WHERE key = $1").bind(key);
    select.fetch_one(&mut *connection).await.map(unsigned).map_err(store_error)
}

async fn set_meta(connection: &mut SqliteConnection, key: &'static str, value: u64) -> Result<(), StoreError> {
    let update = sqlx::query("UPDATE meta SET value = $2 WHERE key = $1").bind(key).bind(signed(value));
    update.execute(&mut *connection).await.map(drop).map_err(store_error)
}

/// Counts and numbers of ours never come near the limit.
pub(super) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

pub(super) fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}
