use super::*;
use crate::testing::{really, shells};

fn asked(shell: &[String], run: &str, claims: &str, path: &str) -> Option<String> {
    let places = Places { run: run.to_owned(), claims: claims.to_owned(), ..Places::default() };
    really(room(&places), shell, path)
}

#[test]
fn a_disk_without_room_is_told_before_anything_is_done_and_nothing_is_written() {
    for shell in shells() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name).display().to_string();
        std::fs::create_dir(at("bin")).unwrap();
        std::fs::write(at("file"), "").unwrap();
        let (run, claims) = (at("run/reveille"), at("var/lib/claims"));
        assert_eq!(asked(&shell, &run, &claims, ""), None);
        assert!(!std::path::Path::new(&at("run")).exists() && !std::path::Path::new(&at("var")).exists());
        let why = asked(&shell, &run, &at("file/claims"), "").unwrap();
        assert!(why.contains("no reboot can be claimed") && why.contains("is no folder"), "{why}");
        // What df says: of blocks and of inodes; reserved for root; no inodes counted.
        for (blocks, inodes, wanted) in [
            ("100 98 0", "100 1 99", Some("is full")),
            ("100 90 0", "100 1 99", None),
            ("100 1 99", "100 100 0", Some("no inodes")),
            ("100 1 99", "0 0 0", None),
            ("100 1 99", "- - -", None),
        ] {
            use std::os::unix::fs::PermissionsExt as _;
            let says = |line: &str| format!("echo 'Filesystem all used free at'; echo 'disk {line} 1% /'");
            let script = format!("#!/bin/sh\ncase $1 in -Pi) {};; *) {};; esac\n", says(inodes), says(blocks));
            std::fs::write(at("bin/df"), script).unwrap();
            std::fs::set_permissions(at("bin/df"), std::fs::Permissions::from_mode(0o755)).unwrap();
            let said = asked(&shell, &run, &claims, &at("bin"));
            match wanted {
                // busybox has a df of its own.
                _ if shell[0] == "busybox" => {}
                Some(part) => assert!(said.as_ref().is_some_and(|why| why.contains(part)), "{blocks} {inodes}: {said:?}"),
                None => assert_eq!(said, None, "{shell:?} {blocks} {inodes}"),
            }
        }
    }
}
