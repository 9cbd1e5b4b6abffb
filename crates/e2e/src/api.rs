//! The product's HTTP API, spoken by `curl`: what a user has, and no code of the product.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, bail};
use serde_json::Value;

use crate::process::{check, command};

/// No answer takes longer.
const LIMIT: Duration = Duration::from_secs(30);

/// Where the API is and who asks.
#[derive(Debug, Clone, Default)]
pub struct Api {
    /// E.g. `http://10.77.0.1:8080`.
    pub base: String,
    /// Sent as `authorization: Bearer ...`.
    pub token: Option<String>,
    /// The certificate that the server's must be signed with.
    pub ca: Option<PathBuf>,
}

/// An answer.
#[derive(Debug, Clone)]
pub struct Reply {
    /// The HTTP status.
    pub status: u16,
    /// The body; `Null` when it is empty or not JSON.
    pub json: Value,
    /// The body as it came.
    pub text: String,
}

impl Reply {
    /// From what `curl --write-out '\n%{http_code}'` says.
    ///
    /// # Errors
    ///
    /// When there is no status at its end.
    pub fn parse(said: &str) -> anyhow::Result<Self> {
        let (text, status) = said.rsplit_once('\n').context("curl said no status")?;
        let json = serde_json::from_str(text).unwrap_or(Value::Null);
        Ok(Self { status: status.parse()?, json, text: text.to_owned() })
    }

    /// The body's JSON, when the status is the expected one.
    ///
    /// # Errors
    ///
    /// When it is another; with the body.
    pub fn expect(self, status: u16) -> anyhow::Result<Value> {
        if self.status != status {
            bail!("the answer is {} and not {status}: {}", self.status, self.text.trim());
        }
        Ok(self.json)
    }
}

impl Api {
    /// Asks for a document.
    ///
    /// # Errors
    ///
    /// When there is no answer at all.
    pub fn get(&self, path: &str) -> anyhow::Result<Reply> {
        self.call("GET", path, None)
    }

    /// Posts a JSON document.
    ///
    /// # Errors
    ///
    /// When there is no answer at all.
    pub fn post(&self, path: &str, body: &Value) -> anyhow::Result<Reply> {
        self.call("POST", path, Some(body))
    }

    /// Any request.
    ///
    /// # Errors
    ///
    /// When there is no answer at all.
    pub fn call(&self, method: &str, path: &str, body: Option<&Value>) -> anyhow::Result<Reply> {
        let mut curl = command(["curl", "--silent", "--show-error", "--max-time", "20", "--request", method]);
        curl.args(["--write-out", "\n%{http_code}"]);
        if let Some(token) = &self.token {
            curl.args(["--header", &format!("authorization: Bearer {token}")]);
        }
        if let Some(ca) = &self.ca {
            curl.arg("--cacert").arg(ca);
        }
        if let Some(body) = body {
            curl.args(["--header", "content-type: application/json", "--data-binary", &body.to_string()]);
        }
        Reply::parse(&check(curl.arg(format!("{}{path}", self.base)), LIMIT)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_and_body_are_told_apart() {
        let reply = Reply::parse("{\"id\":\n7}\n201").unwrap();
        assert_eq!((reply.status, reply.json["id"].as_i64()), (201, Some(7)));
        assert_eq!(Reply::parse("\n204").unwrap().json, Value::Null);
        let error = Reply::parse("no\n409").unwrap().expect(201).unwrap_err();
        assert!(error.to_string().contains("409"), "{error}");
    }
}
