//! Restarts of services, cut anywhere and at random.

use std::collections::BTreeSet;

use engine::{Entry, Fact, Input, Outcome};
use model::{ActionKind, ErrorCode, Millis};

use crate::script::user;
use crate::service_world::{FIRST, SECOND, Services, Sick};
use crate::world::host_id;

/// All that is written down of services: one is stranded, and is well the second time.
pub(crate) fn sample() -> Vec<Fact> {
    let mut world = Services::of("box", "db reload\napi needs=db deploys migrates\nweb needs=api");
    world.unit("api").sick = Sick::Restarted;
    world.unit("api").fails = [(ActionKind::Revert, ErrorCode::ToolFailed)].into();
    world.run("deploy");
    world.unit("api").sick = Sick::Never;
    let request = world.request("");
    world.shell.input(Input::Submit { id: SECOND, request });
    world.rest();
    world.shell.all
}

/// What may go wrong, with the same end wherever the controller restarts (G8).
struct Story {
    text: &'static str,
    words: &'static str,
    change: fn(&mut Services),
    cancel_at: Option<ActionKind>,
}

/// Outcomes, reasons, how each unit stands, and how many facts there were.
type Ends = (Vec<Outcome>, Vec<String>, Vec<(bool, String, u128)>, usize);

/// The physical end, and how it was told.
fn play(story: &Story, cut: Option<usize>) -> Ends {
    let mut world = Services::of("one two", story.text);
    (story.change)(&mut world);
    let accepted = world.shell.all.len();
    world.cut = cut;
    world.accepted(story.words);
    if let Some(kind) = story.cancel_at {
        world.until(kind, "api");
        world.shell.input(Input::Cancel { id: FIRST, by: user() });
    }
    world.rest();
    assert!(world.shell.engine.locks().is_empty());
    let units = world.units.values().map(|u| (u.is_up(), u.runs.clone(), u.invocation)).collect();
    let migrated = world.log.iter().filter(|what| what.starts_with("migrate")).count();
    assert!(migrated <= 2, "one on each host");
    let facts = world.shell.all.len();
    assert!(cut.is_none_or(|cut| cut > accepted), "cuts begin behind the request");
    // The last cut is behind the end, which is then in the journal alone.
    let ended = |fact: &Fact| match fact {
        Fact::Orchestration(FIRST, record) => match record.entry {
            Entry::TrackEnded { track, outcome, .. } => Some((track, outcome)),
            _ => None,
        },
        _ => None,
    };
    let ends: std::collections::BTreeMap<u32, Outcome> = world.shell.all.iter().filter_map(ended).collect();
    (ends.into_values().collect(), world.stranded(), units, facts)
}

#[test]
fn g8_any_restart_of_the_controller_comes_to_the_same_end() {
    let text = "db on=one\napi needs=db deploys migrates\nweb on=two needs=api reload";
    let nothing: fn(&mut Services) = |_| {};
    let stories = [
        Story { text, words: "deploy", change: nothing, cancel_at: None },
        Story {
            text,
            words: "deploy parallel=0 keep-going",
            change: |w| w.unit("api@one").sick = Sick::WithNew,
            cancel_at: None,
        },
        Story { text, words: "deploy", change: |w| w.unit("api@two").crashes = 1, cancel_at: None },
        Story { text, words: "deploy", change: |w| w.unit("api@one").exit = 1, cancel_at: None },
        Story { text, words: "deploy parallel=0", change: |w| w.unit("db").dies = Some(Sick::Always), cancel_at: None },
        Story { text, words: "deploy parallel=0", change: nothing, cancel_at: Some(ActionKind::Restart) },
        Story { text, words: "", change: nothing, cancel_at: Some(ActionKind::Restart) },
        Story { text, words: "force", change: |w| w.unit("web").active = "inactive", cancel_at: None },
    ];
    for (number, story) in stories.iter().enumerate() {
        let before = {
            let world = Services::of("one two", story.text);
            world.shell.all.len()
        };
        let whole = play(story, None);
        assert!(whole.3 > before + 20, "story {number}");
        for cut in before + 1..whole.3 {
            let again = play(story, Some(cut));
            if story.cancel_at.is_some() {
                // When the cancel comes is not the same: the end is one of those that it may come to.
                assert!(again.1.is_empty(), "story {number}, cut {cut}: {again:?}");
                continue;
            }
            assert_eq!((&again.0, &again.1, &again.2), (&whole.0, &whole.1, &whole.2), "story {number}, cut {cut}");
        }
    }
}

/// Whatever happens at once: it ends, nothing is done twice, and what is not as before is named.
#[test]
fn services_at_random_come_to_a_true_end() {
    let (mut ends, mut stranded) = (BTreeSet::new(), 0);
    for seed in 0..300_u64 {
        let mut dice = Dice(seed);
        let text =
            "a on=one\nb needs=a deploys migrates\nc needs=b reload\nd on=two deploys\ne needs=d migrates\nf on=one needs=e";
        let mut world = Services::of("one two", text);
        let keys: Vec<_> = world.units.keys().cloned().collect();
        for key in &keys {
            let unit = world.units.get_mut(key).expect("a unit");
            unit.sick = *dice.of(&[Sick::Never, Sick::Never, Sick::Never, Sick::Never, Sick::WithNew, Sick::Restarted]);
            unit.dies = *dice.of(&[None, None, None, None, None, Some(Sick::WithNew), Some(Sick::Restarted)]);
            unit.crashes = *dice.of(&[0, 0, 0, 0, 0, 1, 2]);
            unit.can_reload = dice.below(3) > 0;
            unit.exit = *dice.of(&[0, 0, 0, 0, 2]);
            if dice.below(6) == 0 {
                let kinds = [
                    ActionKind::BackUp,
                    ActionKind::Deploy,
                    ActionKind::Migrate,
                    ActionKind::Restart,
                    ActionKind::Watch,
                    ActionKind::Revert,
                    ActionKind::Restore,
                    ActionKind::StopUnit,
                ];
                let (kind, code) =
                    (*dice.of(&kinds), *dice.of(&[ErrorCode::ToolFailed, ErrorCode::Unreachable, ErrorCode::OutcomeUnknown]));
                if dice.below(4) == 0 {
                    unit.silent.insert(kind);
                } else {
                    unit.fails.insert(kind, code);
                }
            }
        }
        let words = format!(
            "parallel={} {} {} {}",
            dice.below(4),
            dice.of(&["", "keep-going"]),
            dice.of(&["", "deploy"]),
            dice.of(&["", "", "", "force"])
        );
        world.accepted(&words);
        for _ in 0..6000 {
            if world.shell.engine.open().count() == 0 {
                break;
            }
            match dice.below(150) {
                0 => world.shell.restart(),
                1 => drop(world.shell.input(Input::Cancel { id: FIRST, by: user() })),
                2 => drop(world.shell.input(Input::Freeze { by: user(), reason: "x".into() })),
                3..9 => drop(world.shell.input(Input::Thaw { by: user() })),
                9 => {
                    let key = dice.of(&keys).clone();
                    world.units.get_mut(&key).filter(|u| u.is_up()).into_iter().for_each(|u| u.crash());
                }
                10 => drop(world.silent.insert(host_id("two"))),
                11..20 => world.silent.clear(),
                20 => world.shell.now = world.shell.now + Millis::secs(u64::from(dice.below(600))),
                _ => {}
            }
            world.step();
        }
        assert!(world.outcome(FIRST).is_some(), "seed {seed}: it ends");
        assert!(world.shell.engine.locks().is_empty(), "seed {seed}");
        let tracks = world.shell.engine.tracks(FIRST);
        for track in &tracks {
            let outcome = track.outcome.expect("it is over");
            ends.insert(outcome);
            let of = track.service.as_ref().expect("a service");
            let unit = &world.units[&(track.target, of.unit.clone())];
            let named = world.stranded().contains(&track.name);
            stranded += usize::from(named);
            if track.started_at.is_none() {
                assert_eq!((unit.tree.as_str(), of.invocation_after), ("old", None), "seed {seed}: never touched");
            }
            if outcome != Outcome::Completed && track.started_at.is_some() && !named {
                let tree_is_old = unit.tree == "old" && (unit.runs == "old" || !unit.is_up());
                assert!(tree_is_old, "seed {seed}: {} {outcome}: {:?} {unit:?}", track.name, track.reason);
            }
        }
        for (key, unit) in &world.units {
            let name = key.1.trim_end_matches(".service");
            let migrations = world.log.iter().filter(|what| **what == format!("migrate {name}")).count();
            assert!(migrations <= 2, "seed {seed}: {unit:?}");
        }
    }
    let all = [Outcome::Completed, Outcome::Failed, Outcome::Skipped, Outcome::Cancelled, Outcome::Unknown];
    assert!(all.iter().all(|outcome| ends.contains(outcome)), "{ends:?}");
    assert!(stranded > 10, "{stranded}");
}

/// Numbers that are the same each time.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: u32) -> u32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        u32::try_from((self.0 >> 33) % u64::from(limit)).expect("it is below a u32")
    }

    fn of<'t, T>(&mut self, list: &'t [T]) -> &'t T {
        &list[self.below(u32::try_from(list.len()).expect("a short list")) as usize]
    }
}
