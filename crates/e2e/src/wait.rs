//! Waiting for a condition, never without a limit.

use std::time::{Duration, Instant};

/// How often a condition is looked at.
const POLL: Duration = Duration::from_millis(50);

/// Polls `look` until it gives a value, at most for `limit`.
///
/// # Errors
///
/// When the limit passes: names `what` was waited for, and the last error that `look` gave, if any. An error of `look` is
/// not the end: a host that is going down answers with errors.
pub fn until<T>(what: &str, limit: Duration, mut look: impl FnMut() -> anyhow::Result<Option<T>>) -> anyhow::Result<T> {
    let start = Instant::now();
    loop {
        let last = match look() {
            Ok(Some(value)) => return Ok(value),
            Ok(None) => None,
            Err(error) => Some(error),
        };
        if start.elapsed() >= limit {
            let seconds = limit.as_secs_f32();
            return Err(match last {
                Some(error) => error.context(format!("waited {seconds} s in vain for {what}")),
                None => anyhow::anyhow!("waited {seconds} s in vain for {what}"),
            });
        }
        std::thread::sleep(POLL);
    }
}

/// Like [`until`], for a condition without a value.
///
/// # Errors
///
/// When the limit passes.
pub fn until_true(what: &str, limit: Duration, mut look: impl FnMut() -> anyhow::Result<bool>) -> anyhow::Result<()> {
    until(what, limit, || Ok(look()?.then_some(())))
}

/// Holds when `look` stays true for all of `span`; for "it does not come back".
///
/// # Errors
///
/// When `look` is false once, or fails.
pub fn stays_true(what: &str, span: Duration, mut look: impl FnMut() -> anyhow::Result<bool>) -> anyhow::Result<()> {
    let start = Instant::now();
    while start.elapsed() < span {
        anyhow::ensure!(look()?, "after {:.1} s no longer true: {what}", start.elapsed().as_secs_f32());
        std::thread::sleep(POLL);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_ends_with_the_reason() {
        let limit = Duration::from_millis(1);
        let error = until::<()>("a sign", limit, || anyhow::bail!("nobody there")).unwrap_err();
        let text = format!("{error:#}");
        assert!(text.contains("a sign") && text.contains("nobody there"), "{text}");
        assert_eq!(until("a sign", limit, || Ok(Some(3))).unwrap(), 3);
        assert!(until_true("a sign", limit, || Ok(false)).is_err());
    }

    #[test]
    fn a_state_that_must_hold_is_watched() {
        let mut left = 2;
        let error = stays_true("it is down", Duration::from_secs(60), || {
            left -= 1;
            Ok(left > 0)
        });
        assert!(error.is_err());
    }
}
