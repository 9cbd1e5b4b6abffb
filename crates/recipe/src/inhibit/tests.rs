use super::*;
use crate::Script;
use crate::testing::{broken, drive, recorded, said};

const HELD: &str = include_str!("../../recorded/systemd/list-inhibitors-bus.txt");
const NOT_HELD: &str = include_str!("../../recorded/systemd/list-inhibitors-bus-none.txt");
const ALICE: &str = include_str!("../../recorded/systemd/list-sessions.txt");
const ROOT_ONLY: &str = include_str!("../../recorded/systemd/list-sessions-root-only.txt");
const TERMINAL: &str = include_str!("../../recorded/systemd/session-terminal.txt");
const NO_TERMINAL: &str = include_str!("../../recorded/systemd/session-without-terminal.txt");
const GONE: &str = include_str!("../../recorded/systemd/session-gone.txt");

fn read(inhibitors: &Output, sessions: &Output, session: &Output) -> (String, Readable<Vec<String>>) {
    read_as(0, inhibitors, sessions, session)
}

fn read_as(own: u32, inhibitors: &Output, sessions: &Output, session: &Output) -> (String, Readable<Vec<String>>) {
    drive(Script::new(Inhibitors::new(own)), |line, _| {
        let output = match line {
            l if l.ends_with("ListInhibitors") => inhibitors,
            l if l.ends_with("ListSessions") => sessions,
            l if l.contains("session/_3129") => session,
            l if l.contains("session/_3130") => &recorded(NO_TERMINAL),
            l => panic!("unexpected: {l}"),
        };
        (output.clone(), Millis(0))
    })
}

#[test]
fn a_block_inhibitor_blocks_and_a_delaying_one_does_not() {
    let (_, who) = read(&recorded(HELD), &recorded(ROOT_ONLY), &Output::default());
    assert_eq!(who, Readable::Known(vec!["backup job (process 232): copying the database".to_owned()]));
    let (_, who) = read(&recorded(NOT_HELD), &recorded(ROOT_ONLY), &Output::default());
    assert_eq!(who, Readable::Known(vec![]));
}

#[test]
fn only_shutdown_counts_and_an_unknown_mode_does() {
    let rows = r#"{"type":"a(ssssuu)","data":[[["sleep","a","w","block",0,1],["idle:shutdown","b","w","block-weak",0,2]]]}"#;
    let (_, who) = read(&said(rows), &recorded(ROOT_ONLY), &Output::default());
    assert_eq!(who, Readable::Known(vec!["b (process 2): w".to_owned()]));
}

#[test]
fn people_who_are_logged_in_block_as_they_do_for_systemctl() {
    let (story, who) = read(&recorded(NOT_HELD), &recorded(ALICE), &recorded(TERMINAL));
    let alice = "user alice is logged in (sshd)".to_owned();
    assert_eq!(who, Readable::Known(vec![alice.clone(), alice.clone()]));
    assert!(
        story.contains(
            "busctl --json=short call org.freedesktop.login1 /org/freedesktop/login1/session/_3129 \
             org.freedesktop.DBus.Properties GetAll s org.freedesktop.login1.Session -> 0\n"
        ),
        "{story}"
    );
    let (_, who) = read(&recorded(NOT_HELD), &recorded(ALICE), &recorded(GONE));
    assert_eq!(who, Readable::Known(vec![alice.clone()]));
    let manager = recorded(TERMINAL).stdout.replace(r#""data":"user""#, r#""data":"manager""#);
    let (_, who) = read(&recorded(NOT_HELD), &recorded(ALICE), &said(&manager));
    assert_eq!(who, Readable::Known(vec![alice]));
}

#[test]
fn what_cannot_be_read_is_unknown_never_nobody() {
    let unknown = |who: Readable<Vec<String>>| assert!(matches!(who, Readable::Unknown(_)), "{who:?}");
    for bad in broken(&recorded(NOT_HELD).stdout) {
        unknown(read(&bad, &recorded(ROOT_ONLY), &Output::default()).1);
    }
    for bad in broken(&recorded(ALICE).stdout) {
        unknown(read(&recorded(NOT_HELD), &bad, &recorded(TERMINAL)).1);
    }
    for bad in broken(&recorded(TERMINAL).stdout) {
        unknown(read(&recorded(NOT_HELD), &recorded(ALICE), &bad).1);
    }
    let elsewhere = said(r#"{"type":"a(susso)","data":[[["1",1000,"eve","","-x"]]]}"#);
    unknown(read(&recorded(NOT_HELD), &elsewhere, &Output::default()).1);
}

#[test]
fn pain_14_a_colleague_of_the_same_name_at_a_terminal_blocks_and_our_own_connections_do_not() {
    let session = |terminal: &str| {
        let text = recorded(TERMINAL).stdout;
        let (before, rest) = text.split_once(r#""TTY":{"type":"s","data":""#).unwrap();
        let (_, after) = rest.split_once('"').unwrap();
        said(&format!(r#"{before}"TTY":{{"type":"s","data":"{terminal}"{after}"#))
    };
    let blocks = |terminal: &str| {
        let (_, who) = read_as(1000, &recorded(NOT_HELD), &recorded(ALICE), &session(terminal));
        let Readable::Known(who) = who else { panic!("{who:?}") };
        who.len()
    };
    assert_eq!(blocks("pts/3"), blocks("") + 1);
}
