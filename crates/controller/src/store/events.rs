//! Events of services: written with their facts, read by whoever gives them on.

use std::collections::BTreeMap;

use driver::StoreError;
use engine::ServiceEvent;
use model::TargetId;
use sqlx::sqlite::SqliteRow;
use sqlx::{QueryBuilder, Row as _, Sqlite, SqliteConnection};

use super::open::{Database, store_error};
use super::page_size;

/// So many are kept, the newest. A place that falls further behind misses some, and says so.
pub const EVENTS_KEPT: i64 = 100_000;

/// An event with its place in the order of commits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredEvent {
    /// Grows; from 1.
    pub position: i64,
    /// What happened.
    pub event: ServiceEvent,
}

/// Which events.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EventFilter {
    /// Only those behind this position, the oldest first; without it the newest ones.
    pub after: Option<i64>,
    /// Only of this service.
    pub service: Option<String>,
    /// At most so many: 1 to 500; 0 is 50.
    pub limit: u32,
}

/// Inserts those that are not there yet; the highest position afterwards, if there are new ones.
pub(super) async fn insert(connection: &mut SqliteConnection, events: &[ServiceEvent]) -> Result<Option<i64>, StoreError> {
    let mut last = None;
    for event in events {
        let json = serde_json::to_string(event)
            .map_err(|error| StoreError::Other(format!("an event cannot be written as JSON: {error}")))?;
        let insert = sqlx::query_scalar::<Sqlite, i64>(
            "INSERT INTO service_event (id, host, service, event) VALUES ($1, $2, $3, $4) ON CONFLICT (id) DO NOTHING RETURNING position",
        );
        let insert = insert.bind(event.metadata.event_id.clone()).bind(event.metadata.host_id.to_string());
        let position =
            insert.bind(event.service.clone()).bind(json).fetch_optional(&mut *connection).await.map_err(store_error)?;
        last = position.or(last);
    }
    if let Some(last) = last {
        let prune = sqlx::query("DELETE FROM service_event WHERE position <= $1").bind(last - EVENTS_KEPT);
        prune.execute(&mut *connection).await.map_err(store_error)?;
    }
    Ok(last)
}

impl Database {
    /// The highest position that was committed, as it grows; 0 before the first since this database was opened.
    pub fn events_told(&self) -> tokio::sync::watch::Receiver<i64> {
        self.inner.told.subscribe()
    }

    /// The highest position that was ever given out.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn events_end(&self) -> Result<i64, StoreError> {
        let select = sqlx::query_scalar::<Sqlite, i64>("SELECT COALESCE(MAX(position), 0) FROM service_event");
        select.fetch_one(&self.inner.readers).await.map_err(store_error)
    }

    /// Events in the order of their commits; `hosts` limits them to those on these.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn service_events(&self, filter: &EventFilter, hosts: Option<&[TargetId]>) -> Result<Vec<StoredEvent>, StoreError> {
        let mut query = QueryBuilder::<Sqlite>::new("SELECT position, event FROM service_event WHERE position > ");
        query.push_bind(filter.after.unwrap_or(0));
        if let Some(service) = &filter.service {
            query.push(" AND service = ").push_bind(service.clone());
        }
        if let Some(hosts) = hosts {
            let list = serde_json::to_string(hosts).map_err(|error| StoreError::Other(error.to_string()))?;
            query.push(" AND host IN (SELECT value FROM json_each(").push_bind(list).push("))");
        }
        query.push(if filter.after.is_some() { " ORDER BY position" } else { " ORDER BY position DESC" });
        query.push(" LIMIT ").push_bind(page_size(filter.limit));
        let rows = query.build().try_map(|row: SqliteRow| Ok((row.try_get::<i64, _>(0)?, event(&row))));
        let rows = rows.fetch_all(&self.inner.readers).await.map_err(store_error)?;
        let readable = rows.into_iter().filter_map(|(position, event)| {
            // One damaged row hides itself, and not all the others (G8).
            let event = event.inspect_err(|error| tracing::error!(position, "an event cannot be read: {error}")).ok()?;
            Some(StoredEvent { position, event })
        });
        let mut events: Vec<StoredEvent> = readable.collect();
        if filter.after.is_none() {
            events.reverse();
        }
        Ok(events)
    }

    /// Those that events are given on to from now on, each with how far it has them; one that is new begins at the end. Others are
    /// forgotten.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn event_sinks(&self, names: &[String]) -> Result<BTreeMap<String, i64>, StoreError> {
        let list = serde_json::to_string(names).map_err(|error| StoreError::Other(error.to_string()))?;
        let known = sqlx::query("SELECT name, position FROM event_sink");
        let known = known.try_map(|row: SqliteRow| Ok((row.try_get(0)?, row.try_get(1)?)));
        let known: BTreeMap<String, i64> = known.fetch_all(&self.inner.readers).await.map_err(store_error)?.into_iter().collect();
        // Nothing is written when nothing changes: a full disk must not keep the controller from its start.
        if known.len() == names.len() && names.iter().all(|name| known.contains_key(name)) {
            return Ok(known);
        }
        let mut transaction = self.write().await?;
        let forget = sqlx::query("DELETE FROM event_sink WHERE name NOT IN (SELECT value FROM json_each($1))");
        forget.bind(list.clone()).execute(&mut *transaction).await.map_err(store_error)?;
        let add = sqlx::query(
            "INSERT INTO event_sink (name, position) \
             SELECT value, (SELECT COALESCE(MAX(position), 0) FROM service_event) FROM json_each($1) WHERE true \
             ON CONFLICT (name) DO NOTHING",
        );
        add.bind(list).execute(&mut *transaction).await.map_err(store_error)?;
        let all = sqlx::query("SELECT name, position FROM event_sink");
        let all = all.try_map(|row: SqliteRow| Ok((row.try_get(0)?, row.try_get(1)?)));
        let all = all.fetch_all(&mut *transaction).await.map_err(store_error)?.into_iter().collect();
        transaction.commit().await.map_err(store_error)?;
        Ok(all)
    }

    /// How far one of them has the events. One that could not be written down at the start begins at the end: where it could not,
    /// no event could either.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn event_sink(&self, name: &str) -> Result<i64, StoreError> {
        let select =
            || sqlx::query_scalar::<Sqlite, i64>("SELECT position FROM event_sink WHERE name = $1").bind(name.to_owned());
        if let Some(position) = select().fetch_optional(&self.inner.readers).await.map_err(store_error)? {
            return Ok(position);
        }
        let mut transaction = self.write().await?;
        let add = sqlx::query(
            "INSERT INTO event_sink (name, position) SELECT $1, COALESCE(MAX(position), 0) FROM service_event WHERE true \
             ON CONFLICT (name) DO NOTHING",
        );
        add.bind(name.to_owned()).execute(&mut *transaction).await.map_err(store_error)?;
        let position = select().fetch_one(&mut *transaction).await.map_err(store_error)?;
        transaction.commit().await.map_err(store_error)?;
        Ok(position)
    }

    /// This one has all up to this position.
    ///
    /// # Errors
    /// [`StoreError`]; then it may be given them once more.
    pub async fn event_sink_has(&self, name: &str, position: i64) -> Result<(), StoreError> {
        let mut transaction = self.write().await?;
        let update = sqlx::query("UPDATE event_sink SET position = $2 WHERE name = $1 AND position < $2");
        update.bind(name.to_owned()).bind(position).execute(&mut *transaction).await.map_err(store_error)?;
        transaction.commit().await.map_err(store_error)
    }
}

fn event(row: &SqliteRow) -> Result<ServiceEvent, sqlx::Error> {
    serde_json::from_str(row.try_get::<&str, _>(1)?).map_err(|error| sqlx::Error::Decode(error.into()))
}
