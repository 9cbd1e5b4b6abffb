//! Tests on real systemd hosts that really reboot.
