//! Users and tokens. Roles and scopes are text here; their meaning is control's.

use driver::{AuditRow, StoreError};
use model::Timestamp;
use sqlx::Row as _;
use sqlx::sqlite::SqliteRow;

use super::audit;
use super::open::{Database, store_error};

/// A user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountRow {
    /// Its name.
    pub name: String,
    /// Its role.
    pub role: String,
    /// May force.
    pub may_force: bool,
    /// Its hosts.
    pub scope: String,
    /// Hash in PHC format.
    pub password: String,
    /// The password is a one-time one.
    pub must_change: bool,
    /// Made.
    pub created_at: Timestamp,
}

/// A token to be made.
#[derive(Clone, Debug)]
pub struct NewTokenRow {
    /// Whose.
    pub account: String,
    /// `None` for a session.
    pub name: Option<String>,
    /// SHA-256 of its secret.
    pub hash: [u8; 32],
    /// Its role.
    pub role: String,
    /// May force.
    pub may_force: bool,
    /// Its hosts.
    pub scope: String,
    /// Made.
    pub created_at: Timestamp,
    /// Ends.
    pub expires_at: Timestamp,
}

/// A token in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenRow {
    /// Names it.
    pub id: i64,
    /// Whose.
    pub account: String,
    /// `None` for a session.
    pub name: Option<String>,
    /// Its role.
    pub role: String,
    /// May force.
    pub may_force: bool,
    /// Its hosts.
    pub scope: String,
    /// Made.
    pub created_at: Timestamp,
    /// Ends.
    pub expires_at: Timestamp,
    /// Last shown.
    pub last_used_at: Option<Timestamp>,
}

/// A token that was shown, with the user that it belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShownToken {
    /// The token.
    pub token: TokenRow,
    /// Whose.
    pub account: AccountRow,
}

impl Database {
    /// One user.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn account(&self, name: &str) -> Result<Option<AccountRow>, StoreError> {
        let select =
            sqlx::query("SELECT name, role, may_force, scope, password, must_change, created_at FROM account WHERE name = $1");
        let row = select.bind(name.to_owned()).try_map(|row: SqliteRow| account(&row, "name"));
        row.fetch_optional(&self.inner.readers).await.map_err(store_error)
    }

    /// All users, by name.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn accounts(&self) -> Result<Vec<AccountRow>, StoreError> {
        let select =
            sqlx::query("SELECT name, role, may_force, scope, password, must_change, created_at FROM account ORDER BY name");
        select.try_map(|row: SqliteRow| account(&row, "name")).fetch_all(&self.inner.readers).await.map_err(store_error)
    }

    /// Makes a user; `false` when the name is taken.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn insert_account(&self, row: &AccountRow, line: AuditRow) -> Result<bool, StoreError> {
        let mut transaction = self.write().await?;
        let insert = sqlx::query(
            "INSERT INTO account (name, role, may_force, scope, password, must_change, created_at) VALUES ($1, $2, $3, $4, $5, $6, $7) \
             ON CONFLICT (name) DO NOTHING",
        );
        let insert = insert
            .bind(row.name.clone())
            .bind(row.role.clone())
            .bind(i64::from(row.may_force))
            .bind(row.scope.clone())
            .bind(row.password.clone())
            .bind(i64::from(row.must_change))
            .bind(row.created_at.millis());
        let made = insert.execute(&mut *transaction).await.map_err(store_error)?.rows_affected() == 1;
        if made {
            audit::insert(&mut transaction, &[line]).await?;
            transaction.commit().await.map_err(store_error)?;
        }
        Ok(made)
    }

    /// Replaces a password and ends all sessions of the user; its API tokens stay.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn set_password(&self, name: &str, password: &str, must_change: bool, line: AuditRow) -> Result<(), StoreError> {
        let mut transaction = self.write().await?;
        let update = sqlx::query("UPDATE account SET password = $2, must_change = $3 WHERE name = $1");
        let update = update.bind(name.to_owned()).bind(password.to_owned()).bind(i64::from(must_change));
        update.execute(&mut *transaction).await.map_err(store_error)?;
        let end = sqlx::query("DELETE FROM token WHERE account = $1 AND name IS NULL").bind(name.to_owned());
        end.execute(&mut *transaction).await.map_err(store_error)?;
        audit::insert(&mut transaction, &[line]).await?;
        transaction.commit().await.map_err(store_error)
    }

    /// Removes a user with all its tokens, unless it is the last of the role `keep_one`. `None` when there is no such user,
    /// `Some(false)` when it is the last.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn delete_account(&self, name: &str, keep_one: &str, line: AuditRow) -> Result<Option<bool>, StoreError> {
        let mut transaction = self.write().await?;
        let select = sqlx::query_scalar::<_, String>("SELECT role FROM account WHERE name = $1").bind(name.to_owned());
        let Some(role) = select.fetch_optional(&mut *transaction).await.map_err(store_error)? else { return Ok(None) };
        let count = sqlx::query_scalar::<_, i64>("SELECT COUNT(*) FROM account WHERE role = $1").bind(role.clone());
        if role == keep_one && count.fetch_one(&mut *transaction).await.map_err(store_error)? < 2 {
            return Ok(Some(false));
        }
        let delete = sqlx::query("DELETE FROM account WHERE name = $1").bind(name.to_owned());
        delete.execute(&mut *transaction).await.map_err(store_error)?;
        audit::insert(&mut transaction, &[line]).await?;
        transaction.commit().await.map_err(store_error)?;
        Ok(Some(true))
    }

    /// Makes a token and clears away those of the same user that have expired; `None` when the name is taken.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn insert_token(&self, new: &NewTokenRow, line: AuditRow) -> Result<Option<i64>, StoreError> {
        let mut transaction = self.write().await?;
        let clear = sqlx::query("DELETE FROM token WHERE account = $1 AND expires_at <= $2");
        let clear = clear.bind(new.account.clone()).bind(new.created_at.millis());
        clear.execute(&mut *transaction).await.map_err(store_error)?;
        let insert = sqlx::query(
            "INSERT INTO token (account, name, hash, role, may_force, scope, created_at, expires_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
        );
        let insert = insert
            .bind(new.account.clone())
            .bind(new.name.clone())
            .bind(new.hash.to_vec())
            .bind(new.role.clone())
            .bind(i64::from(new.may_force))
            .bind(new.scope.clone())
            .bind(new.created_at.millis())
            .bind(new.expires_at.millis());
        let id = match insert.execute(&mut *transaction).await {
            Ok(done) => done.last_insert_rowid(),
            Err(sqlx::Error::Database(error)) if error.is_unique_violation() => return Ok(None),
            Err(error) => return Err(store_error(error)),
        };
        audit::insert(&mut transaction, &[line]).await?;
        transaction.commit().await.map_err(store_error)?;
        Ok(Some(id))
    }

    /// The token with this hash, expired or not.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn token_by_hash(&self, hash: &[u8; 32]) -> Result<Option<ShownToken>, StoreError> {
        let select = sqlx::query(
            "SELECT t.id, t.account, t.name, t.role, t.may_force, t.scope, t.created_at, t.expires_at, t.last_used_at, \
             a.role AS account_role, a.may_force AS account_may_force, a.scope AS account_scope, a.password, a.must_change, \
             a.created_at AS account_created_at FROM token t JOIN account a ON a.name = t.account WHERE t.hash = $1",
        );
        let row = select.bind(hash.to_vec()).try_map(|row: SqliteRow| {
            let account = AccountRow {
                name: row.try_get("account")?,
                role: row.try_get("account_role")?,
                may_force: row.try_get::<i64, _>("account_may_force")? != 0,
                scope: row.try_get("account_scope")?,
                password: row.try_get("password")?,
                must_change: row.try_get::<i64, _>("must_change")? != 0,
                created_at: Timestamp::from_millis(row.try_get("account_created_at")?),
            };
            Ok(ShownToken { token: token(&row)?, account })
        });
        row.fetch_optional(&self.inner.readers).await.map_err(store_error)
    }

    /// When the token of this id ends; `None` when it was revoked or went with its user.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn token_end(&self, id: i64) -> Result<Option<Timestamp>, StoreError> {
        let select = sqlx::query_scalar::<_, i64>("SELECT expires_at FROM token WHERE id = $1").bind(id);
        let end = select.fetch_optional(&self.inner.readers).await.map_err(store_error)?;
        Ok(end.map(Timestamp::from_millis))
    }

    /// Notes that a token was shown.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn touch_token(&self, id: i64, at: Timestamp) -> Result<(), StoreError> {
        let mut transaction = self.write().await?;
        let update = sqlx::query("UPDATE token SET last_used_at = $2 WHERE id = $1").bind(id).bind(at.millis());
        update.execute(&mut *transaction).await.map_err(store_error)?;
        transaction.commit().await.map_err(store_error)
    }

    /// Tokens of one user, or of all, newest first.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn tokens(&self, account: Option<&str>) -> Result<Vec<TokenRow>, StoreError> {
        let select = sqlx::query(
            "SELECT id, account, name, role, may_force, scope, created_at, expires_at, last_used_at FROM token \
             WHERE $1 IS NULL OR account = $1 ORDER BY id DESC",
        );
        let rows = select.bind(account.map(str::to_owned)).try_map(|row: SqliteRow| token(&row));
        rows.fetch_all(&self.inner.readers).await.map_err(store_error)
    }

    /// Ends a token, of this user only if one is named; whether there was one.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn delete_token(&self, id: i64, account: Option<&str>, line: AuditRow) -> Result<bool, StoreError> {
        let mut transaction = self.write().await?;
        let delete = sqlx::query("DELETE FROM token WHERE id = $1 AND ($2 IS NULL OR account = $2)");
        let delete = delete.bind(id).bind(account.map(str::to_owned));
        let done = delete.execute(&mut *transaction).await.map_err(store_error)?.rows_affected() == 1;
        if done {
            audit::insert(&mut transaction, &[line]).await?;
            transaction.commit().await.map_err(store_error)?;
        }
        Ok(done)
    }
}

fn account(row: &SqliteRow, name: &str) -> Result<AccountRow, sqlx::Error> {
    Ok(AccountRow {
        name: row.try_get(name)?,
        role: row.try_get("role")?,
        may_force: row.try_get::<i64, _>("may_force")? != 0,
        scope: row.try_get("scope")?,
        password: row.try_get("password")?,
        must_change: row.try_get::<i64, _>("must_change")? != 0,
        created_at: Timestamp::from_millis(row.try_get("created_at")?),
    })
}

fn token(row: &SqliteRow) -> Result<TokenRow, sqlx::Error> {
    Ok(TokenRow {
        id: row.try_get("id")?,
        account: row.try_get("account")?,
        name: row.try_get("name")?,
        role: row.try_get("role")?,
        may_force: row.try_get::<i64, _>("may_force")? != 0,
        scope: row.try_get("scope")?,
        created_at: Timestamp::from_millis(row.try_get("created_at")?),
        expires_at: Timestamp::from_millis(row.try_get("expires_at")?),
        last_used_at: row.try_get::<Option<i64>, _>("last_used_at")?.map(Timestamp::from_millis),
    })
}
