use std::fs::Permissions;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};

use model::ServiceVerb;

use super::super::tests::{Host, Mounted, key, why};
use super::*;
use crate::testing::run;

mod ways;

/// Root alone can make what belongs to somebody else.
fn is_root() -> bool {
    std::fs::metadata("/proc/self").unwrap().uid() == 0
}

const OLD: &str = "a:644=old bin/755(run:644=old) env:644=secret logs/755(1:644=line) only-old:644=old unit:644=first";
const NEW: &str = "a:644=new bin/755(run:644=old) env:644=secret logs/755(1:644=line) only-new:644=new unit:644=second";

/// The way in which the destination lies there.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Way {
    Tree,
    Link,
}

fn host(way: Way) -> Host {
    let host = Host::new();
    let old = if way == Way::Link { "releases/1" } else { "app/web" };
    for (name, text) in
        [("a", "old"), ("bin/run", "old"), ("env", "secret"), ("logs/1", "line"), ("only-old", "old"), ("unit", "first")]
    {
        host.write(&format!("{old}/{name}"), text);
    }
    if way == Way::Link {
        std::fs::create_dir(host.at("app")).unwrap();
        symlink(host.at("releases/1"), host.at("app/web")).unwrap();
    }
    for (name, text) in
        [("a", "new"), ("bin/run", "old"), ("env", "default"), ("logs/2", "other"), ("only-new", "new"), ("unit", "second")]
    {
        host.write(&format!("source/{name}"), text);
    }
    host
}

fn deploy_of(host: &Host) -> Deploy {
    Deploy {
        source: host.path("source/"),
        destination: host.path("app/web"),
        exclude: vec!["logs/".into()],
        keep: vec!["env".into(), "not-there".into()],
        unit_file: Some("unit".into()),
    }
}

fn deploy(host: &Host, n: u128) -> ServiceVerb {
    ServiceVerb::Deploy { key: key(n), deploy: deploy_of(host), limit: Millis::secs(60) }
}

fn revert(host: &Host, n: u128) -> ServiceVerb {
    ServiceVerb::Revert { key: key(n), deploy: deploy_of(host), limit: Millis::secs(60) }
}

#[test]
fn s3_14_a_new_tree_takes_the_place_of_the_old_one_whole_and_back() {
    for shell in crate::testing::shells() {
        for way in [Way::Tree, Way::Link] {
            let mut host = host(way);
            host.shell.clone_from(&shell);
            let inode = std::fs::metadata(host.at("app/web")).unwrap().ino();
            let seen = host.seen(&deploy(&host, 1));
            assert!(seen.changed && seen.detail.contains("app/web"), "{seen:?}");
            assert_eq!(host.tree("app/web"), NEW, "{way:?}");
            assert_eq!(host.read("units/web.service"), "second");
            assert_eq!(host.asked(), ["systemctl daemon-reload"]);
            let again = host.seen(&deploy(&host, 1));
            assert!(again.changed, "a repeat tells the same");
            assert_eq!(host.asked().len(), 1, "and does nothing");
            let seen = host.seen(&revert(&host, 1));
            assert!(seen.changed && seen.detail.contains("/failed"), "{seen:?}");
            assert_eq!((host.tree("app/web").as_str(), std::fs::metadata(host.at("app/web")).unwrap().ino()), (OLD, inode));
            assert_eq!(host.at("app/web").is_symlink(), way == Way::Link);
            assert!(host.seen(&revert(&host, 1)).changed);
            assert_eq!(host.tree("app/web"), OLD);
            let late = why(&host.perform(&deploy(&host, 1)));
            assert_eq!(late.0, ErrorCode::Refused, "{late:?}");
            // And again for another run.
            assert!(host.seen(&deploy(&host, 2)).changed);
            assert_eq!(host.tree("app/web"), NEW);
            assert!(!host.at("app/web.reveille").join(key(1).to_string()).exists(), "older trees are removed");
        }
    }
}

#[test]
fn the_same_tree_again_is_no_change() {
    for way in [Way::Tree, Way::Link] {
        let host = host(way);
        host.seen(&deploy(&host, 1));
        let before = host.tree("app/web");
        let seen = host.seen(&deploy(&host, 2));
        assert!(!seen.changed, "{seen:?}");
        assert!(!host.seen(&revert(&host, 2)).changed);
        assert_eq!(host.tree("app/web"), before);
        assert_eq!(host.asked().len(), 1);
        // The old tree of the run that changed something is still there.
        assert!(host.seen(&revert(&host, 1)).changed);
        assert_eq!(host.tree("app/web"), OLD);
        // A unit file alone is a change.
        host.seen(&deploy(&host, 3));
        host.write("units/web.service", "by hand");
        assert!(host.seen(&deploy(&host, 4)).changed);
        assert_eq!(host.read("units/web.service"), "second");
        // So is a mode alone; a time is none.
        std::fs::set_permissions(host.at("source/a"), std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        host.write("source/only-new", "new");
        assert!(host.seen(&deploy(&host, 5)).changed);
        host.write("source/only-new", "new");
        assert!(!host.seen(&deploy(&host, 6)).changed);
    }
}

#[test]
fn a_first_deploy_has_no_old_tree_and_is_taken_back_to_nothing() {
    let host = host(Way::Tree);
    std::fs::remove_dir_all(host.at("app")).unwrap();
    assert!(host.seen(&deploy(&host, 1)).changed);
    let first = "a:644=new bin/755(run:644=old) env:644=default only-new:644=new unit:644=second";
    assert_eq!(host.tree("app/web"), first, "what is kept comes from the source once, what is excluded never");
    let seen = host.seen(&revert(&host, 1));
    assert!(seen.changed && !host.at("app/web").exists(), "{seen:?}");
    assert!(host.seen(&revert(&host, 1)).changed);
}

#[test]
fn what_is_kept_is_a_path_and_no_pattern() {
    let host = host(Way::Tree);
    for name in ["app/web/odd[1]*", "app/web/odd1x", "app/web/sub/my file"] {
        host.write(name, "old");
    }
    for name in ["source/odd[1]*", "source/odd1x", "source/sub/my file", "source/sub/other"] {
        host.write(name, "new");
    }
    let keep = vec!["odd[1]*".into(), "sub//my file".into()];
    let deploy = Deploy { keep, unit_file: None, ..deploy_of(&host) };
    host.seen(&ServiceVerb::Deploy { key: key(1), deploy, limit: Millis::secs(60) });
    let is = |name: &str| host.read(&format!("app/web/{name}"));
    assert_eq!([is("odd[1]*"), is("odd1x"), is("sub/my file"), is("sub/other")], ["old", "new", "old", "new"]);
}

#[test]
fn the_old_tree_is_never_written_to() {
    let host = host(Way::Tree);
    // The same size and time, other rights: in place this would change the old file.
    let time = std::time::SystemTime::now() - std::time::Duration::from_secs(1000);
    for name in ["app/web/bin/run", "source/bin/run"] {
        std::fs::File::options().write(true).open(host.at(name)).unwrap().set_modified(time).unwrap();
    }
    std::fs::set_permissions(host.at("source/bin/run"), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    host.seen(&deploy(&host, 1));
    assert_eq!(host.tree(&format!("app/web.reveille/{}/old", key(1))), OLD);
    // What is kept is the same file in both, so that nothing that is written to it is lost.
    let ino = |name: String| std::fs::metadata(host.at(&name)).unwrap().ino();
    assert_eq!(ino("app/web/env".into()), ino(format!("app/web.reveille/{}/old/env", key(1))));
}

/// From every point at which it is killed a repeat completes it, and a revert brings the old tree back, never a mixture.
#[test]
fn killed_anywhere_a_repeat_completes_it_and_a_revert_brings_the_old_tree_back() {
    for way in [Way::Tree, Way::Link] {
        let mut faults = 0;
        for stop in 1..150 {
            let host = host(way);
            let struck = host.killed(&deploy(&host, 1), stop);
            faults += u32::from(struck);
            let left = host.tree("app/web");
            assert!(left == OLD || left == NEW, "{way:?} {stop}: {left}");
            if stop % 2 == 0 {
                host.seen(&deploy(&host, 1));
                assert_eq!(host.tree("app/web"), NEW, "{way:?} {stop}");
                assert_eq!(host.read("units/web.service"), "second");
            }
            let seen = host.seen(&revert(&host, 1));
            assert_eq!(host.tree("app/web"), OLD, "{way:?} {stop}");
            assert_eq!(seen.changed, left == NEW || stop % 2 == 0, "{way:?} {stop}: {seen:?}");
            let stage = host.at("app/web.reveille").join(key(1).to_string());
            assert!(!stage.join("new").exists() && !stage.join("old").exists(), "{way:?} {stop}");
            if !struck {
                break;
            }
        }
        assert!(faults > 20, "{way:?}: {faults}");
    }
}

#[test]
fn a_revert_that_was_killed_anywhere_is_completed_by_the_next() {
    for way in [Way::Tree, Way::Link] {
        let mut faults = 0;
        for stop in 1..60 {
            let host = host(way);
            host.seen(&deploy(&host, 1));
            let struck = host.killed(&revert(&host, 1), stop);
            faults += u32::from(struck);
            let left = host.tree("app/web");
            assert!(left == OLD || left == NEW, "{way:?} {stop}: {left}");
            let seen = host.seen(&revert(&host, 1));
            assert!(seen.changed, "{way:?} {stop}: {seen:?}");
            assert_eq!(host.tree("app/web"), OLD, "{way:?} {stop}");
            if !struck {
                break;
            }
        }
        assert!(faults > 8, "{way:?}: {faults}");
    }
}

/// Where two names cannot be exchanged at once there is a moment without a tree; still it is the old one or the new one.
#[test]
fn without_an_exchange_it_is_two_renames_and_killed_between_them_it_is_completed() {
    let mut without = 0;
    for stop in 1..150 {
        let host = host(Way::Tree);
        host.tool("perl", "exit 1");
        // The counted perl would be the real one.
        let struck = {
            host.tool("uname", "echo other");
            let path = host.path("bin");
            host.killed_with(&deploy(&host, 1), stop, &path)
        };
        let left = host.tree("app/web");
        without += u32::from(left == "none");
        assert!(left == OLD || left == NEW || left == "none", "{stop}: {left}");
        if stop % 2 == 0 {
            host.seen(&deploy(&host, 1));
            assert_eq!(host.tree("app/web"), NEW, "{stop}");
            for back in 1..10 {
                host.killed_with(&revert(&host, 1), back, &host.path("bin"));
            }
        }
        host.seen(&revert(&host, 1));
        assert_eq!(host.tree("app/web"), OLD, "{stop}");
        if !struck {
            break;
        }
    }
    assert!(without > 0, "the moment between the renames was struck");
}

#[test]
fn a_disk_that_gets_full_leaves_the_old_tree_and_no_stage() {
    let host = host(Way::Tree);
    let Some(_mounted) = Mounted::at(host.at("small"), "size=256k") else { return };
    host.write("small/web/a", "old");
    for n in 0..8 {
        host.write(&format!("source/big{n}"), &"x".repeat(60_000));
    }
    let to = Deploy { destination: host.path("small/web"), ..deploy_of(&host) };
    let verb = ServiceVerb::Deploy { key: key(1), deploy: to, limit: Millis::secs(60) };
    let (code, words) = why(&host.perform(&verb));
    assert!(code == ErrorCode::ToolFailed && words.contains("No space left"), "{words}");
    assert_eq!(host.tree("small/web"), "a:644=old");
    assert_eq!(host.tree("small/web.reveille"), "lock:644=");
    assert_eq!(host.read("units/web.service"), "[Service]\nExecStart=/old\n");
}

#[test]
fn a_unit_file_that_cannot_be_installed_leaves_a_deploy_that_a_repeat_completes() {
    let host = host(Way::Tree);
    host.state("script", "case $1 in daemon-reload) echo 'no bus' >&2; exit 1;; esac");
    let (code, words) = why(&host.perform(&deploy(&host, 1)));
    assert!(code == ErrorCode::ToolFailed && words.contains("no bus"), "{words}");
    host.state("script", ":");
    assert!(host.seen(&deploy(&host, 1)).changed);
    assert_eq!(host.asked().len(), 2);
}

#[test]
fn nothing_is_done_without_a_source_or_with_paths_that_lead_elsewhere() {
    let host = host(Way::Tree);
    let good = deploy_of(&host);
    let before = host.tree("app");
    let code = |deploy: Deploy| why(&host.perform(&ServiceVerb::Deploy { key: key(1), deploy, limit: Millis::secs(9) })).0;
    assert_eq!(code(Deploy { source: host.path("nowhere"), ..good.clone() }), ErrorCode::NotFound);
    assert_eq!(code(Deploy { source: host.path("source/a"), ..good.clone() }), ErrorCode::ToolFailed);
    assert_eq!(code(Deploy { unit_file: Some("nowhere".into()), ..good.clone() }), ErrorCode::NotFound);
    symlink("/etc/hostname", host.at("source/link")).unwrap();
    assert_eq!(code(Deploy { unit_file: Some("link".into()), ..good.clone() }), ErrorCode::ToolFailed);
    std::fs::remove_file(host.at("source/link")).unwrap();
    for bad in ["/etc", "../x", "a/../../x", "", "a\nb"] {
        assert_eq!(code(Deploy { keep: vec![bad.into()], ..good.clone() }), ErrorCode::Malformed, "{bad}");
        assert_eq!(code(Deploy { unit_file: Some(bad.into()), ..good.clone() }), ErrorCode::Malformed, "{bad}");
    }
    for bad in ["../x", "+ *", "- x", "!", ""] {
        assert_eq!(code(Deploy { exclude: vec![bad.into()], ..good.clone() }), ErrorCode::Malformed, "{bad}");
    }
    for bad in ["relative", "/", "/usr", "/usr/", "/a/../etc/x", ""] {
        assert_eq!(code(Deploy { destination: bad.into(), ..good.clone() }), ErrorCode::Malformed, "{bad}");
    }
    for inside in ["app/web/dist", "app/web", "app"] {
        assert_eq!(code(Deploy { source: host.path(inside), ..good.clone() }), ErrorCode::Malformed, "{inside}");
    }
    assert_eq!(host.tree("app").replace("web.reveille/755(lock:644=) ", ""), before);
    assert!(!host.seen(&revert(&host, 1)).changed, "nothing was deployed");
}

#[test]
fn what_somebody_else_has_changed_is_not_taken_back() {
    for way in [Way::Tree, Way::Link] {
        let host = host(way);
        host.seen(&deploy(&host, 1));
        std::fs::rename(host.at("app/web"), host.at("app/mine")).unwrap();
        host.write("app/web/x", "other");
        let (code, words) = why(&host.perform(&revert(&host, 1)));
        assert!(code == ErrorCode::Refused && words.contains("neither the old nor the new tree"), "{words}");
        assert_eq!(host.tree("app/web"), "x:644=other");
    }
}

#[test]
fn a_tree_with_a_file_system_of_its_own_and_a_host_without_rsync_are_told_before_anything() {
    let host = host(Way::Tree);
    if let Some(_mounted) = Mounted::at(host.at("app/web/logs"), "size=64k") {
        let (code, words) = why(&host.perform(&deploy(&host, 1)));
        assert!(code == ErrorCode::Unsupported && words.contains("is mounted"), "{words}");
    }
    let text = DEPLOY.replace("command -v rsync", "command -v no-rsync-here");
    let output = host.run(&sh(&text, ["deploy", "k", &host.path("source"), &host.path("app/web"), "", "", "0"], Millis(1000)));
    let error = read(&output).unwrap_err();
    assert!(error.code == ErrorCode::Unsupported && error.why.contains("no rsync"), "{error:?}");
    assert!(!host.at("app/web.reveille").exists());
}

/// As the kernel writes it: three digits for a blank or a backslash.
#[test]
fn a_mount_with_a_blank_in_its_path_is_seen() {
    for name in ["my app", r"a\b", r"x\040y", r"40\ "] {
        let host = host(Way::Tree);
        std::fs::rename(host.at("app"), host.at(name)).unwrap();
        let to = host.path(&format!("{name}/web"));
        let path = to.replace('\\', r"\134").replace(' ', r"\040");
        host.write("mounts", &format!("22 1 0:21 / / rw - ext4 /dev/a rw\n36 22 0:33 / {path}/logs rw - tmpfs tmpfs rw\n"));
        let text = DEPLOY.replace("/proc/self/mountinfo", &host.path("mounts"));
        for shell in crate::testing::shells() {
            let ask = ["deploy", "k", &host.path("source"), &to, "", "", "0"];
            let output = run(&sh(&text, ask, Millis(1000)), &shell, &host.path("bin"));
            let error = read(&output).unwrap_err();
            assert!(error.code == ErrorCode::Unsupported && error.why.contains("is mounted"), "{name}: {error:?}");
        }
    }
    let host = host(Way::Tree);
    let Some(_mounted) = Mounted::at(host.at("my app/web/logs"), "size=64k") else { return };
    let blank = Deploy { destination: host.path("my app/web"), ..deploy_of(&host) };
    let (code, words) = why(&host.perform(&ServiceVerb::Deploy { key: key(1), deploy: blank, limit: Millis::secs(9) }));
    assert!(code == ErrorCode::Unsupported && words.contains("my app/web/logs is mounted"), "{words}");
}

/// A deploy that comes late, over another connection.
#[test]
fn what_was_taken_back_before_it_came_is_never_deployed() {
    for way in [Way::Tree, Way::Link] {
        let host = host(way);
        assert!(!host.seen(&revert(&host, 1)).changed);
        assert!(!host.seen(&revert(&host, 1)).changed, "as often as it is asked");
        let (code, words) = why(&host.perform(&deploy(&host, 1)));
        assert!(code == ErrorCode::Refused && words.contains("was taken back"), "{words}");
        assert_eq!((host.tree("app/web").as_str(), host.read("units/web.service").contains("old")), (OLD, true));
        assert!(host.seen(&deploy(&host, 2)).changed);
        assert_eq!(host.tree("app/web"), NEW);
        assert!(!host.at("app/web.reveille").join(key(1).to_string()).exists(), "and what was noted is gone");
    }
    // Where nothing can be deployed, nothing is left behind, and it is no failure.
    let host = host(Way::Tree);
    std::fs::remove_dir_all(host.at("app")).unwrap();
    assert!(!host.seen(&revert(&host, 1)).changed && !host.at("app").exists());
    host.write("app/web.reveille", "mine");
    assert!(!host.seen(&revert(&host, 1)).changed);
    assert_eq!(host.read("app/web.reveille"), "mine");
    // It gets full at each of the things that are made.
    for inodes in 2..7 {
        let Some(_mounted) = Mounted::at(host.at("full"), &format!("size=64k,nr_inodes={inodes}")) else { return };
        std::fs::create_dir(host.at("full/web")).unwrap();
        let to = Deploy { destination: host.path("full/web"), ..deploy_of(&host) };
        assert!(!host.seen(&ServiceVerb::Revert { key: key(1), deploy: to, limit: Millis::secs(9) }).changed, "{inodes}");
    }
}

/// Root moves and removes things there.
#[test]
fn a_store_that_somebody_else_has_put_there_is_not_touched() {
    for inner in [false, true] {
        let host = host(Way::Tree);
        let ours = format!("app/web.reveille{}", if inner { format!("/{}", key(1)) } else { String::new() });
        host.write("theirs/before", "kind tree\nwas 1\nnew 2\nchanged yes\nunit no\n");
        host.write("theirs/new/x", "theirs");
        let theirs = host.tree("theirs");
        std::fs::create_dir_all(host.at(&ours).parent().unwrap()).unwrap();
        symlink(host.at("theirs"), host.at(&ours)).unwrap();
        let (code, words) = why(&host.perform(&deploy(&host, 1)));
        assert!(code == ErrorCode::Refused && words.contains("somebody else has put it there"), "{inner}: {words}");
        if inner {
            let (code, words) = why(&host.perform(&revert(&host, 1)));
            assert!(code == ErrorCode::Refused && words.contains("somebody else has put it there"), "{words}");
        }
        assert_eq!((host.tree("app/web").as_str(), host.tree("theirs")), (OLD, theirs), "{inner}");
        if !is_root() {
            continue;
        }
        std::fs::remove_file(host.at(&ours)).unwrap();
        std::fs::create_dir(host.at(&ours)).unwrap();
        std::os::unix::fs::chown(host.at(&ours), Some(1), None).unwrap();
        let (code, _) = why(&host.perform(&deploy(&host, 1)));
        assert_eq!((code, host.tree("app/web").as_str()), (ErrorCode::Refused, OLD), "{inner}");
    }
}

/// S3-85: what is told to a person puts the old tree back, and can be typed whatever the run came to.
#[test]
fn s3_85_the_old_tree_is_put_back_by_hand_with_the_commands_that_are_told() {
    for kind in ["tree", "link", "none"] {
        for (deployed, reverted) in [(false, false), (true, false), (true, true)] {
            let host = host(if kind == "link" { Way::Link } else { Way::Tree });
            if kind == "none" {
                std::fs::rename(host.at("app/web"), host.at("gone")).unwrap();
            }
            host.tool("sudo", "exec \"$@\"");
            let before = (host.tree("app/web"), host.at("app/web").is_symlink());
            if deployed {
                host.seen(&deploy(&host, 1));
            }
            if reverted {
                host.seen(&revert(&host, 1));
            }
            for _ in 0..2 {
                for line in super::super::help::old_tree(key(1), &host.path("app/web")) {
                    run(&crate::Invocation::new(["sh", "-c", line.as_str()], Millis(1000)), &host.shell, &host.path("bin"));
                }
                let after = (host.tree("app/web"), host.at("app/web").is_symlink());
                assert_eq!(after, before, "{kind} {deployed} {reverted}");
            }
        }
    }
    // Killed anywhere in the switch, or on the way back.
    for stop in 1..60 {
        let host = host(Way::Tree);
        host.tool("sudo", "exec \"$@\"");
        let mut struck = host.killed(&deploy(&host, 1), stop + 10);
        if stop % 2 == 0 {
            host.seen(&deploy(&host, 1));
            struck = host.killed(&revert(&host, 1), stop / 2);
        }
        for line in super::super::help::old_tree(key(1), &host.path("app/web")) {
            run(&crate::Invocation::new(["sh", "-c", line.as_str()], Millis(1000)), &host.shell, &host.path("bin"));
        }
        assert_eq!(host.tree("app/web"), OLD, "{stop}");
        if !struck && stop > 50 {
            break;
        }
    }
}

/// While a deploy waits for its turn, it may be taken back.
#[test]
fn what_was_taken_back_while_it_waited_for_its_turn_is_not_deployed() {
    let host = host(Way::Tree);
    // The lock is got after the other copy's work.
    let at = host.at("app/web.reveille").join(key(1).to_string());
    host.tool("flock", &format!("mkdir -p {0} && echo no > {0}/reverted", at.display()));
    let (code, words) = why(&host.perform(&deploy(&host, 1)));
    assert!(code == ErrorCode::Refused && words.contains("was taken back"), "{words}");
    assert_eq!(host.tree("app/web"), OLD);
    assert_eq!(host.tree(&format!("app/web.reveille/{}", key(1))), "reverted:644=no");
}

#[test]
fn another_copy_at_work_is_not_disturbed() {
    let host = host(Way::Tree);
    std::fs::create_dir_all(host.at("app/web.reveille")).unwrap();
    let lock = host.path("app/web.reveille/lock");
    let mut other = std::process::Command::new("flock").args(["--no-fork", &lock, "sleep", "30"]).spawn().unwrap();
    while !host.at("app/web.reveille/lock").exists() {
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    std::thread::sleep(std::time::Duration::from_millis(50));
    let text = DEPLOY.replace("flock -w 10", "flock -w 0.1");
    let output = host.run(&sh(&text, ["deploy", "k", &host.path("source"), &host.path("app/web"), "", "", "0"], Millis(1000)));
    other.kill().unwrap();
    other.wait().unwrap();
    assert_eq!(read(&output).unwrap_err().code, ErrorCode::Refused);
}
