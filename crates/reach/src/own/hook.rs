//! A drain by commands or by HTTP: three verbs, and a state told in lines.

use std::time::Duration;

use model::{Drain, ErrorCode, ItemState};
use reqwest::Method;

use super::web::{Question, Web};
use super::{LOOK_LIMIT, Trouble, lines, tool};

/// What a hook answers fits in here, in bytes.
const ANSWER_MAX: usize = 1024 * 1024;

/// Who is asked.
#[derive(Debug)]
pub(super) enum Hook<'a> {
    Command { state: &'a [String], drain: &'a [String], undrain: &'a [String] },
    Http { url: &'a str, web: &'a Web },
}

impl<'a> Hook<'a> {
    /// `None`: this drain is no hook of the own site.
    pub(super) fn of(drain: &'a Drain, web: &'a Web) -> Option<Self> {
        match drain {
            Drain::Command { state, drain, undrain } => Some(Self::Command { state, drain, undrain }),
            Drain::Http { url } => Some(Self::Http { url: url.trim_end_matches('/'), web }),
            Drain::Units { .. } | Drain::Containers { .. } | Drain::Hook { .. } | Drain::Haproxy { .. } => None,
        }
    }

    /// What it would take out of service, as it is now.
    pub(super) async fn state(&self) -> Result<Vec<ItemState>, Trouble> {
        let said = match self {
            Self::Command { state, .. } => tool::run(state, &[], LOOK_LIMIT).await,
            Self::Http { .. } => self.http(Method::GET, "state", &[], String::new(), LOOK_LIMIT).await,
        };
        let said =
            said.map_err(|trouble| Trouble { message: format!("the state cannot be read: {}", trouble.message), ..trouble })?;
        lines::parse(&said)
    }

    /// Takes out of service; the hook may return before that is done. It is told how long it has, and whether to cut off: as hooks
    /// on hosts are.
    pub(super) async fn drain(&self, grace: Duration, force: bool) -> Result<(), Trouble> {
        let seconds = grace.as_secs().max(1).to_string();
        match self {
            Self::Command { drain, .. } => {
                let mut env = vec![("REVEILLE_GRACE_SECS", seconds)];
                env.extend(force.then(|| ("REVEILLE_FORCE", "1".to_owned())));
                tool::run(drain, &env, grace).await.map(drop)
            }
            Self::Http { .. } => {
                let mut headers = vec![("reveille-grace-secs", seconds)];
                headers.extend(force.then(|| ("reveille-force", "1".to_owned())));
                self.http(Method::POST, "drain", &headers, String::new(), grace).await.map(drop)
            }
        }
    }

    /// Puts back what was.
    pub(super) async fn undrain(&self, prior: &[ItemState], limit: Duration) -> Result<(), Trouble> {
        let (text, seconds) = (lines::text(prior), limit.as_secs().max(1).to_string());
        match self {
            Self::Command { undrain, .. } => {
                tool::run(undrain, &[("REVEILLE_PRIOR", text), ("REVEILLE_GRACE_SECS", seconds)], limit).await.map(drop)
            }
            Self::Http { .. } => {
                self.http(Method::POST, "undrain", &[("reveille-grace-secs", seconds)], text, limit).await.map(drop)
            }
        }
    }

    async fn http(
        &self,
        method: Method,
        verb: &str,
        headers: &[(&'static str, String)],
        body: String,
        limit: Duration,
    ) -> Result<String, Trouble> {
        let Self::Http { url, web } = self else {
            return Err(Trouble::new(ErrorCode::Unsupported, "not a drain over HTTP"));
        };
        let url = format!("{url}/{verb}");
        let failed = |why: String| Trouble::new(ErrorCode::ToolFailed, format!("{url}: {why}"));
        let question = Question { method, url: &url, headers, body, limit, most: ANSWER_MAX };
        let answer = web.ask(question).await.map_err(&failed)?;
        if !(200..300).contains(&answer.status) {
            let said: String = answer.body.trim().chars().take(600).collect();
            return Err(failed(format!("answered {} {said}", answer.status)));
        }
        if answer.cut {
            return Err(failed(format!("said more than {ANSWER_MAX} bytes")));
        }
        Ok(answer.body)
    }
}
