use super::*;
use crate::testing::{broken, drive, said};

const TWO: &str = "Id=web.service\nDescription=The web=1 service\nLoadState=loaded\nActiveState=active\nSubState=running\n\
                   After=db.service network.target\nRequires=db.service\nInvocationID=4f9c0a6f3a1d4a3f8a52d0f0b1c2d301\n\
                   NRestarts=0\nResult=success\nCanReload=no\nNeedDaemonReload=no\nFragmentPath=/etc/systemd/system/web.service\n\
                   DropInPaths=\n\n\
                   Id=db.service\nDescription=Database\nLoadState=loaded\nActiveState=inactive\nSubState=dead\nAfter=\nRequires=\n\
                   InvocationID=\nNRestarts=0\nResult=success\nCanReload=yes\nNeedDaemonReload=no\n\
                   FragmentPath=/usr/lib/systemd/system/db.service\nDropInPaths=\n";

fn list(patterns: &[&str], output: &Output) -> (String, Result<Vec<ListedUnit>, String>) {
    let patterns: Vec<String> = patterns.iter().map(|&pattern| pattern.to_owned()).collect();
    drive(list_units(&patterns), |_, _| (output.clone(), Millis(1)))
}

#[test]
fn s3_94_all_services_are_listed_with_their_states() {
    let (story, listed) = list(&["lilith-*", "web.service"], &said(TWO));
    assert!(story.contains("-- lilith-*.service web.service"), "{story}");
    let listed = listed.unwrap();
    assert_eq!(listed.iter().map(|unit| unit.name.as_str()).collect::<Vec<_>>(), ["db.service", "web.service"]);
    assert_eq!((listed[1].requires.as_slice(), listed[1].after.len()), (&["db.service".to_owned()][..], 2));
    assert_eq!((listed[1].description.as_str(), listed[1].unit.is_up()), ("The web=1 service", true));
    assert!(list(&[], &said(TWO)).0.contains("-- *.service"));
}

#[test]
fn what_cannot_be_read_is_never_no_services() {
    for bad in broken(TWO) {
        assert!(list(&[], &bad).1.is_err(), "{bad:?}");
    }
    assert!(list(&["x*"], &said("")).1.unwrap().is_empty(), "nothing fits");
    assert!(list(&[], &said("")).1.is_err());
    for bad in ["", "-x", "a b", "a/b", "$(x)"] {
        assert!(list(&[bad], &said(TWO)).1.is_err(), "{bad}");
    }
}
