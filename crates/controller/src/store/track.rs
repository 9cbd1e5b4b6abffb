//! Tracks: one row each.

use driver::StoreError;
use engine::TrackView;
use model::{OrchestrationId, TargetId, Timestamp};
use sqlx::sqlite::SqliteRow;
use sqlx::{QueryBuilder, Row as _, Sqlite, SqliteConnection};

use super::append::unsigned;
use super::open::{Database, store_error};
use super::page_size;

/// Which tracks of an orchestration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrackFilter {
    /// Those that ended so; an empty text: those that are not over.
    pub outcome: Option<String>,
    /// Leave out so many at the beginning.
    pub offset: u32,
    /// At most so many: 1 to 500; 0 is 50.
    pub limit: u32,
}

/// One page of tracks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrackPage {
    /// By index.
    pub tracks: Vec<TrackView>,
    /// How many fit, on all pages.
    pub total: u32,
    /// Give this as `offset` for the next page; `None` when there is none.
    pub next: Option<u32>,
}

pub(super) async fn put(connection: &mut SqliteConnection, id: OrchestrationId, track: &TrackView) -> Result<(), StoreError> {
    let json =
        serde_json::to_string(track).map_err(|error| StoreError::Other(format!("a track cannot be written as JSON: {error}")))?;
    let upsert = sqlx::query(
        "INSERT INTO track (orchestration, number, host, open, outcome, view) VALUES ($1, $2, $3, $4, $5, $6) \
         ON CONFLICT (orchestration, number) DO UPDATE SET open = excluded.open, outcome = excluded.outcome, view = excluded.view",
    );
    let upsert = upsert
        .bind(id.to_string())
        .bind(i64::from(track.index))
        .bind(track.target.to_string())
        .bind(i64::from(track.outcome.is_none()))
        .bind(track.outcome.map(|outcome| outcome.to_string()))
        .bind(json);
    match upsert.execute(&mut *connection).await {
        Ok(_) => Ok(()),
        // As the trigger says.
        Err(sqlx::Error::Database(error)) if error.message().contains("another orchestration has an open track") => {
            Err(StoreError::Conflict(format!("host {} has a track in another open orchestration", track.name)))
        }
        Err(error) => Err(store_error(error)),
    }
}

/// Lets go of one host of an orchestration that nobody can read. When it was the last one, the orchestration is over. One that an
/// older program wrote has no tracks, and one host.
pub(super) async fn let_go(
    connection: &mut SqliteConnection,
    id: OrchestrationId,
    host: TargetId,
    at: Timestamp,
) -> Result<(), StoreError> {
    let close = sqlx::query("UPDATE track SET open = 0 WHERE orchestration = $1 AND host = $2 AND open = 1");
    close.bind(id.to_string()).bind(host.to_string()).execute(&mut *connection).await.map_err(store_error)?;
    let over = sqlx::query(
        "UPDATE orchestration SET open = 0, ended_at = $3 WHERE id = $1 AND open = 1 \
         AND NOT EXISTS (SELECT 1 FROM track WHERE orchestration = $1 AND open = 1) \
         AND (host = $2 OR EXISTS (SELECT 1 FROM track WHERE orchestration = $1))",
    );
    let over = over.bind(id.to_string()).bind(host.to_string()).bind(at.millis());
    over.execute(&mut *connection).await.map(drop).map_err(store_error)
}

/// Adds: all hosts of the orchestration are among these. `hosts` is a JSON list.
pub(super) fn push_within(query: &mut QueryBuilder<Sqlite>, column: &str, hosts: String) {
    query.push(" AND NOT EXISTS (SELECT 1 FROM track WHERE track.orchestration = ").push(column);
    query.push(" AND track.host NOT IN (SELECT value FROM json_each(").push_bind(hosts).push(")))");
}

impl Database {
    /// Tracks of an orchestration, by index.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn tracks(&self, id: OrchestrationId, filter: &TrackFilter) -> Result<TrackPage, StoreError> {
        let narrow = |query: &mut QueryBuilder<Sqlite>| {
            query.push_bind(id.to_string());
            match filter.outcome.as_deref() {
                None => {}
                Some("") => drop(query.push(" AND outcome IS NULL")),
                Some(outcome) => drop(query.push(" AND outcome = ").push_bind(outcome.to_owned())),
            }
        };
        let limit = page_size(filter.limit);
        let mut count = QueryBuilder::<Sqlite>::new("SELECT COUNT(*) FROM track WHERE orchestration = ");
        narrow(&mut count);
        let mut select = QueryBuilder::<Sqlite>::new("SELECT view FROM track WHERE orchestration = ");
        narrow(&mut select);
        select.push(" ORDER BY number LIMIT ").push_bind(limit).push(" OFFSET ").push_bind(i64::from(filter.offset));
        let mut transaction = self.inner.readers.begin().await.map_err(store_error)?;
        let total: i64 = count.build_query_scalar().fetch_one(&mut *transaction).await.map_err(store_error)?;
        let rows = select.build().try_map(|row: SqliteRow| view(&row)).fetch_all(&mut *transaction).await.map_err(store_error)?;
        transaction.commit().await.map_err(store_error)?;
        let total = u32::try_from(unsigned(total)).unwrap_or(u32::MAX);
        let end = filter.offset.saturating_add(u32::try_from(rows.len()).unwrap_or(u32::MAX));
        Ok(TrackPage { tracks: rows, total, next: (end < total).then_some(end) })
    }

    /// One track.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn track(&self, id: OrchestrationId, index: u32) -> Result<Option<TrackView>, StoreError> {
        let select = sqlx::query("SELECT view FROM track WHERE orchestration = $1 AND number = $2");
        let row = select.bind(id.to_string()).bind(i64::from(index)).try_map(|row: SqliteRow| view(&row));
        row.fetch_optional(&self.inner.readers).await.map_err(store_error)
    }

    /// The hosts of an orchestration, each with how its track ended (`None`: it has not), by index. None for one that an older
    /// program wrote.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn track_hosts(&self, id: OrchestrationId) -> Result<Vec<(TargetId, Option<String>)>, StoreError> {
        let select = sqlx::query("SELECT host, outcome FROM track WHERE orchestration = $1 ORDER BY number").bind(id.to_string());
        let rows = select.try_map(|row: SqliteRow| {
            let host = row.try_get::<&str, _>(0)?.parse().map_err(|error: uuid::Error| sqlx::Error::Decode(error.into()))?;
            Ok((host, row.try_get(1)?))
        });
        rows.fetch_all(&self.inner.readers).await.map_err(store_error)
    }

    /// Whether an orchestration was left open.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn has_open(&self) -> Result<bool, StoreError> {
        let select = sqlx::query_scalar::<Sqlite, i64>("SELECT EXISTS (SELECT 1 FROM orchestration WHERE open = 1)");
        select.fetch_one(&self.inner.readers).await.map(|open| open != 0).map_err(store_error)
    }
}

fn view(row: &SqliteRow) -> Result<TrackView, sqlx::Error> {
    serde_json::from_str(row.try_get::<&str, _>(0)?).map_err(|error| sqlx::Error::Decode(error.into()))
}
