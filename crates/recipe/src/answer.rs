//! Reading answers, shared by the readers.

use serde::Deserialize;

use crate::Output;

/// The reason why an answer cannot be used.
pub(crate) fn why_not(tool: &str, output: &Output) -> String {
    format!("{tool}: {}", output.words())
}

/// Standard output of a run that must have succeeded.
pub(crate) fn stdout<'a>(tool: &str, output: &'a Output) -> Result<&'a str, String> {
    if output.succeeded() { Ok(&output.stdout) } else { Err(why_not(tool, output)) }
}

/// The data of one `busctl --json=short` answer of exactly this D-Bus type.
pub(crate) fn bus<T: for<'de> Deserialize<'de>>(what: &str, signature: &str, output: &Output) -> Result<T, String> {
    #[derive(Deserialize)]
    struct Answer<T> {
        r#type: String,
        data: T,
    }
    let text = stdout(what, output)?;
    let answer: Answer<T> = serde_json::from_str(text).map_err(|e| format!("{what}: unreadable answer: {e}"))?;
    if answer.r#type == signature {
        Ok(answer.data)
    } else {
        Err(format!("{what}: answer of type {:?}, expected {signature:?}", answer.r#type))
    }
}
