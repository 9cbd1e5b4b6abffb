//! The one place through which the API and the broker reach the engine.
//!
//! A single task owns the driver: it drains what waits, decides it together, and answers only after it is durable (design,
//! section 5). [`Control`] is a handle on it. Control itself sends no command: only the driver appends and sends.

mod access;
mod error;
mod records;

use engine::{Engine, HostView, View};
use futures_util::stream::BoxStream;
use model::{Millis, Operation, Options, OrchestrationId, TargetId, Timestamp};
use protocol::enrol::{EnrolAnswer, EnrolRequest};

pub use access::{BadScope, Permission, Principal, Role, Scope, UnknownRole};
pub use error::ControlError;
pub use records::{
    AuditFilter, AuditLine, EnrolmentToken, JournalLine, LoggedIn, Module, NewEnrolment, NewToken, NewUser, OrchestrationFilter, Page, Ready,
    TokenInfo, TokenMade, UserInfo, Watched,
};

/// A handle on the running controller; cheap to clone.
#[derive(Clone)]
pub struct Control {}

fn down<T>() -> Result<T, ControlError> {
    Err(ControlError::Unavailable("the controller is starting".to_owned()))
}

/// Deciding and doing.
impl Control {
    /// Asks for a reboot or shutdown. Needs [`Permission::RebootHost`] for the host, and [`Permission::Force`] when forced.
    /// Returns the id and how many running children were taken in (S0-37).
    ///
    /// # Errors
    /// [`ControlError::Refused`] with the engine's reasons; rights; an unknown host; [`ControlError::Unavailable`].
    pub async fn submit(
        &self,
        by: &Principal,
        target: TargetId,
        operation: Operation,
        options: Options,
    ) -> Result<(OrchestrationId, u32), ControlError> {
        let _ = (by, target, operation, options);
        down()
    }

    /// Stops an orchestration whose reboot was not handed over yet (ruling 24). Needs [`Permission::RebootHost`] for its host.
    ///
    /// # Errors
    /// [`ControlError::Refused`] when it is over or the reboot was issued; rights; an unknown id.
    pub async fn cancel(&self, by: &Principal, id: OrchestrationId) -> Result<(), ControlError> {
        let _ = (by, id);
        down()
    }

    /// Approves a host and the fingerprint of its key. Needs [`Permission::ManageHosts`].
    ///
    /// # Errors
    /// [`ControlError::Refused`] when it is approved already; rights; an unknown host; [`ControlError::Conflict`] when
    /// `fingerprint` is given and is not the one of the key that waits.
    pub async fn approve(&self, by: &Principal, host: TargetId, fingerprint: Option<&str>) -> Result<(), ControlError> {
        let _ = (by, host, fingerprint);
        down()
    }

    /// Says that a stranded target is fine, or that its alarm was seen. Needs [`Permission::RebootHost`] for its host.
    ///
    /// # Errors
    /// [`ControlError::Refused`] when there is nothing to acknowledge; rights; an unknown target.
    pub async fn acknowledge(&self, by: &Principal, target: TargetId) -> Result<(), ControlError> {
        let _ = (by, target);
        down()
    }

    /// Makes a token with which one device may enrol, once. Needs [`Permission::ManageHosts`].
    ///
    /// # Errors
    /// A bad name or duration; rights.
    pub async fn create_enrolment_token(&self, by: &Principal, new: NewEnrolment) -> Result<EnrolmentToken, ControlError> {
        let _ = (by, new);
        down()
    }

    /// A device shows its token and key. `peer` is for the audit only.
    ///
    /// # Errors
    /// [`ControlError::Unauthenticated`] for a wrong, used or expired token (audited); a name that is not the token's.
    pub async fn enrol(&self, peer: &str, request: EnrolRequest) -> Result<EnrolAnswer, ControlError> {
        let _ = (peer, request);
        down()
    }
}

/// Rights and accounts.
impl Control {
    /// Whether `who` may do it (with this host, where one is named). A refusal is audited.
    ///
    /// # Errors
    /// [`ControlError::Forbidden`]; [`ControlError::NotFound`] for a host that is not known, if the role would do.
    pub async fn authorize(&self, who: &Principal, permission: Permission, host: Option<TargetId>) -> Result<(), ControlError> {
        let _ = (who, permission, host);
        down()
    }

    /// Whether the license grants the module (ruling 3); always, unless licensing is required.
    ///
    /// # Errors
    /// [`ControlError::NotEntitled`].
    pub fn entitled(&self, module: Module) -> Result<(), ControlError> {
        let _ = module;
        down()
    }

    /// Logs in with a password; gives a session token, good for twelve hours. With `new_password` the password is replaced at once.
    ///
    /// # Errors
    /// [`ControlError::Unauthenticated`] (audited); [`ControlError::PasswordChangeRequired`] for a one-time password without
    /// a new one; [`ControlError::TooManyAttempts`]; a new password that is too short.
    pub async fn login(&self, peer: &str, user: &str, password: &str, new_password: Option<&str>) -> Result<LoggedIn, ControlError> {
        let _ = (peer, user, password, new_password);
        down()
    }

    /// Who shows this token (session or API token)?
    ///
    /// # Errors
    /// [`ControlError::Unauthenticated`] when it is unknown, revoked or expired; [`ControlError::Unavailable`].
    pub async fn verify(&self, token: &str) -> Result<Principal, ControlError> {
        let _ = token;
        down()
    }

    /// Ends the token that was shown.
    ///
    /// # Errors
    /// [`ControlError::Unavailable`].
    pub async fn logout(&self, who: &Principal) -> Result<(), ControlError> {
        let _ = who;
        down()
    }

    /// Makes an API token that can do at most what its maker can. The maker needs nothing but itself.
    ///
    /// # Errors
    /// [`ControlError::Forbidden`] for more than the maker has; a bad name or duration.
    pub async fn create_token(&self, by: &Principal, new: NewToken) -> Result<TokenMade, ControlError> {
        let _ = (by, new);
        down()
    }

    /// One's own tokens; all of them with [`Permission::ManageAccess`].
    ///
    /// # Errors
    /// [`ControlError::Unavailable`].
    pub async fn tokens(&self, by: &Principal) -> Result<Vec<TokenInfo>, ControlError> {
        let _ = by;
        down()
    }

    /// Ends a token at once. One's own, or any with [`Permission::ManageAccess`].
    ///
    /// # Errors
    /// [`ControlError::NotFound`]; [`ControlError::Forbidden`].
    pub async fn revoke_token(&self, by: &Principal, id: i64) -> Result<(), ControlError> {
        let _ = (by, id);
        down()
    }

    /// Makes a user, with a one-time password that is to be replaced at the first login. Needs [`Permission::ManageAccess`].
    ///
    /// # Errors
    /// [`ControlError::Conflict`] when the name is taken; a bad name; rights.
    pub async fn create_user(&self, by: &Principal, new: NewUser) -> Result<String, ControlError> {
        let _ = (by, new);
        down()
    }

    /// All users. Needs [`Permission::ManageAccess`].
    ///
    /// # Errors
    /// Rights; [`ControlError::Unavailable`].
    pub async fn users(&self, by: &Principal) -> Result<Vec<UserInfo>, ControlError> {
        let _ = by;
        down()
    }

    /// Removes a user and all its tokens. Needs [`Permission::ManageAccess`]; the last administrator stays.
    ///
    /// # Errors
    /// [`ControlError::NotFound`]; [`ControlError::Conflict`] for the last administrator; rights.
    pub async fn delete_user(&self, by: &Principal, name: &str) -> Result<(), ControlError> {
        let _ = (by, name);
        down()
    }

    /// Writes down that an attempt was refused (G10). Repeats of one actor and action within a minute are counted and
    /// written as one line.
    pub fn refused(&self, actor: &str, action: &str, target: Option<TargetId>, why: &str) {
        let _ = (actor, action, target, why);
    }
}

/// Looking. None of these checks rights: call [`Control::authorize`] first.
impl Control {
    /// Runs `look` on the engine between two turns, with the time. For `hosts`, `host`, `explain`, `explain_waiting`.
    ///
    /// # Errors
    /// [`ControlError::Unavailable`] while the engine is being restored, or after 10 s.
    pub async fn query<R: Send + 'static>(&self, look: impl FnOnce(&Engine, Timestamp) -> R + Send + 'static) -> Result<R, ControlError> {
        let _ = look;
        down()
    }

    /// The hosts that a selector means: an id, a name, or `label=value,…` (ruling 25), of those in scope; `None` is all in scope.
    /// Sorted by name.
    ///
    /// # Errors
    /// [`ControlError::NotFound`] when a selector matches nothing; [`ControlError::Invalid`] when it cannot be read.
    pub async fn select(&self, who: &Principal, selector: Option<&str>) -> Result<Vec<HostView>, ControlError> {
        let _ = (who, selector);
        down()
    }

    /// Orchestrations on hosts in scope, newest first.
    ///
    /// # Errors
    /// [`ControlError::Unavailable`].
    pub async fn orchestrations(&self, who: &Principal, filter: OrchestrationFilter) -> Result<Page<View>, ControlError> {
        let _ = (who, filter);
        down()
    }

    /// One orchestration, open or ended. One on a host outside the scope is not found.
    ///
    /// # Errors
    /// [`ControlError::NotFound`]; [`ControlError::Unavailable`].
    pub async fn orchestration(&self, who: &Principal, id: OrchestrationId) -> Result<View, ControlError> {
        let _ = (who, id);
        down()
    }

    /// The journal of an orchestration in words, oldest first.
    ///
    /// # Errors
    /// As [`Control::orchestration`]; [`ControlError::Unavailable`] with the reason when the journal cannot be read.
    pub async fn journal(&self, who: &Principal, id: OrchestrationId) -> Result<Vec<JournalLine>, ControlError> {
        let _ = (who, id);
        down()
    }

    /// The orchestration now, and again after each change, until it is over; then the stream ends. With `after` (the
    /// sequence of the last one seen) nothing that was seen comes again.
    ///
    /// # Errors
    /// As [`Control::orchestration`].
    pub async fn watch(&self, who: &Principal, id: OrchestrationId, after: Option<u64>) -> Result<BoxStream<'static, Watched>, ControlError> {
        let _ = (who, id, after);
        down()
    }

    /// The audit log, newest first. Needs [`Permission::ViewAudit`], which is not checked here.
    ///
    /// # Errors
    /// [`ControlError::Unavailable`].
    pub async fn audit(&self, filter: AuditFilter) -> Result<Page<AuditLine>, ControlError> {
        let _ = filter;
        down()
    }

    /// Whether the engine runs and its store takes entries, else why not.
    pub fn ready(&self) -> Ready {
        Ready { ready: false, reason: Some("starting".to_owned()), since: Timestamp::from_millis(0) }
    }

    /// The wall clock, as the engine sees it.
    pub fn now(&self) -> Timestamp {
        Timestamp::from_millis(0)
    }

    /// The limit on a wait for the engine.
    pub const QUERY_LIMIT: Millis = Millis::secs(10);
}
