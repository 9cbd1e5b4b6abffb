use super::*;
use crate::testing::{broken, said};

const GOOD: &str = "LoadState=loaded\nActiveState=active\nSubState=running\nInvocationID=4f9c0a6f3a1d4a3f8a52d0f0b1c2d301\n\
                    NRestarts=2\nResult=success\nCanReload=no\nNeedDaemonReload=yes\n\
                    FragmentPath=/etc/systemd/system/web.service\nDropInPaths=/etc/systemd/system/web.service.d/a.conf /run/b.conf\n";

#[test]
fn a_unit_is_read_whole() {
    let Looked { unit, drop_ins } = read("web.service", &said(GOOD)).unwrap();
    assert_eq!((unit.restarts, unit.can_reload, unit.needs_daemon_reload), (2, false, true));
    assert_eq!((unit.fragment.as_str(), drop_ins.len()), ("/etc/systemd/system/web.service", 2));
    for bad in broken(GOOD) {
        assert!(read("web.service", &bad).is_err(), "{bad:?}");
    }
}

#[test]
fn a_property_that_is_missing_or_odd_is_an_error() {
    for line in GOOD.lines().filter(|line| !line.starts_with("DropInPaths")) {
        assert!(read("web.service", &said(&GOOD.replace(&format!("{line}\n"), ""))).is_err(), "{line}");
        let (name, _) = line.split_once('=').unwrap();
        if !["LoadState", "SubState", "Result"].contains(&name) {
            assert!(read("web.service", &said(&GOOD.replace(line, &format!("{name}=odd")))).is_err(), "{line}");
        }
    }
    let zeros = GOOD.replace("4f9c0a6f3a1d4a3f8a52d0f0b1c2d301", &"0".repeat(32));
    assert_eq!(read("web.service", &said(&zeros)).unwrap().unit.invocation, None);
    // A target has no run and no restarts.
    let target = "LoadState=loaded\nActiveState=active\nSubState=active\nInvocationID=\nCanReload=no\nNeedDaemonReload=no\n\
                  FragmentPath=/usr/lib/systemd/system/network.target\n";
    let unit = read("network.target", &said(target)).unwrap().unit;
    assert_eq!((unit.invocation, unit.restarts, unit.result.as_str()), (None, 0, ""));
}
