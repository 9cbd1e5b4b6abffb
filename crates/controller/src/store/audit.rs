//! The audit log: append only.

use driver::{AuditRow, StoreError};
use model::{OrchestrationId, TargetId, Timestamp};
use serde::{Deserialize, Serialize};
use sqlx::sqlite::SqliteRow;
use sqlx::{QueryBuilder, Row as _, Sqlite, SqliteConnection};

use super::append::ROWS;
use super::open::{Database, store_error};
use super::page_size;
use super::read::Page;

/// Which lines of the audit log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuditFilter {
    /// Of this actor.
    pub actor: Option<String>,
    /// Of this action.
    pub action: Option<String>,
    /// On this host or child.
    pub target: Option<TargetId>,
    /// In this orchestration.
    pub orchestration: Option<OrchestrationId>,
    /// Only what was done (`true`), or refused or failed (`false`).
    pub success: Option<bool>,
    /// At or after.
    pub since: Option<Timestamp>,
    /// Before.
    pub until: Option<Timestamp>,
    /// Continue a list: only lines with a smaller id.
    pub before: Option<i64>,
    /// At most so many: 1 to 500; 0 is 50.
    pub limit: u32,
}

/// One line of the audit log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditLine {
    /// Grows.
    pub id: i64,
    /// When.
    pub at: Timestamp,
    /// Who.
    pub actor: String,
    /// What kind of thing: `step_started`, `login`.
    pub action: String,
    /// On which host or child.
    pub target: Option<TargetId>,
    /// In which orchestration.
    pub orchestration: Option<OrchestrationId>,
    /// Done, or refused or failed.
    pub success: bool,
    /// In words.
    pub detail: String,
}

pub(super) async fn insert(connection: &mut SqliteConnection, rows: &[AuditRow]) -> Result<(), StoreError> {
    for rows in rows.chunks(ROWS) {
        let mut insert =
            QueryBuilder::<Sqlite>::new("INSERT INTO audit (at, actor, action, target, orchestration, success, detail) ");
        insert.push_values(rows, |mut values, row| {
            values.push_bind(row.at.millis()).push_bind(&row.actor).push_bind(&row.action);
            values.push_bind(row.target.map(|id| id.to_string())).push_bind(row.orchestration.map(|id| id.to_string()));
            values.push_bind(i64::from(row.success)).push_bind(&row.detail);
        });
        insert.build().execute(&mut *connection).await.map_err(store_error)?;
    }
    Ok(())
}

impl Database {
    /// Writes lines that belong to no turn: logins, refusals, accounts.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn write_audit(&self, rows: &[AuditRow]) -> Result<(), StoreError> {
        let mut transaction = self.write().await?;
        insert(&mut transaction, rows).await?;
        transaction.commit().await.map_err(store_error)
    }

    /// Lines, newest first; `within` limits them to those on these hosts, in orchestrations of these hosts, and of this user
    /// and its tokens.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn audit(&self, filter: &AuditFilter, within: Option<(&[TargetId], &str)>) -> Result<Page<AuditLine>, StoreError> {
        let limit = page_size(filter.limit);
        let mut query = QueryBuilder::<Sqlite>::new(
            "SELECT id, at, actor, action, target, orchestration, success, detail FROM audit WHERE 1 = 1",
        );
        if let Some((hosts, user)) = within {
            let list = serde_json::to_string(hosts).map_err(|error| StoreError::Other(error.to_string()))?;
            query.push(" AND (target IN (SELECT value FROM json_each(").push_bind(list.clone());
            query.push(")) OR orchestration IN (SELECT id FROM orchestration WHERE host IN (SELECT value FROM json_each(");
            query.push_bind(list.clone()).push("))");
            super::track::push_within(&mut query, "orchestration.id", list);
            query.push(") OR actor = ").push_bind(user.to_owned());
            query
                .push(" OR substr(actor, 1, length(")
                .push_bind(user.to_owned())
                .push(") + 1) = ")
                .push_bind(format!("{user}/"))
                .push(")");
        }
        if let Some(actor) = &filter.actor {
            query.push(" AND actor = ").push_bind(actor.clone());
        }
        if let Some(action) = &filter.action {
            query.push(" AND action = ").push_bind(action.clone());
        }
        if let Some(target) = filter.target {
            query.push(" AND target = ").push_bind(target.to_string());
        }
        if let Some(orchestration) = filter.orchestration {
            query.push(" AND orchestration = ").push_bind(orchestration.to_string());
        }
        if let Some(success) = filter.success {
            query.push(" AND success = ").push_bind(i64::from(success));
        }
        if let Some(since) = filter.since {
            query.push(" AND at >= ").push_bind(since.millis());
        }
        if let Some(until) = filter.until {
            query.push(" AND at < ").push_bind(until.millis());
        }
        if let Some(before) = filter.before {
            query.push(" AND id < ").push_bind(before);
        }
        query.push(" ORDER BY id DESC LIMIT ").push_bind(limit + 1);
        let lines = query.build().try_map(line).fetch_all(&self.inner.readers).await.map_err(store_error)?;
        Ok(Page::cut(lines, limit, |line| line.id))
    }
}

fn line(row: SqliteRow) -> Result<AuditLine, sqlx::Error> {
    let id = |name: &str| -> Result<Option<uuid::Uuid>, sqlx::Error> {
        Ok(row.try_get::<Option<String>, _>(name)?.and_then(|text| text.parse().ok()))
    };
    Ok(AuditLine {
        id: row.try_get("id")?,
        at: Timestamp::from_millis(row.try_get("at")?),
        actor: row.try_get("actor")?,
        action: row.try_get("action")?,
        target: id("target")?.map(TargetId),
        orchestration: id("orchestration")?.map(OrchestrationId),
        success: row.try_get::<i64, _>("success")? != 0,
        detail: row.try_get("detail")?,
    })
}
