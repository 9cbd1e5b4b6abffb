//! Users, sessions and tokens.

use std::collections::HashMap;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Mutex;

use driver::AuditRow;
use model::{Millis, TargetId, Timestamp};

use super::access::{Permission, Principal, Role, Scope};
use super::records::{LoggedIn, NewToken, NewUser, TokenInfo, TokenMade, UserInfo};
use super::secret::{one_time_password, random_word};
use super::{Control, ControlError, unavailable};
use crate::store::{AccountRow, Database, NewTokenRow, ShownToken, TokenRow, sha256};

const SESSION: Millis = Millis::secs(12 * 3600);
const TOKEN_DEFAULT: Millis = Millis::secs(90 * 24 * 3600);
const TOKEN_MAX: Millis = Millis::secs(366 * 24 * 3600);
/// "Last used" is kept to the minute: it costs a write.
const TOUCH: Millis = Millis::secs(60);

/// So many wrong passwords in a row for one user from one place, then none is looked at for a while.
const WRONG_MAX: u32 = 5;
/// The same for all users together, so that nobody goes through names.
const WRONG_MAX_PLACE: u32 = 100;
const WRONG_PAUSE: Millis = Millis::secs(60);
/// Users and places that are remembered.
const WRONG_KEPT: usize = 10_000;

/// Attempts by user and place. Each counts as wrong from its begin until its password has proven right: else as many as can be
/// begun at once would be looked at. Keys are hashes, since names are as long as whoever asks likes.
#[derive(Debug, Default)]
pub(super) struct Throttle(Mutex<HashMap<[u8; 32], (u32, Timestamp)>>);

/// One attempt's place in the [`Throttle`].
struct Attempt {
    pair: [u8; 32],
    place: [u8; 32],
}

impl Attempt {
    fn new(user: &str, place: &str) -> Self {
        Self { pair: sha256(format!("{place}\n{user}").as_bytes()), place: sha256(place.as_bytes()) }
    }
}

impl Throttle {
    /// Counts an attempt, or says how long to wait.
    fn begin(&self, attempt: &Attempt, now: Timestamp) -> Result<(), Millis> {
        // A clock that was set back makes nobody wait longer.
        let counts = |last: Timestamp| last <= now && now.since(last) < WRONG_PAUSE;
        let mut tried = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let limits = [(attempt.pair, WRONG_MAX), (attempt.place, WRONG_MAX_PLACE)];
        for (key, most) in limits {
            if let Some((count, last)) = tried.get(&key)
                && *count >= most
                && counts(*last)
            {
                return Err((*last + WRONG_PAUSE).since(now));
            }
        }
        if tried.len() + limits.len() > WRONG_KEPT {
            tried.retain(|_, (_, last)| counts(*last));
            while tried.len() + limits.len() > WRONG_KEPT {
                let Some(oldest) = tried.iter().min_by_key(|(_, (_, last))| *last).map(|(key, _)| *key) else { break };
                tried.remove(&oldest);
            }
        }
        for (key, _) in limits {
            let (count, last) = tried.entry(key).or_insert((0, now));
            *count = if counts(*last) { *count + 1 } else { 1 };
            *last = now;
        }
        Ok(())
    }

    /// It was right after all.
    fn right(&self, attempt: &Attempt) {
        let mut tried = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        tried.remove(&attempt.pair);
        if let Some((count, _)) = tried.get_mut(&attempt.place) {
            *count = count.saturating_sub(1);
        }
    }
}

/// Rights and accounts.
impl Control {
    /// Whether `who` may do it (with this host, where one is named). A refusal is audited.
    ///
    /// # Errors
    /// [`ControlError::Forbidden`]; [`ControlError::NotFound`] for a host that is not known, if the role would do;
    /// [`ControlError::Unavailable`] before the first start.
    #[expect(clippy::unused_async, reason = "part of the contract: a store of rights may be asked one day")]
    pub async fn authorize(&self, who: &Principal, permission: Permission, host: Option<TargetId>) -> Result<(), ControlError> {
        let refuse = |outside_scope| {
            let error = ControlError::Forbidden { permission, outside_scope };
            self.refused(&who.name, permission.as_str(), host, &error.to_string());
            Err(error)
        };
        if !who.has(permission) {
            return refuse(false);
        }
        let Some(host) = host else { return Ok(()) };
        let directory = self.directory()?;
        if !directory.hosts.contains_key(&host) {
            return Err(ControlError::NotFound(format!("there is no host with the id {host}; `reveille hosts` lists them")));
        }
        if directory.is_in(&who.scope, host) { Ok(()) } else { refuse(true) }
    }

    /// Logs in with a password; gives a session token, good for twelve hours. With `new_password` the password is replaced
    /// at once, and all other sessions of the user end. `peer` is the address of whoever asks.
    ///
    /// # Errors
    /// [`ControlError::Unauthenticated`] (audited); [`ControlError::PasswordChangeRequired`] for a one-time password without
    /// a new one; [`ControlError::TooManyAttempts`]; [`ControlError::Invalid`] for a new password that is too short.
    pub async fn login(
        &self,
        peer: &str,
        user: &str,
        password: &str,
        new_password: Option<&str>,
    ) -> Result<LoggedIn, ControlError> {
        let now = self.now();
        // All addresses of one IPv6 subscriber count as one.
        let place = peer.parse::<IpAddr>().map_or_else(
            |_| peer.to_owned(),
            |ip| match ip {
                IpAddr::V6(ip) => format!("{:x?}", &ip.segments()[..4]),
                IpAddr::V4(ip) => ip.to_string(),
            },
        );
        let attempt = Attempt::new(user, &place);
        self.shared.throttle.begin(&attempt, now).map_err(|retry_after| ControlError::TooManyAttempts { retry_after })?;
        let account = self.shared.database.account(user).await.map_err(unavailable)?;
        let hash = account.as_ref().map(|account| account.password.as_str());
        let fits = self.shared.passwords.fits(password, hash).await?;
        let (Some(account), true) = (account, fits) else {
            self.refused(peer, "login", None, &format!("wrong user name or password for {user:?}"));
            return Err(ControlError::Unauthenticated("wrong user name or password".to_owned()));
        };
        self.shared.throttle.right(&attempt);
        let line = |action: &str, detail: String| self.line(&account.name, action, detail);
        if let Some(new_password) = new_password {
            if new_password == password {
                return Err(ControlError::Invalid("the new password is the old one".to_owned()));
            }
            let hash = self.shared.passwords.hash(new_password).await?;
            let changed = line("password_changed", format!("user {} changed its password", account.name));
            self.shared.database.set_password(&account.name, &hash, false, changed).await.map_err(unavailable)?;
            if account.must_change {
                self.shared.forget_one_time_password(&account.name);
            }
        } else if account.must_change {
            return Err(ControlError::PasswordChangeRequired);
        }
        let role = role(&account.role)?;
        let secret = format!("rvls_{}", random_word()?);
        let expires_at = now + SESSION;
        let row = NewTokenRow {
            account: account.name.clone(),
            name: None,
            hash: sha256(secret.as_bytes()),
            role: account.role.clone(),
            may_force: account.may_force,
            scope: account.scope.clone(),
            created_at: now,
            expires_at,
        };
        let made = self.shared.database.insert_token(&row, line("login", format!("user {} logged in from {peer}", account.name)));
        let token = made
            .await
            .map_err(unavailable)?
            .ok_or_else(|| ControlError::Unavailable("no session could be made: try again".to_owned()))?;
        let scope = scope(&account.scope)?;
        let who =
            Principal { name: account.name.clone(), role, may_force: account.may_force, scope, token: Some(token), expires_at };
        Ok(LoggedIn { user: account.name, token: secret, expires_at, role, permissions: who.permissions() })
    }

    /// Who shows this token (session or API token)? What it may do is what token *and* user may now.
    ///
    /// # Errors
    /// [`ControlError::Unauthenticated`] when it is unknown, revoked or expired; [`ControlError::Unavailable`].
    pub async fn verify(&self, token: &str) -> Result<Principal, ControlError> {
        let unknown = || ControlError::Unauthenticated("this token is not known, or was revoked: log in again".to_owned());
        if token.len() > 200 || !token.starts_with("rvl") {
            return Err(unknown());
        }
        let shown = self.shared.database.token_by_hash(&sha256(token.as_bytes())).await.map_err(unavailable)?;
        let ShownToken { token, account } = shown.ok_or_else(unknown)?;
        let now = self.now();
        if now >= token.expires_at {
            return Err(ControlError::Unauthenticated(format!("this token was good until {}: log in again", token.expires_at)));
        }
        let (own, users) = (scope(&token.scope)?, scope(&account.scope)?);
        let principal = if let Some(name) = &token.name {
            let reaches_further =
                || ControlError::Unauthenticated("this token reaches further than its user may now: make a new one".to_owned());
            if !users.contains(&own) {
                return Err(reaches_further());
            }
            // The smaller one of what the token was made for and what its user may do now.
            let (wanted, users_role) = (role(&token.role)?, role(&account.role)?);
            let least =
                if wanted.is_within(users_role) { Some(wanted) } else { Some(users_role).filter(|role| role.is_within(wanted)) };
            Principal {
                name: format!("{}/{name}", account.name),
                role: least.ok_or_else(reaches_further)?,
                may_force: token.may_force && account_may_force(&account)?,
                scope: own,
                token: Some(token.id),
                expires_at: token.expires_at,
            }
        } else {
            // A session can do what its user can now.
            Principal {
                name: account.name,
                role: role(&account.role)?,
                may_force: account.may_force,
                scope: users,
                token: Some(token.id),
                expires_at: token.expires_at,
            }
        };
        if token.last_used_at.is_none_or(|last| now.since(last) >= TOUCH)
            && let Err(error) = self.shared.database.touch_token(token.id, now).await
        {
            tracing::warn!("the last use of a token was not written down: {error}");
        }
        Ok(principal)
    }

    /// Whether the token that was once shown still counts: for whoever goes on listening.
    pub async fn is_valid(&self, who: &Principal) -> bool {
        self.shared.is_valid(who).await
    }

    /// Ends the token that was shown.
    ///
    /// # Errors
    /// [`ControlError::Unavailable`].
    pub async fn logout(&self, who: &Principal) -> Result<(), ControlError> {
        let line = self.line(&who.name, "logout", format!("{} logged out", who.name));
        let Some(token) = who.token else { return Ok(()) };
        self.shared.database.delete_token(token, None, line).await.map(drop).map_err(unavailable)
    }

    /// Makes an API token that can do at most what its maker can. Only a session can make tokens.
    ///
    /// # Errors
    /// [`ControlError::Forbidden`] for more than the maker has; [`ControlError::Invalid`] for a bad name or duration;
    /// [`ControlError::Conflict`] when one has a token of that name.
    pub async fn create_token(&self, by: &Principal, new: NewToken) -> Result<TokenMade, ControlError> {
        if by.name.contains('/') {
            let text = "a token cannot make tokens: log in with a password";
            self.refused(&by.name, "token_created", None, text);
            return Err(ControlError::Forbidden { permission: Permission::ManageAccess, outside_scope: false });
        }
        check_word("the name of a token", &new.name, 64)?;
        let wanted = new.scope.unwrap_or_else(|| by.scope.clone());
        let may_force = new.may_force;
        if !new.role.is_within(by.role) || (may_force && !by.has(Permission::Force)) {
            return self.forbid(by, if may_force { Permission::Force } else { Permission::ManageAccess }, false, "token_created");
        }
        if !by.scope.contains(&wanted) {
            return self.forbid(by, Permission::ManageAccess, true, "token_created");
        }
        let valid_for = new.valid_for.unwrap_or(TOKEN_DEFAULT);
        if valid_for == Millis(0) || valid_for > TOKEN_MAX {
            return Err(ControlError::Invalid("a token is good for 1 ms to 366 days".to_owned()));
        }
        let now = self.now();
        let (secret, expires_at) = (format!("rvlt_{}", random_word()?), now + valid_for);
        let row = NewTokenRow {
            account: by.name.clone(),
            name: Some(new.name.clone()),
            hash: sha256(secret.as_bytes()),
            role: new.role.to_string(),
            may_force,
            scope: wanted.to_string(),
            created_at: now,
            expires_at,
        };
        let line = self.line(
            &by.name,
            "token_created",
            format!("token {} with role {} for {wanted}, until {expires_at}", new.name, new.role),
        );
        let id = self.shared.database.insert_token(&row, line).await.map_err(unavailable)?;
        let id = id.ok_or_else(|| {
            ControlError::Conflict(format!("you have a token {:?} already: revoke it or choose another name", new.name))
        })?;
        Ok(TokenMade { id, token: secret, expires_at })
    }

    /// One's own tokens, and with [`Permission::ManageAccess`] those of others that reach no further than oneself. Newest
    /// first, expired ones too.
    ///
    /// # Errors
    /// [`ControlError::Unavailable`].
    pub async fn tokens(&self, by: &Principal) -> Result<Vec<TokenInfo>, ControlError> {
        let own = (!by.has(Permission::ManageAccess)).then(|| by.user());
        let rows = self.shared.database.tokens(own).await.map_err(unavailable)?;
        let tokens = rows.into_iter().map(token_info).collect::<Result<Vec<_>, _>>()?;
        Ok(tokens.into_iter().filter(|token| token.user == by.user() || by.scope.contains(&token.scope)).collect())
    }

    /// Ends a token at once: any that [`Control::tokens`] shows.
    ///
    /// # Errors
    /// [`ControlError::NotFound`], for tokens of others too; [`ControlError::Unavailable`].
    pub async fn revoke_token(&self, by: &Principal, id: i64) -> Result<(), ControlError> {
        let own = (!by.has(Permission::ManageAccess)).then(|| by.user());
        let line = self.line(&by.name, "token_revoked", format!("token {id} revoked"));
        let shown = self.tokens(by).await?.iter().any(|token| token.id == id);
        if !shown {
            self.refused(&by.name, "token_revoked", None, &format!("token {id} is not within reach"));
        }
        let found = shown && self.shared.database.delete_token(id, own, line).await.map_err(unavailable)?;
        if found { Ok(()) } else { Err(ControlError::NotFound(format!("there is no token {id} of yours"))) }
    }

    /// Makes a user; gives a one-time password that is to be replaced at the first login. Needs [`Permission::ManageAccess`].
    ///
    /// # Errors
    /// [`ControlError::Conflict`] when the name is taken; [`ControlError::Invalid`] for a bad name; rights.
    pub async fn create_user(&self, by: &Principal, new: NewUser) -> Result<String, ControlError> {
        self.authorize(by, Permission::ManageAccess, None).await?;
        if !by.scope.contains(&new.scope) {
            return self.forbid(by, Permission::ManageAccess, true, "user_created");
        }
        check_word("a user name", &new.name, 64)?;
        if new.name == super::CONFIGURATION {
            return Err(ControlError::Invalid(format!(
                "{:?} stands for the server's own configuration: take another name",
                new.name
            )));
        }
        let password = one_time_password()?;
        let row = AccountRow {
            name: new.name.clone(),
            role: new.role.to_string(),
            may_force: new.may_force,
            scope: new.scope.to_string(),
            password: self.shared.passwords.hash(&password).await?,
            must_change: true,
            created_at: self.now(),
        };
        let line = self.line(&by.name, "user_created", format!("user {} with role {} for {}", new.name, new.role, new.scope));
        if self.shared.database.insert_account(&row, line).await.map_err(unavailable)? {
            Ok(password)
        } else {
            Err(ControlError::Conflict(format!("there is a user {:?} already", new.name)))
        }
    }

    /// All users, by name. Needs [`Permission::ManageAccess`].
    ///
    /// # Errors
    /// Rights; [`ControlError::Unavailable`].
    pub async fn users(&self, by: &Principal) -> Result<Vec<UserInfo>, ControlError> {
        self.authorize(by, Permission::ManageAccess, None).await?;
        let rows = self.shared.database.accounts().await.map_err(unavailable)?;
        rows.into_iter()
            .map(|row| {
                Ok(UserInfo {
                    role: role(&row.role)?,
                    scope: scope(&row.scope)?,
                    name: row.name,
                    may_force: row.may_force,
                    must_change_password: row.must_change,
                    created_at: row.created_at,
                })
            })
            .collect()
    }

    /// Removes a user and all its tokens. Needs [`Permission::ManageAccess`]; the last administrator stays.
    ///
    /// # Errors
    /// [`ControlError::NotFound`]; [`ControlError::Conflict`] for the last administrator; rights.
    pub async fn delete_user(&self, by: &Principal, name: &str) -> Result<(), ControlError> {
        self.authorize(by, Permission::ManageAccess, None).await?;
        let known = self.shared.database.account(name).await.map_err(unavailable)?;
        if let Some(known) = &known
            && !by.scope.contains(&scope(&known.scope)?)
        {
            return self.forbid(by, Permission::ManageAccess, true, "user_deleted");
        }
        let line = self.line(&by.name, "user_deleted", format!("user {name} deleted, with all its tokens"));
        match self.shared.database.delete_account(name, Role::Admin.as_str(), line).await.map_err(unavailable)? {
            Some(true) => Ok(()),
            Some(false) => Err(ControlError::Conflict(format!("{name} is the last administrator and stays"))),
            None => Err(ControlError::NotFound(format!("there is no user {name:?}"))),
        }
    }

    fn forbid<T>(&self, by: &Principal, permission: Permission, outside_scope: bool, action: &str) -> Result<T, ControlError> {
        let error = ControlError::Forbidden { permission, outside_scope };
        self.refused(&by.name, action, None, &error.to_string());
        Err(error)
    }

    fn line(&self, actor: &str, action: &str, detail: String) -> AuditRow {
        AuditRow {
            at: self.now(),
            actor: actor.to_owned(),
            action: action.to_owned(),
            target: None,
            orchestration: None,
            success: true,
            detail,
        }
    }

    pub(super) fn own_line(&self, who: &Principal, action: &str, detail: String) -> AuditRow {
        self.line(&who.name, action, detail)
    }
}

/// The name of the administrator that the first start makes.
pub const ADMINISTRATOR: &str = "admin";

/// Makes the first administrator if there is no user at all, or gives `admin` a new one-time password if `reset`. The
/// password goes through `keep` (which writes it where only the owner reads it) before it counts.
///
/// # Errors
/// [`ControlError::Unavailable`], also with what `keep` said.
pub async fn ensure_administrator(
    database: &Database,
    now: Timestamp,
    reset: bool,
    keep: impl FnOnce(&str) -> Result<(), String>,
) -> Result<bool, ControlError> {
    let accounts = database.accounts().await.map_err(unavailable)?;
    if !accounts.is_empty() && !reset {
        return Ok(false);
    }
    let password = one_time_password()?;
    let hash = super::secret::Passwords::new().await?.hash(&password).await?;
    keep(&password).map_err(ControlError::Unavailable)?;
    let line = |action: &str, detail: &str| AuditRow {
        at: now,
        actor: "system".to_owned(),
        action: action.to_owned(),
        target: None,
        orchestration: None,
        success: true,
        detail: detail.to_owned(),
    };
    let row = AccountRow {
        name: ADMINISTRATOR.to_owned(),
        role: Role::Admin.to_string(),
        may_force: true,
        scope: Scope::all().to_string(),
        password: hash.clone(),
        must_change: true,
        created_at: now,
    };
    if !database
        .insert_account(&row, line("user_created", "the first administrator, with a one-time password"))
        .await
        .map_err(unavailable)?
    {
        let reset = line("password_reset", "a one-time password for the administrator, made on the controller's host");
        database.set_password(ADMINISTRATOR, &hash, true, reset).await.map_err(unavailable)?;
    }
    Ok(true)
}

/// Removes the file with the one-time password once it is of no use any more.
pub(super) fn forget(file: &Path) {
    match std::fs::remove_file(file) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            tracing::warn!("{} holds a password that is not valid any more and could not be removed: {error}", file.display());
        }
        _ => {}
    }
}

/// Names of users and tokens: they stand in logs and addresses.
fn check_word(what: &str, word: &str, longest: usize) -> Result<(), ControlError> {
    let fits = |c: char| c.is_ascii_alphanumeric() || "-_.@".contains(c);
    if word.is_empty() || word.len() > longest || !word.chars().all(fits) || word == "system" {
        return Err(ControlError::Invalid(format!(
            "{what} has 1 to {longest} letters, digits, or any of - _ . @, and is not \"system\""
        )));
    }
    Ok(())
}

fn account_may_force(account: &AccountRow) -> Result<bool, ControlError> {
    Ok(account.may_force || role(&account.role)?.grants(Permission::Force))
}

fn token_info(row: TokenRow) -> Result<TokenInfo, ControlError> {
    Ok(TokenInfo {
        role: role(&row.role)?,
        scope: scope(&row.scope)?,
        id: row.id,
        user: row.account,
        name: row.name,
        may_force: row.may_force,
        created_at: row.created_at,
        expires_at: row.expires_at,
        last_used_at: row.last_used_at,
    })
}

/// The store holds a word that this program does not know: nobody gets in on it.
fn role(text: &str) -> Result<Role, ControlError> {
    text.parse().map_err(|error| ControlError::Unavailable(format!("in the store: {error}")))
}

fn scope(text: &str) -> Result<Scope, ControlError> {
    text.parse().map_err(|error| ControlError::Unavailable(format!("in the store: {error}")))
}
