//! Enrolment: a token, once, and the device's own key (ruling 27).

use std::sync::PoisonError;

use engine::{Input, Reply};
use model::{Labels, Millis, TargetId};
use protocol::enrol::{EnrolAnswer, EnrolRequest, Token};

use super::access::{Permission, Principal};
use super::records::{EnrolmentToken, NewEnrolment};
use super::secret::{new_id, random_word};
use super::{Addresses, Control, ControlError, unavailable};
use crate::store::{ClaimRefused, Claimed, DeviceRow, NewEnrolmentRow, sha256};

const VALID_DEFAULT: Millis = Millis::secs(3600);
const VALID_MAX: Millis = Millis::secs(7 * 24 * 3600);
const NAME_MAX: usize = 253;
const LABELS_MAX: usize = 64;

impl Control {
    /// Makes a token with which one device may enrol, once. Needs [`Permission::ManageHosts`], and labels in one's scope.
    ///
    /// # Errors
    /// [`ControlError::Invalid`] for a bad name, label or duration; rights; [`ControlError::Unavailable`].
    pub async fn create_enrolment_token(&self, by: &Principal, new: NewEnrolment) -> Result<EnrolmentToken, ControlError> {
        self.authorize(by, Permission::ManageHosts, None).await?;
        check_name(&new.name)?;
        check_labels(&new.labels)?;
        // A token for a name that is known takes the approval away from its host.
        let known = self.directory()?.hosts.values().any(|host| host.name == new.name && !by.scope.covers(&host.labels));
        if known || !by.scope.covers(&new.labels) {
            let error = ControlError::Forbidden { permission: Permission::ManageHosts, outside_scope: true };
            self.refused(&by.name, "enrolment_token_created", None, &error.to_string());
            return Err(error);
        }
        let valid_for = new.valid_for.unwrap_or(VALID_DEFAULT);
        if valid_for == Millis(0) || valid_for > VALID_MAX {
            return Err(ControlError::Invalid("an enrolment token is good for 1 ms to 7 days".to_owned()));
        }
        let addresses = self.addresses()?;
        let (secret, now) = (random_word()?, self.now());
        let expires_at = now + valid_for;
        let row = NewEnrolmentRow {
            hash: sha256(secret.as_bytes()),
            name: new.name.clone(),
            labels: new.labels,
            created_by: by.name.clone(),
            created_at: now,
            expires_at,
        };
        let line = self.own_line(
            by,
            "enrolment_token_created",
            format!("enrolment token for host {}, good until {expires_at}", new.name),
        );
        self.shared.database.insert_enrolment(&row, line).await.map_err(unavailable)?;
        let token =
            Token { url: addresses.url.clone(), ca_fingerprint: addresses.ca_fingerprint.clone(), secret, name: new.name };
        Ok(EnrolmentToken { token: token.to_string(), expires_at })
    }

    /// A device shows its token and key. What it gets lets it connect once a person has approved its key. `peer` is the
    /// address of whoever asks, for the audit.
    ///
    /// # Errors
    /// [`ControlError::Unauthenticated`] for an unknown, used or expired token; [`ControlError::Conflict`] for a name or
    /// machine id that belongs to another; [`ControlError::Invalid`]. All of them are audited.
    pub async fn enrol(&self, peer: &str, request: EnrolRequest) -> Result<EnrolAnswer, ControlError> {
        match self.enrol_checked(&request).await {
            Err(error @ (ControlError::Unauthenticated(_) | ControlError::Conflict(_) | ControlError::Invalid(_))) => {
                self.refused(
                    peer,
                    "enrol",
                    None,
                    &format!("host {:?}, key {}: {error}", request.name, request.public_key.fingerprint()),
                );
                Err(error)
            }
            other => other,
        }
    }

    async fn enrol_checked(&self, request: &EnrolRequest) -> Result<EnrolAnswer, ControlError> {
        check_name(&request.name)?;
        check_machine_id(&request.machine_id)?;
        let addresses = self.addresses()?.clone();
        // A token is not used up while the host could not be written down.
        let ready = self.ready();
        if let Some(reason) = ready.reason {
            return Err(ControlError::Unavailable(reason));
        }
        let (mqtt_secret, now) = (random_word()?, self.now());
        let device = DeviceRow {
            new_host: TargetId(new_id(now)?),
            // However it is written, it is one machine.
            machine_id: request.machine_id.to_ascii_lowercase(),
            name: request.name.clone(),
            public_key: request.public_key.to_string(),
            secret_hash: sha256(mqtt_secret.as_bytes()),
            at: now,
        };
        // One after the other: what the one before wrote down is known to the next.
        let _turn = self.shared.enrolling.lock().await;
        let directory = self.directory()?;
        if directory.hosts.values().any(|known| known.address.is_some() && known.name == device.name) {
            let text = format!("host {:?} is reached over SSH: remove it first, or enrol under another name", device.name);
            return Err(ControlError::Conflict(text));
        }
        let belongs = |host| directory.hosts.contains_key(&host);
        let claim = self.shared.database.claim_enrolment(&sha256(request.secret.as_bytes()), &device, &belongs).await;
        let claim = claim.map_err(unavailable)?;
        let Claimed { host, labels, .. } = claim.map_err(|refused| match refused {
            ClaimRefused::Unknown | ClaimRefused::Used(_) | ClaimRefused::Expired(_) => {
                ControlError::Unauthenticated(format!("{refused}; ask for a new one"))
            }
            ClaimRefused::OtherName(_) => ControlError::Invalid(refused.to_string()),
            ClaimRefused::KnownAs(_) | ClaimRefused::NameTaken(_) => ControlError::Conflict(refused.to_string()),
        })?;
        let input =
            Input::Enrol { host, name: device.name, machine_id: device.machine_id, public_key: device.public_key, labels };
        match self.ask(input, None).await? {
            Reply::Noted | Reply::Accepted { .. } => {}
            Reply::Refused(refusal) => return Err(ControlError::Refused(refusal)),
        }
        // Whoever is connected under this id did so with the key before.
        self.kick(host);
        Ok(EnrolAnswer {
            host_id: host,
            mqtt_host: addresses.mqtt_host,
            mqtt_port: addresses.mqtt_port,
            mqtt_secret,
            controller_public_key: self.shared.public_key,
            ca_pem: addresses.ca_pem,
        })
    }

    /// Ends the connection of a device, if it has one.
    pub(super) fn kick(&self, host: TargetId) {
        if let Some(publisher) = &*self.shared.publisher.read().unwrap_or_else(PoisonError::into_inner) {
            publisher.kick(host);
        }
    }

    fn addresses(&self) -> Result<&Addresses, ControlError> {
        self.shared
            .addresses
            .get()
            .ok_or_else(|| ControlError::Unavailable("the controller is starting: try again in a few seconds".to_owned()))
    }
}

/// Names stand in selectors and logs: like host names, and never like an id.
pub(super) fn check_name(name: &str) -> Result<(), ControlError> {
    let fits = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    let starts = name.chars().next().is_some_and(|c| c.is_ascii_alphanumeric());
    if !starts || name.len() > NAME_MAX || !name.chars().all(fits) || name.parse::<TargetId>().is_ok() {
        let text = format!(
            "a host name has 1 to {NAME_MAX} letters, digits, or any of - _ . and begins with a letter or digit, not {name:?}"
        );
        return Err(ControlError::Invalid(text));
    }
    Ok(())
}

pub(super) fn check_labels(labels: &Labels) -> Result<(), ControlError> {
    let fits = |text: &str| {
        !text.is_empty()
            && text.len() <= 253
            && text.trim() == text
            // What begins with a dash would be an option to the programs that a drain or a check runs with it.
            && !text.starts_with('-')
            && !text.contains([',', '='])
            && !text.contains(char::is_control)
    };
    if labels.len() > LABELS_MAX || !labels.iter().all(|(key, value)| fits(key) && fits(value)) {
        let text = format!(
            "a host has at most {LABELS_MAX} labels, each a word and a value of at most 253 bytes without , and =, not beginning with -"
        );
        return Err(ControlError::Invalid(text));
    }
    Ok(())
}

fn check_machine_id(id: &str) -> Result<(), ControlError> {
    if id.len() == 32 && id.bytes().all(|c| c.is_ascii_hexdigit()) && id.bytes().any(|c| c != b'0') {
        Ok(())
    } else {
        Err(ControlError::Invalid(
            "a machine id has 32 hex digits that are not all 0 (see /etc/machine-id on the host)".to_owned(),
        ))
    }
}
