use std::os::unix::fs::PermissionsExt as _;

use model::ServiceVerb;

use super::super::tests::{Host, Mounted, RUN_1, UNIT, key, seen, tree, why};
use super::*;

fn back_up(n: u128) -> ServiceVerb {
    ServiceVerb::BackUp { key: key(n) }
}

fn restore(n: u128) -> ServiceVerb {
    ServiceVerb::Restore { key: key(n), start: false, grace: Millis::secs(5) }
}

#[test]
fn s3_12_13_a_unit_file_and_its_drop_ins_are_copied_beside_it() {
    for shell in crate::testing::shells() {
        let host = Host::with(&shell);
        host.write("units/web.service.d/limits.conf", "[Service]\nLimitNOFILE=9\n");
        host.state("drop_ins", "/usr/lib/systemd/system/service.d/all.conf");
        let seen = host.seen(&back_up(1));
        assert!(seen.changed && seen.detail.contains("not copied, as they lie elsewhere: /usr/lib"), "{}", seen.detail);
        assert_eq!(host.read("units/web.service.backup"), "[Service]\nExecStart=/old\n");
        assert_eq!(host.read("units/web.service.d.backup/limits.conf"), "[Service]\nLimitNOFILE=9\n");
        let before = host.tree("units");
        assert!(!before.contains(".new") && !before.contains(".part") && !before.contains(".making"), "{before}");
        // A repeat changes nothing, even after the unit file was replaced.
        host.write("units/web.service", "new");
        assert!(host.seen(&back_up(1)).changed);
        assert_eq!(
            host.tree("units"),
            before.replace("[Service]\nExecStart=/old web.service.backup", "new web.service.backup").replacen(
                "web.service:644=[Service]\nExecStart=/old",
                "web.service:644=new",
                1
            )
        );
    }
}

#[test]
fn a_backup_of_another_run_is_kept_and_one_that_was_changed_is_not_used() {
    let host = Host::new();
    host.seen(&back_up(1));
    host.write("units/web.service", "second");
    let seen = host.seen(&back_up(2));
    assert!(seen.detail.contains(&format!("the backup of {} is kept as", key(1))), "{}", seen.detail);
    assert_eq!(host.read("units/web.service.backup"), "second");
    assert_eq!(host.read("units/web.service.backup.previous"), "[Service]\nExecStart=/old\n");
    assert!(host.read("units/web.service.backup.of.previous").contains(&key(1).to_string()));
    host.write("units/web.service.backup", "by hand");
    let (code, words) = why(&host.perform(&back_up(2)));
    assert!(code == ErrorCode::ToolFailed && words.contains("is not what was copied"), "{words}");
    let (code, _) = why(&host.perform(&restore(2)));
    assert_eq!(code, ErrorCode::ToolFailed);
    assert_eq!(host.read("units/web.service"), "second");
}

#[test]
fn a_backup_that_a_person_made_is_kept_too() {
    let host = Host::new();
    host.write("units/web.service.backup", "by hand");
    let seen = host.seen(&back_up(1));
    assert!(seen.detail.contains("a backup of somebody else is kept as"), "{}", seen.detail);
    assert_eq!(host.read("units/web.service.backup.previous"), "by hand");
}

/// What a restart comes back to is what runs, not what lies there when it begins.
#[test]
fn a_unit_file_that_was_replaced_is_backed_up_and_put_back_as_its_run_was_started() {
    for shell in crate::testing::shells() {
        let host = Host::with(&shell);
        let (old, new) = ("[Service]\nExecStart=/old\n", "[Service]\nExecStart=/new\n");
        let replaced = format!("units/web.service.replaced.{RUN_1}");
        std::fs::set_permissions(host.at("units/web.service"), std::fs::Permissions::from_mode(0o600)).unwrap();
        std::fs::rename(host.at("units/web.service"), host.at(&replaced)).unwrap();
        host.write("units/web.service", new);
        let detail = host.seen(&back_up(1)).detail;
        assert!(detail.contains(&format!("{} was copied to", host.path(&replaced))), "{detail}");
        assert_eq!(host.read("units/web.service.backup"), old);
        let before = host.tree("units");
        host.seen(&back_up(1));
        assert_eq!(host.tree("units"), before, "a repeat gives the same");
        assert!(host.seen(&restore(1)).changed);
        assert_eq!(host.read("units/web.service"), old);
        assert!(host.tree("units").contains("web.service:600="), "{}", host.tree("units"));

        // The first restart ended before it came to the unit: the same run goes on.
        host.write("units/web.service", new);
        host.seen(&back_up(2));
        assert_eq!(host.read("units/web.service.backup"), old);
        // It was started since: the new file is what runs.
        host.state("run", "4f9c0a6f3a1d4a3f8a52d0f0b1c2d302");
        host.seen(&back_up(3));
        assert_eq!(host.read("units/web.service.backup"), new);
        host.seen(&restore(3));
        assert_eq!(host.read("units/web.service"), new);
    }
}

#[test]
fn a_unit_file_of_a_package_is_backed_up_whatever_lies_beside_it() {
    let host = Host::new();
    host.write("package/web.service", "package");
    host.write(&format!("package/web.service.replaced.{RUN_1}"), "somebody's");
    host.state("fragment", &host.path("package/web.service"));
    host.seen(&back_up(1));
    assert_eq!(host.read("units/web.service.backup"), "package");
}

/// Killed anywhere, it is made again; and what was there before is never lost.
#[test]
fn a_backup_that_was_killed_anywhere_is_made_anew() {
    let mut faults = 0;
    for stop in 1..100 {
        let struck = {
            let host = Host::new();
            host.write("units/web.service.d/a.conf", "a");
            host.seen(&back_up(1));
            let first = host.read("units/web.service.backup.of");
            host.write("units/web.service", "second");
            host.write("units/web.service.d/a.conf", "b");
            let struck = host.killed(&back_up(2), stop);
            faults += u32::from(struck);
            host.seen(&back_up(2));
            assert_eq!(host.read("units/web.service.backup"), "second", "{stop}");
            assert_eq!(host.read("units/web.service.d.backup/a.conf"), "b", "{stop}");
            assert_eq!(host.read("units/web.service.backup.previous"), "[Service]\nExecStart=/old\n", "{stop}");
            assert_eq!(host.read("units/web.service.d.backup.previous/a.conf"), "a", "{stop}");
            assert_eq!(host.read("units/web.service.backup.of.previous"), first, "{stop}");
            let left = host.tree("units");
            assert!(!left.contains(".new") && !left.contains(".making"), "{stop}: {left}");
            struck
        };
        if !struck {
            break;
        }
    }
    assert!(faults > 15, "{faults}");
}

/// Whatever it was: an earlier backup of the same content, a person's, or a copy of drop-ins alone. One earlier backup is kept.
#[test]
fn what_lay_there_before_a_backup_that_was_killed_anywhere_is_kept() {
    const OLD: &str = "[Service]\nExecStart=/old\n";
    let before = |what: &str, host: &Host| match what {
        "the same" | "the same with drop-ins" => {
            if what == "the same with drop-ins" {
                host.write("units/web.service.d/a.conf", "a");
            }
            host.write("units/web.service.backup", "by hand");
            host.seen(&back_up(1));
        }
        "a person's" => host.write("units/web.service.backup", "by hand"),
        "drop-ins" => host.write("units/web.service.d.backup/a.conf", "by hand"),
        _ => {}
    };
    for what in ["nothing", "the same", "the same with drop-ins", "a person's", "drop-ins"] {
        let (mut faults, mut made) = (0, 0);
        for stop in 1..100 {
            let host = Host::new();
            before(what, &host);
            let struck = host.killed(&back_up(2), stop);
            faults += u32::from(struck);
            let of = host.read("units/web.service.backup.of");
            let is_made = of.contains(&key(2).to_string()) && of.contains("whole");
            made += u32::from(is_made);
            let left = host.tree("units");
            assert!(struck || !left.contains(".new"), "{what} {stop}: {left}");
            if what.starts_with("the same") && is_made {
                assert_eq!(host.read("units/web.service.backup.previous"), "by hand", "{what} {stop}: not twice the same");
            }
            // Another one comes when the unit file is another.
            host.write("units/web.service", "third");
            host.seen(&back_up(3));
            assert_eq!(host.read("units/web.service.backup"), "third", "{what} {stop}");
            let kept = match what {
                "a person's" | "nothing" if is_made => Some(("web.service.backup.previous", OLD)),
                "the same" | "the same with drop-ins" => Some(("web.service.backup.previous", OLD)),
                "a person's" => Some(("web.service.backup.previous", "by hand")),
                "drop-ins" if !is_made => Some(("web.service.d.backup.previous/a.conf", "by hand")),
                _ => None,
            };
            if let Some((name, text)) = kept {
                assert_eq!(host.read(&format!("units/{name}")), text, "{what} {stop} {is_made}");
            }
            let left = host.tree("units");
            assert!(!left.contains(".new") && !left.contains(".making"), "{what} {stop}: {left}");
            if !struck {
                break;
            }
        }
        assert!(faults > 3 && made > 1, "{what}: {faults} {made}");
    }
}

#[test]
fn a_disk_that_is_full_or_may_not_be_written_leaves_nothing_half_made() {
    let host = Host::new();
    let text = host.read("units/web.service");
    let Some(mounted) = Mounted::at(host.at("units"), "size=16k") else { return };
    host.write("units/web.service", &text);
    host.write("units/dust", &"x".repeat(4096));
    host.write("units/more", &"x".repeat(4096));
    let before = host.tree("units");
    let (code, words) = why(&host.perform(&back_up(1)));
    assert!(code == ErrorCode::ToolFailed && words.contains("No space left"), "{words}");
    assert_eq!(host.tree("units"), before);
    std::fs::remove_file(host.at("units/dust")).unwrap();
    std::fs::remove_file(host.at("units/more")).unwrap();
    mounted.remount("remount,ro");
    let before = host.tree("units");
    let (code, words) = why(&host.perform(&back_up(1)));
    assert!(code == ErrorCode::ToolFailed && words.contains("Read-only file system"), "{words}");
    assert_eq!(host.tree("units"), before);
    // Nothing is to be put back, so that it may be as it is.
    assert!(!host.seen(&restore(1)).changed);
}

#[test]
fn a_unit_without_a_file_has_nothing_to_back_up() {
    let host = Host::new();
    host.state("fragment", "");
    assert_eq!(why(&host.perform(&back_up(1))).0, ErrorCode::NotFound);
    host.state("fragment", &host.path("units/gone.service"));
    assert_eq!(why(&host.perform(&back_up(1))).0, ErrorCode::ToolFailed);
    assert_eq!(tree(&host.at("units")), "web.service:644=[Service]\nExecStart=/old");
    assert!(seen(&host.perform(&ServiceVerb::Inspect { checks: vec![] })).unit.is_up(), "{UNIT}");
}
