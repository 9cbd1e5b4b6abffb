//! Journals that earlier programs wrote must still load and replay.
//!
//! `tests/samples/VERSION` holds what scripts led to, one record a line after the journal that it belongs to. Samples are not
//! written anew: a change that an old one does not survive needs a new version and a reader for the old one.
//! `WRITE_SAMPLES=1` writes those of the present version that are not there yet.

use std::collections::BTreeSet;
use std::path::PathBuf;

use engine::{Config, Engine, Entry, Fact, FleetEntry, JOURNAL_VERSION, JournalId, OpenJournal, Record, action_of};
use model::OrchestrationId;

use crate::script::{Shell, config_of};

/// Together they have every kind of entry that any script leads to; each with the version that had it first.
const SAMPLED: [(&str, u32); 11] = [
    ("off_and_still_on", 1),
    ("host_reboots", 1),
    ("never_returns", 1),
    ("cancel", 1),
    ("stop_times_out_force", 1),
    ("stop_times_out_proceed", 1),
    ("shutdown", 1),
    ("rollout_budget_is_spent_before_the_drain", 2),
    ("rollout_never_returns", 2),
    (SERVICES, 4),
    (OWNED, 4),
];

/// No script: services that are restarted, taken back and stranded.
const SERVICES: &str = "services";

/// The same, since restarts say whose they are.
const OWNED: &str = "services_owned";

fn folder(name: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "tests", name].iter().collect()
}

fn play(script: &str) -> Vec<Fact> {
    if [SERVICES, OWNED].iter().any(|name| script == format!("{name}.txt")) {
        return crate::services_at_random::sample();
    }
    let text = std::fs::read_to_string(folder("scripts").join(script)).expect("a script");
    let mut shell = Shell::new(config_of(&text));
    for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with(['|', '>', '=', '#'])) {
        shell.line(line);
    }
    shell.all
}

fn write(fact: &Fact) -> String {
    let record = match fact {
        Fact::Fleet(record) => serde_json::to_string(record),
        Fact::Orchestration(_, record) => serde_json::to_string(record),
    };
    let journal = match fact.journal() {
        JournalId::Fleet => "fleet".to_owned(),
        JournalId::Orchestration(id) => id.to_string(),
    };
    format!("{journal} {}\n", record.expect("a record"))
}

fn read(line: &str) -> Fact {
    let (journal, record) = line.split_once(' ').expect("a journal and a record");
    let parsed = match journal {
        "fleet" => serde_json::from_str::<Record<FleetEntry>>(record).map(Fact::Fleet),
        id => {
            let id: OrchestrationId = id.parse().expect("an id");
            serde_json::from_str::<Record<Entry>>(record).map(|record| Fact::Orchestration(id, record))
        }
    };
    parsed.unwrap_or_else(|error| panic!("{error}: {record}"))
}

#[test]
fn journals_of_every_version_still_load_and_replay() {
    let now = folder("samples").join(JOURNAL_VERSION.to_string());
    if std::env::var_os("WRITE_SAMPLES").is_some() {
        std::fs::create_dir_all(&now).expect("a folder");
        for (name, _) in SAMPLED.iter().filter(|(name, _)| !now.join(format!("{name}.journal")).exists()) {
            let text: String = play(&format!("{name}.txt")).iter().map(write).collect();
            std::fs::write(now.join(format!("{name}.journal")), text).expect("a writable folder");
        }
    }
    for version in 1..=JOURNAL_VERSION {
        for (name, _) in SAMPLED.iter().filter(|(_, since)| *since <= version) {
            let path = folder("samples").join(version.to_string()).join(format!("{name}.journal"));
            let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            let mut fleet = Vec::new();
            let mut own: Vec<OpenJournal> = Vec::new();
            for fact in text.lines().map(read) {
                match fact {
                    Fact::Fleet(record) => fleet.push(record),
                    Fact::Orchestration(id, record) => match own.iter_mut().find(|(known, _)| *known == id) {
                        Some((_, Ok(records))) => records.push(record),
                        _ => own.push((id, Ok(vec![record]))),
                    },
                }
            }
            let engine = Engine::restore(Config::default(), fleet, own).unwrap_or_else(|error| panic!("{name}: {error}"));
            let unreadable: Vec<_> = engine.unreadable().collect();
            assert!(unreadable.is_empty(), "{}: {unreadable:?}", path.display());
        }
    }
}

#[test]
fn samples_of_the_present_version_have_every_kind_of_entry() {
    let mut missing = BTreeSet::new();
    for script in std::fs::read_dir(folder("scripts")).expect("the scripts") {
        let name = script.expect("an entry").file_name().to_string_lossy().into_owned();
        missing.extend(play(&name).iter().map(action_of));
    }
    missing.extend(play(&format!("{SERVICES}.txt")).iter().map(action_of));
    for (name, _) in SAMPLED {
        let path = folder("samples").join(JOURNAL_VERSION.to_string()).join(format!("{name}.journal"));
        for fact in std::fs::read_to_string(&path).expect("a sample").lines().map(read) {
            missing.remove(action_of(&fact));
        }
    }
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn samples_of_services_have_every_step_forwards_and_backwards_and_every_answer() {
    let path = folder("samples").join(JOURNAL_VERSION.to_string()).join(format!("{SERVICES}.journal"));
    let text = std::fs::read_to_string(path).expect("a sample");
    let verbs = ["inspect", "watch", "back_up", "deploy", "migrate", "restart", "stop", "revert", "restore"];
    let words = verbs.iter().map(|verb| format!("\"verb\":\"{verb}\""));
    let others = ["services", "restart_services", "ran"].iter().map(|word| format!("\"{word}\""));
    let flags = ["\"stays_up\":true", "\"service\":true", "\"reloaded\":true", "\"moment\":\"final\""];
    let owned = folder("samples").join(JOURNAL_VERSION.to_string()).join(format!("{OWNED}.journal"));
    let restarts = |text: &str, with: bool| {
        text.lines().any(|l| l.contains("\"verb\":\"restart\",\"key\":") == with && l.contains("\"verb\":\"restart\""))
    };
    let owned = std::fs::read_to_string(owned).expect("a sample");
    assert!(restarts(&owned, true) && !restarts(&owned, false) && !restarts(&text, true), "of both kinds");
    for word in words.chain(others).chain(flags.iter().map(|flag| (*flag).to_owned())) {
        assert!(text.contains(&word), "{word}");
    }
}
