//! Enrolment: how a new device and a controller come to know each other (design, section 9; ruling 27).
//!
//! An operator makes a token; the device makes its own key, shows token and public key over HTTPS, pins the controller's
//! key from the answer, and may speak after a person has approved it.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use model::TargetId;
use serde::{Deserialize, Serialize};

use crate::native::PublicKey;

/// Where a device enrols, below the controller's address.
pub const PATH: &str = "/api/v1/enrol";

/// What an operator carries to the device: `rvl1.` and base64url of JSON. Single use, for a limited time.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Token {
    /// Address of the controller, `https://HOST:PORT`.
    pub url: String,
    /// SHA-256 of the controller's CA certificate (DER), 64 lower-case hex digits (`sha256:` before them is let pass): the
    /// only thing that the device trusts.
    pub ca_fingerprint: String,
    /// The secret part.
    pub secret: String,
    /// The intended name of the host.
    pub name: String,
}

/// Why a text is no token.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Not `rvl1.` and base64url of the four fields.
    #[error("not an enrolment token (expected rvl1. and one long word; was it cut off?)")]
    NotAToken,
    /// The address is not `https://`.
    #[error("the address in the token must begin with https://, not {0:?}")]
    NotHttps(String),
    /// The fingerprint is not 64 lower-case hex digits.
    #[error("the CA fingerprint in the token is not 64 hex digits: make a new token")]
    BadFingerprint,
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let json = serde_json::to_vec(self).map_err(|_| fmt::Error)?;
        write!(f, "rvl1.{}", URL_SAFE_NO_PAD.encode(json))
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Token({} for {:?}, secret hidden)", self.url, self.name)
    }
}

impl FromStr for Token {
    type Err = TokenError;

    /// # Errors
    /// See [`TokenError`]. White space around the token is let pass, so that a file with a line end is read.
    fn from_str(text: &str) -> Result<Self, TokenError> {
        let encoded = text.trim().strip_prefix("rvl1.").ok_or(TokenError::NotAToken)?;
        let json = URL_SAFE_NO_PAD.decode(encoded).map_err(|_| TokenError::NotAToken)?;
        let mut token: Self = serde_json::from_slice(&json).map_err(|_| TokenError::NotAToken)?;
        if let Some(hex) = token.ca_fingerprint.strip_prefix("sha256:") {
            token.ca_fingerprint = hex.to_owned();
        }
        if !token.url.starts_with("https://") {
            return Err(TokenError::NotHttps(token.url));
        }
        let hex = |c: u8| c.is_ascii_digit() || (b'a'..=b'f').contains(&c);
        if token.ca_fingerprint.len() != 64 || !token.ca_fingerprint.bytes().all(hex) {
            return Err(TokenError::BadFingerprint);
        }
        Ok(token)
    }
}

/// The fingerprint that a token carries: SHA-256 of a certificate (DER) as lower-case hex.
pub fn certificate_fingerprint(der: &[u8]) -> String {
    use std::fmt::Write as _;
    let digest = ring::digest::digest(&ring::digest::SHA256, der);
    digest.as_ref().iter().fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

/// What the device sends.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct EnrolRequest {
    /// The secret of the token.
    pub secret: String,
    /// The name that the host is to have.
    pub name: String,
    /// `/etc/machine-id`: together with the key, what the host row is bound to.
    pub machine_id: String,
    /// The device's public key, base64.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub public_key: PublicKey,
    /// Version of the agent program.
    pub agent_version: String,
}

impl fmt::Debug for EnrolRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EnrolRequest({:?}, {}, {}, secret hidden)", self.name, self.machine_id, self.public_key)
    }
}

/// What the controller answers.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct EnrolAnswer {
    /// The host's id from now on; also its MQTT user name and client id.
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = "uuid"))]
    pub host_id: TargetId,
    /// Where the broker listens.
    pub mqtt_host: String,
    /// On which port.
    pub mqtt_port: u16,
    /// The device's own secret for the broker.
    pub mqtt_secret: String,
    /// The key that commands must be signed with; pinned by the device.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub controller_public_key: PublicKey,
    /// The CA that the broker's certificate must come from (PEM).
    pub ca_pem: String,
}

impl fmt::Debug for EnrolAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EnrolAnswer({}, {}:{}, secret hidden)", self.host_id, self.mqtt_host, self.mqtt_port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token() -> Token {
        Token {
            url: "https://controller.example:8443".to_owned(),
            ca_fingerprint: certificate_fingerprint(b"certificate"),
            secret: "s3cret".to_owned(),
            name: "web-1".to_owned(),
        }
    }

    #[test]
    fn a_token_survives_copy_and_paste() {
        let text = token().to_string();
        assert!(text.starts_with("rvl1."));
        assert_eq!(format!(" {text}\n").parse::<Token>().unwrap(), token());
    }

    #[test]
    fn a_cut_or_unsafe_token_is_refused() {
        let text = token().to_string();
        for cut in 0..text.len() {
            assert!(text[..cut].parse::<Token>().is_err(), "cut at {cut}");
        }
        let plain = Token { url: "http://controller.example".to_owned(), ..token() };
        assert!(matches!(plain.to_string().parse::<Token>(), Err(TokenError::NotHttps(_))));
        let named = Token { ca_fingerprint: format!("sha256:{}", token().ca_fingerprint), ..token() };
        assert_eq!(named.to_string().parse::<Token>().unwrap(), token());
        let short = Token { ca_fingerprint: "ab".to_owned(), ..token() };
        assert_eq!(short.to_string().parse::<Token>(), Err(TokenError::BadFingerprint));
    }

    #[test]
    fn secrets_are_not_shown() {
        assert!(!format!("{:?}", token()).contains("s3cret"));
    }
}
