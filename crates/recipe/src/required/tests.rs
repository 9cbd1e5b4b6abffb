use super::*;
use crate::Script;
use crate::testing::{drive, recorded, said};

const THERE: &str = include_str!("../../recorded/required/reboot-required.txt");
const PKGS: &str = include_str!("../../recorded/required/reboot-required-pkgs.txt");
const ABSENT: &str = include_str!("../../recorded/required/cat-missing.txt");
const NO_TOOL: &str = include_str!("../../recorded/required/needs-restarting-missing.txt");
const NOT_NEEDED: &str = include_str!("../../recorded/required/dnf-needs-restarting.txt");
const NO_PLUGIN: &str = include_str!("../../recorded/required/dnf-no-plugin.txt");

/// The tool's words for yes, from the manual; the recorded hosts need no reboot.
fn needed() -> Output {
    let words = "Core libraries or services have been updated since boot-up:\n  * glibc\n\n\
                 Reboot is required to fully utilize these updates.\n";
    Output { exit: Some(1), ..said(words) }
}

fn ask(sentinel: &Output, writers: &Output, tool: &Output, plugin: &Output, lately: Option<Required>) -> (String, Required) {
    drive(Script::new(ReadRequired::new(lately)), |line, _| {
        let output = match line {
            "cat /run/reboot-required" => sentinel,
            "cat /run/reboot-required.pkgs" => return (recorded(PKGS), Millis(1)),
            "needs-restarting -r" => tool,
            "dnf needs-restarting -r" => plugin,
            l if l.starts_with("ls -d -- ") => writers,
            l => panic!("unexpected: {l}"),
        };
        (output.clone(), Millis(1))
    })
}

fn none() -> Output {
    Output { exit: Some(2), stderr: "ls: cannot access".into(), ..Output::default() }
}

#[test]
fn pain_8_needed_not_needed_and_unknown_are_three_answers() {
    let (absent, missing) = (recorded(ABSENT), recorded(NO_TOOL));
    let (_, yes) = ask(&recorded(THERE), &none(), &missing, &missing, None);
    assert_eq!(yes, Readable::Known(Some("/run/reboot-required: libc6, linux-image-6.1.0-40-amd64".to_owned())));
    let writer = Output { exit: Some(2), ..said("/etc/kernel/postinst.d/unattended-upgrades\n") };
    let (story, no) = ask(&absent, &writer, &missing, &missing, None);
    assert_eq!(no, Readable::Known(None));
    assert!(!story.contains("needs-restarting"), "{story}");
    assert_eq!(ask(&absent, &none(), &recorded(NOT_NEEDED), &missing, None).1, Readable::Known(None));
    assert!(matches!(ask(&absent, &none(), &needed(), &missing, None).1, Readable::Known(Some(_))));
    assert!(matches!(ask(&absent, &none(), &missing, &needed(), None).1, Readable::Known(Some(_))));
    let (_, unknown) = ask(&absent, &none(), &missing, &missing, None);
    assert!(matches!(unknown, Readable::Unknown(why) if why.contains("nothing on this host tells")));
}

#[test]
fn pain_8_a_missing_plugin_a_crash_or_a_limit_is_never_needed() {
    let (absent, missing) = (recorded(ABSENT), recorded(NO_TOOL));
    let unknown = |found: &Required| assert!(matches!(found, Readable::Unknown(_)), "{found:?}");
    unknown(&ask(&absent, &none(), &missing, &recorded(NO_PLUGIN), None).1);
    let mut bad = vec![Output { exit: None, ..needed() }, Output { timed_out: true, ..needed() }];
    bad.push(Output { timed_out: true, ..recorded(NOT_NEEDED) });
    bad.extend([2, 126, 255].map(|code| Output { exit: Some(code), ..needed() }));
    bad.push(Output { exit: Some(1), stderr: "Traceback".into(), ..Output::default() });
    for output in &bad {
        unknown(&ask(&absent, &none(), output, &missing, None).1);
        unknown(&ask(&absent, &none(), &missing, output, None).1);
    }
    let denied = Output { exit: Some(1), stderr: "cat: /run/reboot-required: Permission denied".into(), ..Output::default() };
    for output in [denied, Output { exit: Some(126), ..Output::default() }, Output::default(), missing.clone()] {
        unknown(&ask(&output, &none(), &recorded(NOT_NEEDED), &missing, None).1);
    }
}

#[test]
fn the_package_tool_is_not_asked_again_at_once() {
    let missing = recorded(NO_TOOL);
    let (story, found) = ask(&recorded(ABSENT), &none(), &needed(), &missing, Some(Readable::Known(None)));
    assert_eq!(found, Readable::Known(None));
    assert!(!story.contains("needs-restarting"), "{story}");
    assert!(matches!(ask(&recorded(THERE), &none(), &missing, &missing, Some(found)).1, Readable::Known(Some(_))));
}
