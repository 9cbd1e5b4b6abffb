//! Folders and links on the way to a destination: whose they are, and where they lead.

use super::*;

/// Whoever can write to a folder above it can put something else in the way of root.
#[test]
fn a_destination_that_others_could_replace_is_refused_before_anything_is_changed() {
    for shell in crate::testing::shells() {
        for way in [Way::Tree, Way::Link] {
            let mut host = host(way);
            host.shell.clone_from(&shell);
            let before = (host.tree("app"), host.read("units/web.service"));
            for (open, mode, word) in [("app", 0o775, "app"), ("app", 0o757, "app"), ("", 0o777, "")] {
                std::fs::set_permissions(host.at(open), Permissions::from_mode(mode)).unwrap();
                let (code, words) = why(&host.perform(&deploy(&host, 1)));
                let told = format!("{} can be written to by others than root", host.path(word).trim_end_matches('/'));
                assert!(code == ErrorCode::Refused && words.contains(&told) && words.contains("chmod go-w"), "{words}");
                assert!(!host.seen(&revert(&host, 1)).changed);
                assert_eq!((host.tree("app"), host.read("units/web.service")), before, "{open} {mode:o}");
                std::fs::set_permissions(host.at(open), Permissions::from_mode(0o755)).unwrap();
            }
            // What others have put there is theirs alone: as in /tmp.
            std::fs::set_permissions(host.at("app"), Permissions::from_mode(0o1777)).unwrap();
            assert!(host.seen(&deploy(&host, 2)).changed);
        }
    }
}

#[test]
fn a_folder_above_the_destination_that_belongs_to_somebody_else_is_refused() {
    let host = host(Way::Tree);
    if !is_root() {
        return;
    }
    std::os::unix::fs::chown(host.at("app"), Some(1), None).unwrap();
    let (code, words) = why(&host.perform(&deploy(&host, 1)));
    assert!(code == ErrorCode::Refused && words.contains("app belongs to "), "{words}");
    assert_eq!(host.tree("app/web"), OLD);
    assert!(!host.at("app/web.reveille").exists());
    // So is a link on the way there: it may lead elsewhere tomorrow.
    std::os::unix::fs::chown(host.at("app"), Some(0), None).unwrap();
    symlink(host.at("app"), host.at("way")).unwrap();
    std::os::unix::fs::lchown(host.at("way"), Some(1), None).unwrap();
    let linked = Deploy { destination: host.path("way/web"), ..deploy_of(&host) };
    let (code, words) = why(&host.perform(&ServiceVerb::Deploy { key: key(1), deploy: linked, limit: Millis::secs(60) }));
    assert!(code == ErrorCode::Refused && words.contains("way belongs to "), "{words}");
}

/// In a folder that all may write to, somebody else makes what was not there at the first look.
#[test]
fn a_folder_that_somebody_else_makes_meanwhile_is_refused() {
    let theirs: &[&str] = if is_root() { &["chmod 777", "chown 1"] } else { &["chmod 777"] };
    for shell in crate::testing::shells() {
        for how in theirs {
            let mut host = host(Way::Tree);
            host.shell.clone_from(&shell);
            std::fs::set_permissions(host.at("app"), Permissions::from_mode(0o1777)).unwrap();
            let folder = host.path("app/new");
            host.tool("mkdir", &format!("PATH=/usr/bin:/bin\nmkdir {folder} && {how} {folder}\nexec mkdir \"$@\""));
            let to = Deploy { destination: host.path("app/new/web"), ..deploy_of(&host) };
            let verb = ServiceVerb::Deploy { key: key(1), deploy: to.clone(), limit: Millis::secs(60) };
            let (code, words) = why(&host.perform(&verb));
            assert!(code == ErrorCode::Refused && words.contains("app/new "), "{shell:?} {how}: {words}");
            assert_eq!(host.tree("app/new"), "web.reveille/755()", "nothing is written there");
            // Nor when it comes just before a deploy is taken back.
            std::fs::remove_dir_all(host.at("app/new")).unwrap();
            host.tool(
                "id",
                &format!("PATH=/usr/bin:/bin\n[ -e {folder} ] || {{ mkdir {folder} && {how} {folder}; }}\nexec id \"$@\""),
            );
            assert!(!host.seen(&ServiceVerb::Revert { key: key(1), deploy: to, limit: Millis::secs(60) }).changed);
            assert_eq!(host.tree("app/new"), "", "{shell:?} {how}");
        }
    }
}

/// The old tree lies beside the new one, on the same file system, wherever links lead.
#[test]
fn a_link_above_the_destination_is_followed_once() {
    for shell in crate::testing::shells() {
        let mut host = host(Way::Tree);
        host.shell.clone_from(&shell);
        std::fs::create_dir_all(host.at("other/apps")).unwrap();
        std::fs::rename(host.at("app"), host.at("other/apps/here")).unwrap();
        symlink("../other/apps", host.at("units/way")).unwrap();
        symlink(host.at("units/way/here"), host.at("app")).unwrap();
        let seen = host.seen(&deploy(&host, 1));
        let real = host.path("other/apps/here/web.reveille");
        assert!(seen.changed && seen.detail.contains(&real), "{seen:?}");
        assert_eq!(host.tree("other/apps/here/web"), NEW);
        assert_eq!(host.tree(&format!("other/apps/here/web.reveille/{}/old", key(1))), OLD);
        assert!(host.seen(&revert(&host, 1)).changed);
        assert_eq!(host.tree("app/web"), OLD);
        // One that leads nowhere is not made up.
        std::fs::remove_file(host.at("app")).unwrap();
        symlink(host.at("gone"), host.at("app")).unwrap();
        let (code, words) = why(&host.perform(&deploy(&host, 2)));
        assert!(code == ErrorCode::ToolFailed && words.contains("a link that leads to no folder"), "{words}");
        assert!(!host.at("gone").exists());
    }
}

/// A folder is moved, and a link to it left behind: what links say leads there still, by other names.
fn moved(host: &Host) {
    std::fs::rename(host.at("app"), host.at("data")).unwrap();
    symlink(host.at("data"), host.at("app")).unwrap();
}

#[test]
fn the_tree_that_a_link_came_from_is_kept_by_whichever_names_it_leads_there() {
    for shell in crate::testing::shells() {
        for way in ["absolute", "relative", "onwards", "below", "moved", "through"] {
            let mut host = host(Way::Link);
            host.shell.clone_from(&shell);
            host.seen(&deploy(&host, 1));
            moved(&host);
            let one = format!("web.reveille/{}", key(1));
            let new = format!("{one}/new");
            let text = match way {
                "absolute" => host.path(&format!("app/{new}")),
                "onwards" => host.path("units/first"),
                "below" => host.path(&format!("app/{new}/bin")),
                "through" => host.path(&format!("data/{one}/way")),
                _ => new.clone(),
            };
            symlink(host.at(&format!("app/{new}")), host.at("units/first")).unwrap();
            symlink(host.at("releases/1"), host.at(&format!("data/{one}/way"))).unwrap();
            if way == "moved" {
                std::fs::rename(host.at(&format!("data/{new}")), host.at("elsewhere")).unwrap();
                symlink(host.at("elsewhere"), host.at(&format!("data/{new}"))).unwrap();
            }
            std::fs::remove_file(host.at("data/web")).unwrap();
            symlink(&text, host.at("data/web")).unwrap();
            let before = host.tree("app/web");
            assert!(before.contains("run:644=old"), "{way}: {before}");
            host.write("source/a", "second");
            assert!(host.seen(&deploy(&host, 2)).changed, "{way}");
            assert!(host.seen(&revert(&host, 2)).changed, "{way}");
            assert_eq!(host.tree("app/web"), before, "{shell:?} {way}");
            assert_eq!(std::fs::read_link(host.at("app/web")).unwrap().display().to_string(), text);
            // What nothing leads to is removed as ever.
            host.seen(&deploy(&host, 3));
            let two = host.at("data/web.reveille").join(key(2).to_string());
            assert!(!two.exists() && host.at(&format!("data/{one}")).exists(), "{way}");
        }
    }
}

/// Where a link led to before cannot be told: it may have been to any of them.
#[test]
fn no_tree_is_removed_while_it_is_unknown_where_the_link_came_from() {
    let host = host(Way::Link);
    host.seen(&deploy(&host, 1));
    std::fs::rename(host.at("app"), host.at("data")).unwrap();
    let to = Deploy { destination: host.path("data/web"), keep: vec![], ..deploy_of(&host) };
    let seen = host.seen(&ServiceVerb::Deploy { key: key(2), deploy: to, limit: Millis::secs(60) });
    assert!(seen.changed, "{seen:?}");
    assert!(host.at("data/web.reveille").join(key(1).to_string()).join("new/a").exists());
}

#[test]
fn a_link_that_leads_to_the_new_tree_by_other_names_is_taken_back() {
    for shell in crate::testing::shells() {
        let mut host = host(Way::Link);
        host.shell.clone_from(&shell);
        host.seen(&deploy(&host, 1));
        moved(&host);
        let seen = host.seen(&revert(&host, 1));
        assert!(seen.changed && seen.detail.contains("data/web.reveille"), "{seen:?}");
        assert_eq!(host.tree("app/web"), OLD, "{shell:?}");
        assert!(host.seen(&revert(&host, 1)).changed);
    }
    // Somebody has written the old link anew: the old tree is back.
    let host = host(Way::Link);
    host.seen(&deploy(&host, 1));
    std::fs::remove_file(host.at("app/web")).unwrap();
    symlink("../releases/1", host.at("app/web")).unwrap();
    host.seen(&revert(&host, 1));
    assert_eq!(host.tree("app/web"), OLD);
}

#[test]
fn a_deploy_that_was_killed_goes_on_where_its_link_leads_there_by_other_names() {
    for kept in [false, true] {
        let mut links = [0, 0];
        for stop in 1..150 {
            let host = host(Way::Link);
            let struck = host.killed(&deploy(&host, 1), stop);
            let switched = host.tree("app/web") == NEW;
            links[usize::from(switched)] += u32::from(struck);
            moved(&host);
            if kept {
                host.seen(&deploy(&host, 1));
                assert_eq!(host.tree("app/web"), NEW, "{stop}");
            }
            assert_eq!(host.seen(&revert(&host, 1)).changed, kept || switched, "{stop}");
            assert_eq!(host.tree("app/web"), OLD, "{stop}");
            if !struck {
                break;
            }
        }
        assert!(links.iter().all(|n| *n > 0), "{links:?}");
    }
}

#[test]
fn a_link_that_leads_to_nobodys_tree_is_left_alone() {
    for other in ["other", "nowhere"] {
        let host = host(Way::Link);
        host.seen(&deploy(&host, 1));
        host.write("other/x", "other");
        let at = host.at("app/web.reveille").join(key(1).to_string());
        std::fs::remove_file(host.at("app/web")).unwrap();
        symlink(host.at(other), host.at("app/web")).unwrap();
        std::fs::remove_file(at.join("done")).unwrap();
        for verb in [deploy(&host, 1), revert(&host, 1)] {
            let (code, words) = why(&host.perform(&verb));
            assert!(code == ErrorCode::Refused && words.contains("neither the old nor the new tree"), "{words}");
            assert_eq!(std::fs::read_link(host.at("app/web")).unwrap(), host.at(other));
            assert!(at.join("new/a").exists());
        }
    }
}

/// Over another connection, when the next one is through already: the tree that serves, and the one before it, are not its own.
#[test]
fn a_late_repeat_of_an_older_deploy_removes_nothing() {
    for way in [Way::Tree, Way::Link] {
        let host = host(way);
        host.seen(&deploy(&host, 1));
        host.write("source/a", "second");
        host.seen(&deploy(&host, 2));
        // For a folder the first one is removed, and would be deployed anew.
        let (first, then) = if way == Way::Link { (1, 2) } else { (2, 3) };
        if way == Way::Tree {
            let two = host.at("app/web.reveille").join(key(2).to_string());
            std::fs::rename(&two, host.at("aside")).unwrap();
            host.write("source/a", "third");
            host.seen(&deploy(&host, 3));
            std::fs::rename(host.at("aside"), &two).unwrap();
        }
        let serves = host.tree("app/web");
        host.seen(&deploy(&host, first));
        assert_eq!(host.tree("app/web"), serves, "{way:?}");
        assert!(host.seen(&revert(&host, then)).changed, "{way:?}");
        assert_ne!(host.tree("app/web"), serves);
    }
}
