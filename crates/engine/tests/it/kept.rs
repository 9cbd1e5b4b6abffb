//! What is kept from decision to decision is what comes out when everything is looked at anew. The engine compares the two
//! itself, at each decision, wherever debug assertions are on; here it is led through what the kept state rests on.

use engine::{Config, Input, LimitGroup, Outcome, Reply, Window};
use model::{Amount, Millis, RolloutOptions};

use crate::fleet::{ID, Ill, World, config, name, said};
use crate::script::user;
use crate::world::host_id;

fn group(text: &str) -> LimitGroup {
    toml::from_str(text).expect("a limit group")
}

fn limited() -> Config {
    let mut config = config();
    config.limit_groups.push(group("name = \"rack\"\nper = \"rack\"\nmax_unavailable = 2"));
    config.limit_groups.push(group("name = \"all\"\non = \"*\"\nmax_unavailable = 3"));
    config
}

fn counts_are_those_of_the_tracks(world: &World) {
    let counts = world.shell.engine.view(ID).expect("known").counts;
    let tracks = world.shell.engine.tracks(ID);
    let ended = |outcome| tracks.iter().filter(|t| t.outcome == Some(outcome)).count();
    let told = [counts.completed, counts.partial, counts.failed, counts.cancelled, counts.skipped, counts.not_needed];
    let all = [Outcome::Completed, Outcome::Partial, Outcome::Failed, Outcome::Cancelled, Outcome::Skipped, Outcome::NotNeeded];
    assert_eq!(told.map(|count| count as usize), all.map(ended));
}

#[test]
#[expect(clippy::assertions_on_constants, reason = "how it was built is what is asked")]
fn what_is_kept_of_a_rollout_is_what_comes_out_anew_through_all_that_changes_it() {
    assert!(cfg!(debug_assertions), "the engine compares only then");
    let mut world = World::of(12, limited());
    world.falls_ill(2, Ill::Silent);
    world.falls_ill(5, Ill::Refuses);
    let ten = Some(Amount::Count(10));
    let said = RolloutOptions { concurrency: ten, failure_budget: ten, jitter: Some(Millis::secs(40)), ..said() };
    assert!(matches!(world.submit(&said), Reply::Accepted { .. }));
    for second in 0..90 {
        let (host, by) = (host_id(&name(second % 12)), user());
        let input = match second {
            4 => Input::TakeSlot { group: "rack/r1".into(), holder: "somebody".into(), by },
            9 => Input::Freeze { by, reason: "a demonstration".into() },
            14 => Input::Thaw { by },
            18 => Input::Hold { host, by, reason: "mine".into() },
            24 => Input::GiveSlot { group: "rack/r1".into(), holder: "somebody".into(), by },
            30 => Input::Release { host: host_id(&name(18 % 12)), by },
            33 => Input::Gone { host, instance: model::InstanceId(uuid::Uuid::from_u128(1)) },
            40 => Input::Remove { host, by },
            50 => Input::Pause { id: ID, by, reason: "lunch".into() },
            60 => Input::Resume { id: ID, by },
            _ => Input::Tick,
        };
        world.shell.input(input);
        world.step();
        counts_are_those_of_the_tracks(&world);
        if second == 45 {
            world.shell.restart();
            counts_are_those_of_the_tracks(&world);
        }
    }
    world.rest();
    counts_are_those_of_the_tracks(&world);
    assert!(world.outcome(ID).is_some(), "it comes to its end");
}

#[test]
fn what_waits_for_a_window_or_for_room_is_looked_at_again_when_that_comes() {
    let mut config = limited();
    let window: Window = toml::from_str("cron = \"*/10 * * * *\"\nlasts = \"4m\"").expect("a window");
    config.windows.insert("often".into(), window);
    config.rollout.expected = Millis::secs(30);
    let mut world = World::of(9, config);
    let said = RolloutOptions { concurrency: Some(Amount::Count(9)), windows: vec!["often".into()], ..said() };
    assert!(matches!(world.submit(&said), Reply::Accepted { .. }));
    world.rest();
    assert_eq!(world.outcome(ID), Some(Outcome::Completed));
    counts_are_those_of_the_tracks(&world);
}
