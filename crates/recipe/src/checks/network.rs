//! Checks over the network, made on the host itself, with the tools that it has (S3-74, S3-75).

use model::{CheckKind, ErrorCode, Millis};
use serde_json::{Map, Value};

use super::{Step, holds};
use crate::drain::Trouble;
use crate::{Invocation, Output};

/// bash opens the connection by itself: no host has a tool for that alone.
const TCP: &str = r#"exec 3<>"/dev/tcp/$0/$1""#;
/// Of a body so much is read.
const BODY: u32 = 64 * 1024;
/// How curl tells the status, on the stream that is not the body's.
const STATUS: &str = "%{stderr}REVEILLE status=%{http_code} .\n";

/// A step of such a check; nothing for one of another kind.
pub(super) fn step(kind: &CheckKind, said: &[Output], left: Millis) -> Option<Result<Step, Trouble>> {
    match kind {
        CheckKind::Tcp { address } => Some(tcp(address, said.first(), left)),
        CheckKind::Http { url, status, contains } => Some(http(url, *status, contains.as_deref(), said.first(), left)),
        _ => None,
    }
}

/// As the tools take it: `1.500`.
fn secs(time: Millis) -> String {
    format!("{}.{:03}", time.0 / 1000, time.0 % 1000)
}

fn tcp(address: &str, said: Option<&Output>, left: Millis) -> Result<Step, Trouble> {
    let malformed = || Trouble::new(ErrorCode::Malformed, format!("{address:?} is no HOST:PORT"));
    let (host, port) = address.rsplit_once(':').ok_or_else(malformed)?;
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    let port: u16 = port.parse().map_err(|_| malformed())?;
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.:%".contains(c);
    if port == 0 || host.is_empty() || host.starts_with('-') || !host.chars().all(plain) {
        return Err(malformed());
    }
    let Some(output) = said else {
        let words = ["timeout", &secs(left), "bash", "-c", TCP, host, &port.to_string()];
        return Ok(Step::Run(Invocation::new(words, Millis(left.0.saturating_add(1000)))));
    };
    Ok(match output.exit {
        Some(0) if output.succeeded() => Step::Holds(format!("{address} takes connections")),
        Some(124) => Step::Fails(format!("{address}: no answer in time")),
        Some(127) => Step::Fails(format!("the host has no bash or no timeout: install bash and coreutils ({})", output.words())),
        _ => Step::Fails(format!("{address}: {}", output.words())),
    })
}

fn http(url: &str, status: u16, contains: Option<&str>, said: Option<&Output>, left: Millis) -> Result<Step, Trouble> {
    let lower = url.to_ascii_lowercase();
    let known = lower.starts_with("http://") || lower.starts_with("https://");
    if !known || url.chars().any(|c| c.is_control() || c.is_whitespace()) {
        return Err(Trouble::new(ErrorCode::Malformed, format!("{url:?} is no http:// or https:// address")));
    }
    let Some(output) = said else {
        let words = ["curl", "--silent", "--show-error", "--globoff", "--max-time", &secs(left), "--max-redirs", "0"];
        let more = ["--noproxy", "*", "--proto", "=http,https", "--output", "-", "--write-out", STATUS, "--url", url];
        let words = words.into_iter().chain(more);
        return Ok(Step::Run(Invocation::new(words, Millis(left.0.saturating_add(1000))).first(BODY)));
    };
    let told = output.stderr.lines().rev().find_map(|line| line.strip_prefix("REVEILLE status=")?.strip_suffix(" ."));
    let words = || {
        let own = output.stderr.lines().filter(|line| !line.starts_with("REVEILLE ")).collect::<Vec<_>>().join("\n");
        Output { stdout: String::new(), stderr: own, exit: Some(0), timed_out: false }.words()
    };
    let (Some(exit), false) = (output.exit, output.timed_out) else {
        return Ok(Step::Fails(format!("{url}: {}", output.words())));
    };
    let found = match (exit, told.and_then(|status| status.parse::<u16>().ok())) {
        (127, _) => return Ok(Step::Fails("the host has no curl: install curl".to_owned())),
        (28, _) => return Ok(Step::Fails(format!("{url}: no whole answer in time"))),
        // 23: what is behind the first part of the body was not read.
        (0 | 23, Some(found)) if found != 0 => found,
        _ => return Ok(Step::Fails(format!("{url}: {} (curl {exit})", words()))),
    };
    if found != status {
        return Ok(Step::Fails(format!("{url} answers {found}, expected {status}")));
    }
    let body = cut(&output.stdout);
    let lacks = contains.and_then(|contains| lacks(body, contains));
    Ok(holds(lacks.is_none(), format!("{url} answers {found}{}", lacks.map(|why| format!(", but {why}")).unwrap_or_default())))
}

fn cut(body: &str) -> &str {
    let mut end = body.len().min(BODY as usize);
    while !body.is_char_boundary(end) {
        end -= 1;
    }
    body.get(..end).unwrap_or_default()
}

/// What is missing in a body. Of a JSON object each member counts, however it is written; anything else is a text.
fn lacks(body: &str, contains: &str) -> Option<String> {
    let Ok(wanted) = serde_json::from_str::<Map<String, Value>>(contains) else {
        return (!body.contains(contains)).then(|| format!("its body does not contain {contains:?}"));
    };
    let Ok(found) = serde_json::from_str::<Map<String, Value>>(body) else {
        return Some("its body is no JSON object".to_owned());
    };
    let differs = wanted.iter().find(|(name, value)| found.get(*name) != Some(value));
    differs.map(|(name, value)| match found.get(name) {
        Some(_) => format!("{name:?} in its body is not {value}"),
        None => format!("its body has no {name:?}"),
    })
}

#[cfg(test)]
mod tests;
