//! What the API reads.

use driver::StoreError;
use engine::{Entry, JournalId, Record, View};
use model::{OrchestrationId, TargetId};
use serde::{Deserialize, Serialize};
use sqlx::sqlite::SqliteRow;
use sqlx::{QueryBuilder, Row as _, Sqlite};

use super::append::{read_journal, unsigned};
use super::codec::{self, BadJournal};
use super::open::{Database, store_error};
use super::page_size;

/// One page of a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Page<T> {
    /// In the list's order.
    pub items: Vec<T>,
    /// Give this as `before` for the next page; `None` when there is none.
    pub next: Option<i64>,
}

impl<T> Page<T> {
    /// From one row more than fits.
    pub(super) fn cut(mut items: Vec<T>, limit: i64, key: impl Fn(&T) -> i64) -> Self {
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let more = items.len() > limit;
        items.truncate(limit);
        let next = if more { items.last().map(key) } else { None };
        Self { items, next }
    }
}

/// Which orchestrations.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OrchestrationFilter {
    /// On this host.
    pub host: Option<TargetId>,
    /// Only rollouts.
    pub rollouts: bool,
    /// Only those that are open (`true`) or over (`false`).
    pub active: Option<bool>,
    /// Continue a list.
    pub before: Option<i64>,
    /// At most so many: 1 to 500; 0 is 50.
    pub limit: u32,
}

impl Database {
    /// Orchestrations, newest first; `hosts` limits them to those that are about those hosts alone.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn orchestrations(
        &self,
        filter: &OrchestrationFilter,
        hosts: Option<&[TargetId]>,
    ) -> Result<Page<View>, StoreError> {
        let limit = page_size(filter.limit);
        let mut query = QueryBuilder::<Sqlite>::new("SELECT number, view FROM orchestration WHERE 1 = 1");
        if let Some(host) = filter.host {
            query.push(" AND (host = ").push_bind(host.to_string());
            query.push(" OR id IN (SELECT orchestration FROM track WHERE host = ").push_bind(host.to_string()).push("))");
        }
        if let Some(active) = filter.active {
            query.push(" AND open = ").push_bind(i64::from(active));
        }
        if filter.rollouts {
            query.push(" AND instr(view, '\"planner\":\"rollout\"') > 0");
        }
        if let Some(hosts) = hosts {
            let list = serde_json::to_string(hosts).map_err(|error| StoreError::Other(error.to_string()))?;
            query.push(" AND host IN (SELECT value FROM json_each(").push_bind(list.clone()).push("))");
            super::track::push_within(&mut query, "orchestration.id", list);
        }
        if let Some(before) = filter.before {
            query.push(" AND number < ").push_bind(before);
        }
        query.push(" ORDER BY number DESC LIMIT ").push_bind(limit + 1);
        let rows = query.build().try_map(|row: SqliteRow| Ok((row.try_get::<i64, _>(0)?, view(&row, 1))));
        let page = Page::cut(rows.fetch_all(&self.inner.readers).await.map_err(store_error)?, limit, |(number, _)| *number);
        let items = page.items.into_iter().filter_map(|(number, view)| {
            // One damaged row hides itself, and not all the others (G8).
            view.inspect_err(|error| tracing::error!(number, "a row of the orchestrations cannot be read: {error}")).ok()
        });
        Ok(Page { next: page.next, items: items.collect() })
    }

    /// One orchestration, with the number of records in its journal.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn orchestration(&self, id: OrchestrationId) -> Result<Option<(u64, View)>, StoreError> {
        let select = sqlx::query("SELECT records, view FROM orchestration WHERE id = $1").bind(id.to_string());
        let row = select.try_map(|row: SqliteRow| Ok((unsigned(row.try_get(0)?), view(&row, 1)?)));
        row.fetch_optional(&self.inner.readers).await.map_err(store_error)
    }

    /// The journal of an orchestration, open or ended, from a position on; empty when there is none. Of what stands before it
    /// only the last checksum is looked at.
    ///
    /// # Errors
    /// [`StoreError`]; inside, what is wrong with this journal.
    pub async fn journal(&self, id: OrchestrationId, from: u64) -> Result<Result<Vec<Record<Entry>>, BadJournal>, StoreError> {
        let mut transaction = self.inner.readers.begin().await.map_err(store_error)?;
        let (rows, head) = read_journal(&mut transaction, JournalId::Orchestration(id), from.saturating_sub(1)).await?;
        transaction.commit().await.map_err(store_error)?;
        Ok(codec::decode_from(&rows, head.as_ref(), from))
    }
}

fn view(row: &SqliteRow, column: usize) -> Result<View, sqlx::Error> {
    serde_json::from_str(row.try_get::<&str, _>(column)?).map_err(|error| sqlx::Error::Decode(error.into()))
}
