//! Secrets: random ones, and passwords.

use std::fmt::Write as _;

use argon2::Argon2;
use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher as _, PasswordVerifier as _};
use model::Timestamp;
use ring::rand::{SecureRandom as _, SystemRandom};
use tokio::sync::Semaphore;

use super::ControlError;

/// Shortest and longest password in bytes.
const PASSWORD_LENGTH: (usize, usize) = (12, 1024);
/// Each hash takes 19 MiB; so many are made at once.
const HASHES_AT_ONCE: usize = 2;

/// Random bytes.
pub(crate) fn random<const N: usize>() -> Result<[u8; N], ControlError> {
    let mut bytes = [0; N];
    let failed = |_| ControlError::Unavailable("the system gives no random numbers".to_owned());
    SystemRandom::new().fill(&mut bytes).map_err(failed)?;
    Ok(bytes)
}

/// 32 random bytes as hex.
pub(super) fn random_word() -> Result<String, ControlError> {
    Ok(hex(&random::<32>()?))
}

/// A password that can be read out over the telephone: four groups of five letters and digits, about 97 bits.
pub(crate) fn one_time_password() -> Result<String, ControlError> {
    const LETTERS: &[u8; 32] = b"abcdefghjkmnpqrstuvwxyz234567890";
    let mut password = String::with_capacity(23);
    for (index, byte) in random::<20>()?.into_iter().enumerate() {
        if index > 0 && index % 5 == 0 {
            password.push('-');
        }
        password.push(char::from(LETTERS[usize::from(byte % 32)]));
    }
    Ok(password)
}

/// An id that sorts by time (UUID version 7).
pub(super) fn new_id(now: Timestamp) -> Result<uuid::Uuid, ControlError> {
    let ms = u64::try_from(now.millis()).unwrap_or(0);
    Ok(uuid::Builder::from_unix_timestamp_millis(ms, &random::<10>()?).into_uuid())
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Makes and checks password hashes, off the runtime's own threads.
#[derive(Debug)]
pub(crate) struct Passwords {
    slots: Semaphore,
    /// Checked for users that do not exist, so that they take as long.
    nobody: String,
}

impl Passwords {
    pub(crate) async fn new() -> Result<Self, ControlError> {
        let slots = Semaphore::new(HASHES_AT_ONCE);
        let nobody = one_time_password()?;
        let mut passwords = Self { slots, nobody: String::new() };
        passwords.nobody = passwords.hash(&nobody).await?;
        Ok(passwords)
    }

    /// # Errors
    /// [`ControlError::Invalid`] for a password of the wrong length.
    pub(crate) async fn hash(&self, password: &str) -> Result<String, ControlError> {
        if password.len() < PASSWORD_LENGTH.0 || password.len() > PASSWORD_LENGTH.1 {
            let (least, most) = PASSWORD_LENGTH;
            return Err(ControlError::Invalid(format!(
                "a password has {least} to {most} bytes; a few random words are easy to remember"
            )));
        }
        let password = password.to_owned();
        self.run(move || Argon2::default().hash_password(password.as_bytes()).map(|hash| hash.to_string()))
            .await?
            .map_err(|error| ControlError::Unavailable(format!("the password could not be hashed: {error}")))
    }

    /// Whether the password fits; `None` stands for a user that does not exist, and never fits.
    pub(super) async fn fits(&self, password: &str, hash: Option<&str>) -> Result<bool, ControlError> {
        if password.len() > PASSWORD_LENGTH.1 {
            return Ok(false);
        }
        let known = hash.is_some();
        let (password, hash) = (password.to_owned(), hash.unwrap_or(&self.nobody).to_owned());
        let fits = self.run(move || {
            PasswordHash::new(&hash).is_ok_and(|hash| Argon2::default().verify_password(password.as_bytes(), &hash).is_ok())
        });
        Ok(fits.await? && known)
    }

    async fn run<R: Send + 'static>(&self, work: impl FnOnce() -> R + Send + 'static) -> Result<R, ControlError> {
        let busy = || ControlError::Unavailable("passwords cannot be checked now".to_owned());
        let _slot = self.slots.acquire().await.map_err(|_| busy())?;
        tokio::task::spawn_blocking(work).await.map_err(|_| busy())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_password_fits_its_hash_only() {
        let passwords = Passwords::new().await.unwrap();
        let password = one_time_password().unwrap();
        assert_eq!(password.len(), 23);
        let hash = passwords.hash(&password).await.unwrap();
        assert!(hash.starts_with("$argon2id$"));
        assert!(passwords.fits(&password, Some(&hash)).await.unwrap());
        assert!(!passwords.fits("something else", Some(&hash)).await.unwrap());
        assert!(!passwords.fits(&password, None).await.unwrap());
        assert!(!passwords.fits(&password, Some("not a hash")).await.unwrap());
        assert!(matches!(passwords.hash("short").await, Err(ControlError::Invalid(_))));
    }
}
