//! Rollouts at random: whatever is cut and whoever starts, the same end, and the list that is told is the one gone by.

use std::collections::BTreeSet;

use engine::{Entry, Fact, FleetEntry, Input, Outcome, Reply, Why};
use model::{Amount, Approval, Millis, RolloutOptions};

use crate::fleet::{ID, Ill, RETRY, World, config, said};
use crate::script::user;

/// Crash after any turn: the same end, and one reboot of each host (G8, pain 9).
#[test]
fn any_restart_of_a_rollout_with_pause_failure_and_retry_comes_to_the_same_end() {
    let whole = play(None);
    assert!(whole > 200, "{whole} facts");
    for cut in 20..whole {
        play(Some(cut));
    }
}

/// Returns how many facts there were.
fn play(cut: Option<usize>) -> usize {
    let mut world = World::of(6, config());
    let mut restart = cut;
    let mut go = |world: &mut World| {
        let mut quiet = 0;
        for _ in 0..2000 {
            let before = world.shell.all.len();
            world.step();
            if restart.is_some_and(|cut| world.shell.all.len() >= cut) {
                restart = None;
                world.shell.restart();
            }
            quiet = if world.shell.all.len() == before { quiet + 1 } else { 0 };
            if quiet > 40 {
                return;
            }
        }
    };
    world.submit(&RolloutOptions { concurrency: Some(Amount::Count(2)), canary: Some(Amount::Count(1)), ..said() });
    let third = world.shell.engine.tracks(ID)[2].target;
    let number = world.shell.hosts.iter().position(|h| h.id == third).expect("a host");
    world.falls_ill(number, Ill::Unhealthy);
    world.shell.input(Input::Pause { id: ID, by: user(), reason: "a look at the canary".into() });
    go(&mut world);
    assert_eq!(world.started().len(), 1, "cut {cut:?}: the canary alone");
    world.shell.input(Input::Resume { id: ID, by: user() });
    go(&mut world);
    let view = world.shell.engine.view(ID).expect("open");
    // What runs beside the one that fails may be over, or not begun, when that fails: it depends on the settling.
    assert_eq!((view.failures, view.counts.completed + view.counts.waiting), (1, 5), "cut {cut:?}");
    assert!(view.paused.is_some() && view.counts.waiting >= 2, "cut {cut:?}: {view:?}");
    world.shell.hosts[number].failing.clear();
    let mut request = world.request(&said(), Some(ID));
    let left = world.shell.engine.tracks(ID).into_iter().filter(|t| t.outcome != Some(Outcome::Completed));
    request.targets = left.map(|t| t.target).collect();
    let reply = world.shell.input(Input::Submit { id: RETRY, request });
    assert!(matches!(reply, Reply::Accepted { .. }), "cut {cut:?}: {reply:?}");
    go(&mut world);
    let completed = world.shell.all.iter().any(
        |f| matches!(f, Fact::Orchestration(RETRY, r) if matches!(r.entry, Entry::Ended { outcome: Outcome::Completed, .. })),
    );
    assert!(completed, "cut {cut:?}: {:?}", world.shell.engine.view(RETRY));
    assert!(world.shell.hosts.iter().all(|h| h.boot == 2), "cut {cut:?}: one reboot each");
    let stranded =
        world.shell.all.iter().filter(|f| matches!(f, Fact::Fleet(r) if matches!(r.entry, FleetEntry::Stranded { .. })));
    assert_eq!(stranded.count(), 1, "cut {cut:?}");
    world.shell.all.len()
}

/// Pain 13: a track starts if and only if the list that people are told is empty.
#[test]
fn a_track_starts_exactly_when_explain_tells_nothing() {
    let (mut starts, mut waits) = (0, BTreeSet::new());
    for seed in 0..60_u64 {
        let mut dice = Dice(seed);
        let mut config = config();
        config.limit_groups.push(engine::LimitGroup {
            name: "rack".into(),
            on: None,
            per: Some("rack".into()),
            children: Vec::new(),
            max_unavailable: Amount::Count(1 + dice.below(2)),
        });
        let window = "days = [\"mon\", \"tue\", \"wed\", \"thu\", \"fri\", \"sat\", \"sun\"]\nfrom = \"08:00\"\nto = \"08:20\"";
        config.windows.insert("w".into(), toml::from_str(window).expect("a window"));
        let mut world = World::of(8, config);
        for number in 0..8 {
            if dice.below(6) == 0 {
                let ill = [Ill::Refuses, Ill::Silent, Ill::Unhealthy, Ill::Vanishes][dice.below(4) as usize];
                world.falls_ill(number, ill);
            }
        }
        let options = RolloutOptions {
            canary: Some(Amount::Count(dice.below(3))),
            concurrency: Some(Amount::Count(1 + dice.below(4))),
            failure_budget: Some(Amount::Count(dice.below(3))),
            approval: Some(if dice.below(2) == 0 { Approval::Never } else { Approval::EachWave }),
            stagger: Some(Millis::secs(u64::from(dice.below(3)) * 7)),
            jitter: Some(Millis::secs(u64::from(dice.below(3)) * 20)),
            windows: if dice.below(3) == 0 { vec!["w".into()] } else { Vec::new() },
            ..said()
        };
        world.submit(&options);
        for _ in 0..200 {
            if world.shell.engine.open().count() == 0 {
                break;
            }
            let by = user();
            let host = world.shell.hosts[dice.below(8) as usize].id;
            let input = match dice.below(40) {
                0 => Input::Pause { id: ID, by, reason: "x".into() },
                1..4 => Input::Resume { id: ID, by },
                4..6 => Input::Agree { id: ID, by },
                6 => Input::Freeze { by, reason: "x".into() },
                7..9 => Input::Thaw { by },
                9 => Input::Hold { host, by, reason: "x".into() },
                10 => Input::Release { host, by },
                11 => Input::TakeSlot { group: "rack/r0".into(), holder: "z".into(), by },
                12 => Input::GiveSlot { group: "rack/r0".into(), holder: "z".into(), by },
                _ => Input::Tick,
            };
            world.shell.input(input);
            world.step();
            if dice.below(5) == 0 {
                world.shell.now = world.shell.now + Millis::secs(u64::from(dice.below(400)));
            }
            // What comes of a tick now, and what people are told just before it.
            let due = world.shell.engine.poll_timeout().filter(|due| *due <= world.shell.now + Millis::secs(300));
            world.shell.now = due.map_or(world.shell.now, |due| due.max(world.shell.now));
            let tracks = world.shell.engine.tracks(ID);
            let waiting = tracks.iter().filter(|t| t.started_at.is_none() && t.ended_at.is_none());
            let told: Vec<(u32, Vec<Why>)> = waiting.map(|t| (t.index, world.why(t.index))).collect();
            let mut copy = world.shell.engine.clone();
            let turn = copy.handle(Input::Tick, world.shell.now);
            let first = turn.facts.iter().find(|f| !matches!(f, Fact::Fleet(r) if matches!(r.entry, FleetEntry::Locked { .. })));
            let free = told.iter().find(|(_, why)| why.is_empty()).map(|(track, _)| *track);
            if let Some(Fact::Orchestration(_, r)) = first
                && let Entry::TrackStarted { track } = r.entry
            {
                starts += 1;
                assert_eq!(free, Some(track), "seed {seed}: the first with an empty list starts");
            }
            for (_, why) in &told {
                waits.extend(why.iter().map(|w| format!("{w:?}").split([' ', '{']).next().unwrap_or_default().to_owned()));
            }
            world.shell.input(Input::Tick);
            for track in world.shell.engine.tracks(ID).iter().filter(|t| t.started_at.is_none() && t.ended_at.is_none()) {
                let why = world.why(track.index);
                assert!(!why.is_empty() || world.outcome(ID).is_some(), "seed {seed}: {} waits for nothing", track.name);
            }
        }
    }
    assert!(starts > 20, "{starts}");
    let seen = [
        "EarlierWave",
        "Paused",
        "ApprovalWanted",
        "Frozen",
        "BudgetSpent",
        "ConcurrencyFull",
        "Stagger",
        "Jitter",
        "LimitGroup",
        "Window",
    ];
    for kind in seen {
        assert!(waits.contains(kind), "{kind} was never told: {waits:?}");
    }
}

/// Numbers that are the same each time.
struct Dice(u64);
impl Dice {
    fn below(&mut self, limit: u32) -> u32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        u32::try_from((self.0 >> 33) % u64::from(limit)).expect("it is below a u32")
    }
}
