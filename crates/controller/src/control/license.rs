//! Licensing (ruling 3): off unless asked for; a license is a signed file that is checked here, without asking anyone.

use model::Timestamp;
use protocol::native::PublicKey;
use ring::signature::{ED25519, UnparsedPublicKey};
use serde::{Deserialize, Serialize};

use super::ControlError;
use super::records::Module;

/// Whether modules must be licensed, and what is.
#[derive(Clone, Debug, Default)]
pub struct Licensing {
    /// Without it everything is enabled.
    pub required: bool,
    /// The license, or why there is none.
    pub license: Option<Result<License, String>>,
}

/// What a license says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct License {
    /// For whom.
    pub licensee: String,
    /// Names of modules.
    pub modules: Vec<String>,
    /// Not good after; `None` is for ever.
    pub expires_at: Option<Timestamp>,
}

/// The file: the license as JSON text, and an Ed25519 signature over exactly that text in hex.
#[derive(Serialize, Deserialize)]
struct Signed {
    license: String,
    signature: String,
}

impl License {
    /// Reads a license file; `issuer` is the key that licenses must be signed with.
    ///
    /// # Errors
    /// In words: not a license file, signed by another key.
    pub fn read(text: &str, issuer: &PublicKey) -> Result<Self, String> {
        let signed: Signed = serde_json::from_str(text).map_err(|error| format!("not a license file: {error}"))?;
        let signature = unhex(&signed.signature).ok_or("the signature in the license file is not hex")?;
        let key = UnparsedPublicKey::new(&ED25519, issuer.as_bytes());
        if key.verify(signed.license.as_bytes(), &signature).is_err() {
            return Err("the license file is not signed by the configured issuer, or was changed".to_owned());
        }
        serde_json::from_str(&signed.license).map_err(|error| format!("the license cannot be read: {error}"))
    }
}

impl Licensing {
    pub(super) fn entitled(&self, module: Module, now: Timestamp) -> Result<(), ControlError> {
        if !self.required {
            return Ok(());
        }
        let refuse = |reason: String| Err(ControlError::NotEntitled { module: module.as_str(), reason });
        match &self.license {
            None => refuse("no license file is configured; set licensing.license_file, or licensing.required = false".to_owned()),
            Some(Err(reason)) => refuse(reason.clone()),
            Some(Ok(license)) if license.expires_at.is_some_and(|end| now >= end) => {
                refuse("the license has expired; get a new license file and restart the controller".to_owned())
            }
            Some(Ok(license)) if !license.modules.iter().any(|name| name == module.as_str()) => {
                refuse(format!("the license for {} does not contain it; upgrade the license", license.licensee))
            }
            Some(Ok(_)) => Ok(()),
        }
    }
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes();
    if !digits.len().is_multiple_of(2) || !digits.is_ascii() {
        return None;
    }
    digits.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()).collect()
}

#[cfg(test)]
mod tests {
    use ring::signature::{Ed25519KeyPair, KeyPair as _};

    use super::super::secret::hex;
    use super::*;

    fn file(modules: &str, expires: &str) -> (String, PublicKey) {
        let key = Ed25519KeyPair::from_seed_unchecked(&[7; 32]).unwrap();
        let license = format!(r#"{{"licensee":"Example","modules":[{modules}],"expires_at":{expires}}}"#);
        let signature = hex(key.sign(license.as_bytes()).as_ref());
        let public = PublicKey::from_bytes(key.public_key().as_ref().try_into().unwrap());
        (serde_json::to_string(&Signed { license, signature }).unwrap(), public)
    }

    fn entitled(license: Option<Result<License, String>>) -> Result<(), ControlError> {
        Licensing { required: true, license }.entitled(Module::ContainerEngine, Timestamp::from_millis(1_800_000_000_000))
    }

    #[test]
    fn without_required_everything_is_enabled() {
        let off = Licensing::default();
        assert_eq!(off.entitled(Module::ContainerEngine, Timestamp::from_millis(0)), Ok(()));
    }

    #[test]
    fn only_a_signed_license_that_has_not_expired_grants_the_module() {
        let (text, issuer) = file(r#""container_engine""#, "null");
        assert_eq!(entitled(Some(License::read(&text, &issuer))), Ok(()));
        assert!(entitled(None).is_err());
        let other = PublicKey::from_bytes([9; 32]);
        assert!(entitled(Some(License::read(&text, &other))).is_err());
        let changed = text.replace("Example", "Example2");
        assert!(entitled(Some(License::read(&changed, &issuer))).is_err());
        let (text, issuer) = file("", "null");
        assert!(entitled(Some(License::read(&text, &issuer))).is_err());
        let (text, issuer) = file(r#""container_engine""#, r#""2020-01-01T00:00:00Z""#);
        assert!(entitled(Some(License::read(&text, &issuer))).is_err());
    }
}
