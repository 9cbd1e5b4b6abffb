//! Sealing and opening.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use model::{ActionKind, ChildKind, CommandId, ErrorCode, TargetId};
use serde::{Deserialize, Serialize};

use super::{ControllerBody, ControllerKey, DeviceBody, DeviceKey, PublicKey, TopicKind, VERSION};

/// The largest payload that either side reads, in bytes.
pub const MAX_PAYLOAD: usize = 256 * 1024;

/// Longest nonce that is read, in bytes.
const MAX_NONCE: usize = 64;

const TO_DEVICE: &[u8] = b"reveille native v1 controller to device\0";
const TO_CONTROLLER: &[u8] = b"reveille native v1 device to controller\0";

#[derive(Serialize, Deserialize)]
struct Envelope {
    v: u32,
    body: String,
    #[serde(default)]
    sig: String,
}

/// Why a payload was not opened.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// Over [`MAX_PAYLOAD`].
    #[error("the payload has {0} bytes; at most {MAX_PAYLOAD} are read")]
    TooLarge(usize),
    /// Another version of the dialect.
    #[error("the message speaks version {found} of the native dialect; this program speaks {VERSION}: update the older side")]
    Version {
        /// What it says.
        found: u64,
    },
    /// Not signed, or not by the pinned key, or meant for or coming from someone else.
    #[error("the signature does not fit: unsigned, signed by another key, changed on the way or meant for another host")]
    BadSignature,
    /// Signed, but meant for another target.
    #[error("the command is for {0}, not for this host")]
    WrongTarget(TargetId),
    /// Signed, but of a kind that this program does not know.
    #[error("this program does not know {0}: update it")]
    Unsupported(String),
    /// Not readable.
    #[error("the payload could not be read: {0}")]
    Malformed(String),
}

impl OpenError {
    /// The word for it in a failed acknowledgement.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::TooLarge(_) | Self::Malformed(_) => ErrorCode::Malformed,
            Self::Version { .. } | Self::Unsupported(_) => ErrorCode::Unsupported,
            Self::BadSignature => ErrorCode::BadSignature,
            Self::WrongTarget(_) => ErrorCode::WrongTarget,
        }
    }
}

/// A payload that could not be opened, with the command that it names, if it can be seen.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{error}")]
pub struct Refused {
    /// Why.
    pub error: OpenError,
    /// The command that it speaks of. Only a claim while the signature is bad.
    pub command: Option<CommandId>,
}

/// Seals what the controller says to `recipient`.
///
/// # Errors
/// [`OpenError::TooLarge`] when nobody would read it; [`OpenError::Malformed`] when it cannot be written as JSON.
pub fn seal_controller(key: &ControllerKey, recipient: TargetId, body: &ControllerBody) -> Result<Vec<u8>, OpenError> {
    seal(body, |text| key.sign(&signed(TO_DEVICE, recipient, text)))
}

/// Seals what the device `sender` says to the controller.
///
/// # Errors
/// As for [`seal_controller`].
pub fn seal_device(key: &DeviceKey, sender: TargetId, body: &DeviceBody) -> Result<Vec<u8>, OpenError> {
    seal(body, |text| key.sign(&signed(TO_CONTROLLER, sender, text)))
}

/// Opens what came on the command topic of `me`; `key` is the one pinned at enrolment.
///
/// # Errors
/// [`Refused`] with the reason, and with the command id where one can be seen, so that a refusal can be said.
pub fn open_controller(payload: &[u8], key: &PublicKey, me: TargetId) -> Result<ControllerBody, Refused> {
    let no_command = |error| Refused { error, command: None };
    let envelope = read_envelope(payload).map_err(no_command)?;
    let value: Option<serde_json::Value> = serde_json::from_str(&envelope.body).ok();
    let named = value.as_ref().and_then(|v| v.pointer("/command/id")?.as_str()?.parse().ok());
    let refuse = |error| Refused { error, command: named };
    verify(&envelope, TO_DEVICE, me, key).map_err(refuse)?;
    let Some(value) = value else {
        return Err(no_command(OpenError::Malformed("the signed body is not JSON".to_owned())));
    };
    let body = match serde_json::from_str(&envelope.body) {
        Ok(body) => body,
        Err(error) => return Err(refuse(unknown_word(&value).unwrap_or_else(|| unread(&error)))),
    };
    match &body {
        ControllerBody::Command { command } if command.target != me => Err(refuse(OpenError::WrongTarget(command.target))),
        ControllerBody::Time { nonce, .. } if nonce.len() > MAX_NONCE => Err(refuse(long_nonce())),
        ControllerBody::Command { .. } | ControllerBody::Time { .. } => Ok(body),
    }
}

/// Opens what came on a topic of the device `sender`; `key` is the one that was approved for it.
///
/// # Errors
/// [`OpenError`]; a body on the topic of another kind is malformed.
pub fn open_device(payload: &[u8], key: &PublicKey, sender: TargetId, kind: TopicKind) -> Result<DeviceBody, OpenError> {
    let envelope = read_envelope(payload)?;
    verify(&envelope, TO_CONTROLLER, sender, key)?;
    let body: DeviceBody = serde_json::from_str(&envelope.body).map_err(|error| unread(&error))?;
    if body.topic() != kind {
        let (found, topic) = (body.topic().as_str(), kind.as_str());
        return Err(OpenError::Malformed(format!("a body of kind {found} came on the topic {topic}")));
    }
    match &body {
        DeviceBody::Hello { nonce, .. } if nonce.len() > MAX_NONCE => Err(long_nonce()),
        _ => Ok(body),
    }
}

fn long_nonce() -> OpenError {
    OpenError::Malformed(format!("the nonce is longer than {MAX_NONCE} bytes"))
}

fn seal<B: Serialize>(body: &B, sign: impl FnOnce(&str) -> Vec<u8>) -> Result<Vec<u8>, OpenError> {
    let written = |error: serde_json::Error| OpenError::Malformed(error.to_string());
    let body = serde_json::to_string(body).map_err(written)?;
    let sig = STANDARD.encode(sign(&body));
    let bytes = serde_json::to_vec(&Envelope { v: VERSION, body, sig }).map_err(written)?;
    if bytes.len() > MAX_PAYLOAD { Err(OpenError::TooLarge(bytes.len())) } else { Ok(bytes) }
}

/// What is signed: the direction, the 16 bytes of the host's id, the body as it travels.
fn signed(direction: &[u8], host: TargetId, body: &str) -> Vec<u8> {
    [direction, host.0.as_bytes(), body.as_bytes()].concat()
}

fn read_envelope(payload: &[u8]) -> Result<Envelope, OpenError> {
    #[derive(Deserialize)]
    struct Version {
        v: u64,
    }
    if payload.len() > MAX_PAYLOAD {
        return Err(OpenError::TooLarge(payload.len()));
    }
    let malformed = |error: serde_json::Error| OpenError::Malformed(error.to_string());
    // The version first: the shape of another version is not ours to judge.
    let Version { v } = serde_json::from_slice(payload).map_err(malformed)?;
    if v != u64::from(VERSION) {
        return Err(OpenError::Version { found: v });
    }
    serde_json::from_slice(payload).map_err(malformed)
}

fn verify(envelope: &Envelope, direction: &[u8], host: TargetId, key: &PublicKey) -> Result<(), OpenError> {
    let signature = STANDARD.decode(&envelope.sig).map_err(|_| OpenError::BadSignature)?;
    if key.verify(&signed(direction, host, &envelope.body), &signature) { Ok(()) } else { Err(OpenError::BadSignature) }
}

/// A word or a field that only a newer program can have written is unsupported, wherever it stands (its author is proven): to try
/// again is of no use, an update is. Everything else is malformed. Serde tells these two apart in words alone.
fn unread(error: &serde_json::Error) -> OpenError {
    let why = error.to_string();
    let is_newer = why.starts_with("unknown variant ") || why.starts_with("unknown field ");
    if is_newer { OpenError::Unsupported(format!("a part of the message ({why})")) } else { OpenError::Malformed(why) }
}

/// Whether a body that does not fit fails only for a word of a newer version: then it is unsupported, not malformed.
fn unknown_word(body: &serde_json::Value) -> Option<OpenError> {
    let known = |pointer: &str, what: &str, fits: &dyn Fn(&serde_json::Value) -> bool| {
        let word = body.pointer(pointer).filter(|v| v.is_string())?;
        (!fits(word)).then(|| OpenError::Unsupported(format!("the {what} {word}")))
    };
    known("/type", "message", &|v| v == "command" || v == "time")
        .or_else(|| known("/command/action/kind", "action", &|v| ActionKind::deserialize(v).is_ok()))
        .or_else(|| known("/command/action/child/kind", "kind of child", &|v| ChildKind::deserialize(v).is_ok()))
}
