//! Enrolment tokens and the devices that used them (ruling 27).

use driver::{AuditRow, StoreError};
use model::{Labels, TargetId, Timestamp};
use sqlx::sqlite::SqliteRow;
use sqlx::{Row as _, Sqlite, SqliteConnection};

use super::audit;
use super::open::{Database, store_error};

/// A token to be made.
#[derive(Clone, Debug)]
pub struct NewEnrolmentRow {
    /// SHA-256 of its secret.
    pub hash: [u8; 32],
    /// The intended name.
    pub name: String,
    /// Labels of the host.
    pub labels: Labels,
    /// Who made it.
    pub created_by: String,
    /// When.
    pub created_at: Timestamp,
    /// Not good after.
    pub expires_at: Timestamp,
}

/// What a device shows.
#[derive(Clone, Debug)]
pub struct DeviceRow {
    /// The id that it gets if its machine id is new.
    pub new_host: TargetId,
    /// Its machine id.
    pub machine_id: String,
    /// The name that it wants.
    pub name: String,
    /// Its public key, as text.
    pub public_key: String,
    /// SHA-256 of the secret that it gets for the broker.
    pub secret_hash: [u8; 32],
    /// Now.
    pub at: Timestamp,
}

/// A token used up, a device written down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claimed {
    /// Its id: the old one for a known machine.
    pub host: TargetId,
    /// Labels of the token.
    pub labels: Labels,
    /// The machine was known.
    pub known: bool,
}

/// Why a token was not taken. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClaimRefused {
    /// No such token.
    #[error("this enrolment token is not known here")]
    Unknown,
    /// Used before.
    #[error("this enrolment token was used already, at {0}")]
    Used(Timestamp),
    /// Too late.
    #[error("this enrolment token was good until {0}")]
    Expired(Timestamp),
    /// For another name.
    #[error("this enrolment token is for a host named {0:?}")]
    OtherName(String),
    /// A known machine under another name.
    #[error("the machine id is that of host {0:?}: if this machine was cloned from it, give it a machine id of its own")]
    KnownAs(String),
    /// The name belongs to another machine.
    #[error("another machine is enrolled as {0:?}: choose another name")]
    NameTaken(String),
}

impl Database {
    /// Makes an enrolment token.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn insert_enrolment(&self, new: &NewEnrolmentRow, line: AuditRow) -> Result<(), StoreError> {
        let labels = serde_json::to_string(&new.labels).map_err(|error| StoreError::Other(error.to_string()))?;
        let mut transaction = self.write().await?;
        let insert = sqlx::query(
            "INSERT INTO enrolment (hash, name, labels, created_by, created_at, expires_at) VALUES ($1, $2, $3, $4, $5, $6)",
        );
        let insert = insert
            .bind(new.hash.to_vec())
            .bind(new.name.clone())
            .bind(labels)
            .bind(new.created_by.clone())
            .bind(new.created_at.millis())
            .bind(new.expires_at.millis());
        insert.execute(&mut *transaction).await.map_err(store_error)?;
        audit::insert(&mut transaction, &[line]).await?;
        transaction.commit().await.map_err(store_error)
    }

    /// Uses a token up and writes the device down, in one transaction: of two that show it at once, one is refused. Devices of
    /// hosts that do not belong to the fleet any more are forgotten: their names and machines are free.
    ///
    /// # Errors
    /// [`StoreError`]; inside, why the token is not taken.
    pub async fn claim_enrolment(
        &self,
        hash: &[u8; 32],
        device: &DeviceRow,
        belongs: &(dyn Fn(TargetId) -> bool + Sync),
    ) -> Result<Result<Claimed, ClaimRefused>, StoreError> {
        let mut transaction = self.write().await?;
        let claimed = claim(&mut transaction, hash, device, belongs).await.map_err(store_error)?;
        if claimed.is_ok() {
            transaction.commit().await.map_err(store_error)?;
        }
        Ok(claimed)
    }

    /// What is stored of the broker secret of this host for this key.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn device_secret(&self, host: TargetId, public_key: &str) -> Result<Option<[u8; 32]>, StoreError> {
        let select = sqlx::query_scalar::<Sqlite, Vec<u8>>("SELECT secret_hash FROM device WHERE host = $1 AND public_key = $2");
        let hash = select.bind(host.to_string()).bind(public_key.to_owned()).fetch_optional(&self.inner.readers).await;
        Ok(hash.map_err(store_error)?.and_then(|hash| hash.try_into().ok()))
    }
}

async fn claim(
    connection: &mut SqliteConnection,
    hash: &[u8; 32],
    device: &DeviceRow,
    belongs: &(dyn Fn(TargetId) -> bool + Sync),
) -> Result<Result<Claimed, ClaimRefused>, sqlx::Error> {
    let select = sqlx::query("SELECT name, labels, expires_at, used_at FROM enrolment WHERE hash = $1").bind(hash.to_vec());
    let Some(row) = select.fetch_optional(&mut *connection).await? else { return Ok(Err(ClaimRefused::Unknown)) };
    let name: String = row.try_get("name")?;
    let expires_at = Timestamp::from_millis(row.try_get("expires_at")?);
    if let Some(used) = row.try_get::<Option<i64>, _>("used_at")? {
        return Ok(Err(ClaimRefused::Used(Timestamp::from_millis(used))));
    }
    if device.at >= expires_at {
        return Ok(Err(ClaimRefused::Expired(expires_at)));
    }
    if device.name != name {
        return Ok(Err(ClaimRefused::OtherName(name)));
    }
    let labels: Labels = serde_json::from_str(row.try_get("labels")?).map_err(|error| sqlx::Error::Decode(error.into()))?;
    let select = sqlx::query("SELECT host, name, machine_id FROM device WHERE machine_id = $1 OR name = $2");
    let rows = select.bind(device.machine_id.clone()).bind(name.clone()).try_map(|row: SqliteRow| {
        let host: String = row.try_get(0)?;
        let host = host.parse::<TargetId>().map_err(|error| sqlx::Error::Decode(error.into()))?;
        Ok((host, row.try_get::<String, _>(1)?, row.try_get::<String, _>(2)?))
    });
    let mut known = None;
    for (host, other_name, machine_id) in rows.fetch_all(&mut *connection).await? {
        if !belongs(host) {
            let forget = sqlx::query("DELETE FROM device WHERE host = $1").bind(host.to_string());
            forget.execute(&mut *connection).await?;
            continue;
        }
        if machine_id != device.machine_id {
            return Ok(Err(ClaimRefused::NameTaken(name)));
        }
        if other_name != name {
            return Ok(Err(ClaimRefused::KnownAs(other_name)));
        }
        known = Some(host);
    }
    let host = known.unwrap_or(device.new_host);
    let insert = sqlx::query(
        "INSERT INTO device (host, machine_id, name, public_key, secret_hash, enrolled_at) VALUES ($1, $2, $3, $4, $5, $6) \
         ON CONFLICT (host, public_key) DO UPDATE SET secret_hash = excluded.secret_hash, enrolled_at = excluded.enrolled_at",
    );
    let insert = insert
        .bind(host.to_string())
        .bind(device.machine_id.clone())
        .bind(name)
        .bind(device.public_key.clone())
        .bind(device.secret_hash.to_vec())
        .bind(device.at.millis());
    insert.execute(&mut *connection).await?;
    let used = sqlx::query("UPDATE enrolment SET used_at = $2 WHERE hash = $1").bind(hash.to_vec()).bind(device.at.millis());
    used.execute(&mut *connection).await?;
    Ok(Ok(Claimed { host, labels, known: known.is_some() }))
}
