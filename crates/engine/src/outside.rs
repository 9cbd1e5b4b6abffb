//! The ids under which machines are known to programs of others.

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use uuid::{Builder, Uuid};

/// Zincati's application id, from its source.
const ZINCATI: Uuid = Uuid::from_u128(0xde35_106b_6ec2_4688_b63a_fdda_a156_679b);

/// By which id Zincati names this machine to a server of `FleetLock`: systemd's `sd_id128_get_machine_app_specific`. The machine
/// id itself is not told. `None` for what is no machine id.
pub(crate) fn zincati_id(machine_id: &str) -> Option<String> {
    let machine = Uuid::parse_str(machine_id).ok()?;
    let mut mac = Hmac::<Sha256>::new_from_slice(machine.as_bytes()).ok()?;
    mac.update(ZINCATI.as_bytes());
    let digest: [u8; 32] = mac.finalize().into_bytes().into();
    let half: [u8; 16] = digest.first_chunk().copied()?;
    Some(Builder::from_random_bytes(half).into_uuid().simple().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As `systemd-id128 machine-id --app-specific=de35106b6ec24688b63afddaa156679b` prints it on a machine of that id.
    #[test]
    fn it_is_what_systemd_makes_of_it() {
        let seen = [("3d1219c7c4c5404aaa1f6d2a48adfda4", "975228d46dc94622b9bbe16671e2b58d")];
        for (machine, told) in seen {
            assert_eq!(zincati_id(machine).as_deref(), Some(told));
        }
        assert_eq!(zincati_id(""), None);
        assert_eq!(zincati_id("machine-1"), None);
    }
}
