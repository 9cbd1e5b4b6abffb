//! Rolling restarts of services (S3): what is done, in which order, what is taken back, and what is proven.

use std::collections::BTreeSet;

use engine::{Fact, FleetEntry, Input, Outcome, Reply};
use model::{ActionKind, ErrorCode, Millis, Operation, Request, ServiceVerb, TargetId};

use crate::script::{options, user};
use crate::service_world::{FIRST, SECOND, Services, Sick, issued};
use crate::world::host_id;

pub(crate) const CHAIN: &str = "db\napi needs=db\nweb needs=api";

pub(crate) fn reboot(target: TargetId) -> Request {
    Request {
        targets: vec![target],
        operation: Operation::Reboot,
        options: options(),
        rollout: None,
        run: None,
        wait: None,
        services: None,
        by: user(),
    }
}

pub(crate) fn locked(world: &Services) -> BTreeSet<String> {
    world.shell.engine.locks().into_iter().filter_map(|lock| lock.name).collect()
}

#[test]
fn s3_10_services_are_restarted_one_after_the_other_in_the_order_of_their_dependencies() {
    let mut world = Services::of("box", CHAIN);
    assert_eq!(world.run(""), Some(Outcome::Completed));
    assert_eq!(world.done(), "back up db, restart db, back up api, restart api, back up web, restart web");
    assert!(world.shell.engine.locks().is_empty());
    let view = world.track("api").service.expect("a service");
    assert!(view.invocation_before.is_some() && view.invocation_before != view.invocation_after);
    assert_eq!((view.reloaded, view.deployed, view.migrated, view.rolled_back), (false, false, false, None));
    let measured = |f: &Fact| matches!(f, Fact::Fleet(r) if matches!(r.entry, FleetEntry::HostWorked { .. }));
    assert!(!world.shell.all.iter().any(measured), "how long a service takes says nothing of reboots");
}

#[test]
fn s3_14_s3_15_with_all_that_may_be_asked_the_steps_come_in_their_order() {
    let mut world = Services::of("box", "api deploys migrates");
    assert_eq!(world.run("deploy"), Some(Outcome::Completed));
    assert_eq!(world.done(), "back up api, deploy api, migrate api, restart api");
    assert_eq!(world.unit("api").runs, "/new/tree");
    let view = world.track("api").service.expect("a service");
    assert!(view.deployed && view.migrated);
    let mut world = Services::of("box", "api deploys migrates");
    assert_eq!(world.run("skip-migrations"), Some(Outcome::Completed));
    assert_eq!(world.done(), "back up api, restart api", "S3-32, S3-33");
}

#[test]
fn s3_11_s3_99_a_service_that_is_not_healthy_is_not_touched() {
    for forced in [false, true] {
        let mut world = Services::of("box", "api");
        world.unit("api").sick = Sick::Always;
        let outcome = world.run(if forced { "force" } else { "" });
        if forced {
            assert_eq!((outcome, world.done().as_str()), (Some(Outcome::Completed), "back up api, restart api"), "S3-31, S3-113");
            continue;
        }
        assert_eq!((outcome, world.done().as_str()), (Some(Outcome::Failed), ""));
        assert!(world.reason("api").starts_with("not begun: not healthy before the restart: answers: connection refused"));
        assert_eq!(issued(&world, ActionKind::Inspect), 3, "S3-57, S3-105: so many attempts");
        assert_eq!(world.unit("api").invocation, 1);
    }
}

#[test]
fn s3_58_s3_105_between_attempts_the_delay_passes_and_a_later_good_one_is_enough() {
    let mut world = Services::of("box", "api");
    world.unit("api").sick = Sick::Always;
    world.accepted("");
    world.step();
    assert_eq!(issued(&world, ActionKind::Inspect), 1);
    (0..3).for_each(|_| world.step());
    assert_eq!(issued(&world, ActionKind::Inspect), 1, "the delay is 5 s");
    (0..3).for_each(|_| world.step());
    assert_eq!(issued(&world, ActionKind::Inspect), 2);
    world.unit("api").sick = Sick::Never;
    world.rest();
    assert_eq!(world.outcome(FIRST), Some(Outcome::Completed));
}

#[test]
fn s3_100_a_unit_that_is_not_there_is_not_begun_also_by_force() {
    for words in ["", "force"] {
        for load in ["not-found", "masked"] {
            let mut world = Services::of("box", "api");
            world.unit("api").load = load;
            assert_eq!((world.run(words), world.done().as_str()), (Some(Outcome::Failed), ""));
            assert_eq!(world.reason("api"), format!("not begun: api.service is {load}"));
        }
    }
}

#[test]
fn s3_102_what_a_service_depends_on_must_be_up_also_when_it_is_not_restarted() {
    let mut world = Services::of("box", "db\napi needs=db");
    world.unit("db").active = "inactive";
    assert_eq!((world.run("only=api"), world.done().as_str()), (Some(Outcome::Failed), ""));
    assert!(world.reason("api").contains("dependency db"), "{}", world.reason("api"));
    let mut world = Services::of("box", "db\napi needs=db");
    world.unit("db").active = "inactive";
    assert_eq!(world.run("only=api force"), Some(Outcome::Completed));
}

#[test]
fn s3_112_by_force_a_service_that_is_down_is_started() {
    let mut world = Services::of("box", "api");
    world.unit("api").active = "failed";
    assert_eq!((world.run(""), world.done().as_str()), (Some(Outcome::Failed), ""));
    let mut world = Services::of("box", "api reload");
    world.unit("api").active = "failed";
    assert_eq!((world.run("force"), world.done().as_str()), (Some(Outcome::Completed), "back up api, restart api"));
    assert_eq!(world.track("api").service.expect("a service").was_up, Some(false));
    // It was down before: taken back it is down, and that is how it was.
    let mut world = Services::of("box", "api");
    (world.unit("api").active, world.unit("api").dies) = ("inactive", Some(Sick::Always));
    assert_eq!(world.run("force"), Some(Outcome::Failed));
    assert_eq!(world.done(), "back up api, restart api, stop api, restore api");
    assert_eq!((world.unit("api").active, world.stranded().len()), ("inactive", 0));
    assert!(world.reason("api").ends_with("; rolled back"), "{}", world.reason("api"));
}

/// A unit that has an id and is not up, and comes up by itself in that run: nobody has restarted it.
#[test]
fn an_id_that_the_unit_had_before_proves_no_start() {
    let mut world = Services::of("box", "api");
    world.unit("api").active = "activating";
    world.accepted("force");
    world.until(ActionKind::Restart, "api");
    world.unit("api").active = "active";
    world.unit("api").fails.clear();
    let command = world.until(ActionKind::Restart, "api");
    let mut ack = world.answer(&command).expect("an answer");
    let seen = model::ServiceSeen::of(model::UnitSeen {
        load: "loaded".into(),
        active: "active".into(),
        sub: "running".into(),
        invocation: Some(format!("{:032x}", 1).parse().expect("an id")),
        restarts: 0,
        result: "success".into(),
        can_reload: false,
        needs_daemon_reload: false,
        fragment: String::new(),
    });
    (ack.status, ack.error) = (model::AckStatus::Completed, None);
    ack.observed = Some(model::Observed::Service(Box::new(seen)));
    world.shell.input(Input::Acked { host: command.target, ack: Box::new(ack) });
    world.rest();
    assert_eq!(world.outcome(FIRST), Some(Outcome::Failed));
    assert!(world.reason("api").contains("the restart is not proven"), "{}", world.reason("api"));
}

#[test]
fn s3_16_s3_17_s3_103_a_reload_is_tried_where_it_is_enough() {
    let done = |line: &str, words: &str, change: fn(&mut Services)| {
        let mut world = Services::of("box", line);
        change(&mut world);
        assert_eq!(world.run(words), Some(Outcome::Completed), "{line} {words}");
        let reloaded = world.track("api").service.expect("a service").reloaded;
        assert_eq!(reloaded, world.unit("api").invocation == 1);
        world.done()
    };
    let nothing = |_: &mut Services| {};
    assert_eq!(done("api reload", "", nothing), "back up api, reload api");
    assert_eq!(done("api reload-config", "", nothing), "back up api, reload api");
    assert_eq!(done("api reload deploys", "deploy", nothing), "back up api, deploy api, reload api");
    assert_eq!(done("api reload-config deploys", "deploy", nothing), "back up api, deploy api, restart api");
    let same = |world: &mut Services| world.unit("api").tree = "/new/tree".to_owned();
    assert_eq!(done("api reload-config deploys", "deploy", same), "back up api, deploy api, reload api", "nothing has changed");
    assert_eq!(done("api reload", "", |world| world.unit("api").can_reload = false), "back up api, restart api");
    assert_eq!(done("api reload", "", |world| world.unit("api").stale = true), "back up api, restart api");
}

#[test]
fn a_reload_is_not_even_asked_for_where_systemd_has_not_read_the_unit_file() {
    let mut world = Services::of("box", "api reload deploys");
    world.accepted("deploy");
    world.until(ActionKind::Deploy, "api");
    // The new tree brings a new unit file.
    world.unit("api").stale = true;
    let command = world.until(ActionKind::Restart, "api");
    let model::Action::Service { verb: ServiceVerb::Restart { reload, .. }, .. } = command.action else { panic!("a restart") };
    assert!(!reload);
}

#[test]
fn s3_18_s3_21_to_26_s3_81_an_unhealthy_service_is_taken_back_and_proven() {
    let mut world = Services::of("box", "api deploys\nweb needs=api");
    world.unit("api").sick = Sick::WithNew;
    assert_eq!(world.run("deploy"), Some(Outcome::Failed));
    assert_eq!(world.done(), "back up api, deploy api, restart api, stop api, revert api, restore api");
    let api = world.unit("api").clone();
    assert_eq!((api.tree.as_str(), api.runs.as_str(), api.is_up()), ("old", "old", true));
    let reason = world.reason("api");
    assert!(reason.starts_with("not healthy after the restart: answers: connection refused"), "{reason}");
    assert!(reason.ends_with("; rolled back"), "{reason}");
    let view = world.track("api").service.expect("a service");
    assert_eq!((view.rolled_back, world.stranded().len()), (Some(true), 0));
    assert_eq!(world.ends(), [Outcome::Failed, Outcome::Skipped]);
    assert_eq!(world.reason("web"), "not restarted: api failed");
    assert_eq!(world.unit("web").invocation, 1);
}

#[test]
fn s3_82_s3_83_a_crash_or_an_end_is_a_failure_wherever_it_is_seen() {
    let end = |change: fn(&mut Services)| {
        let mut world = Services::of("box", "api");
        change(&mut world);
        let outcome = world.run("");
        assert_eq!(outcome, Some(Outcome::Failed), "{}", world.reason("api"));
        assert!(world.done().contains("stop api, restore api"), "{}", world.done());
        assert!(world.unit("api").is_up() || world.stranded() == ["api"]);
        world.reason("api")
    };
    let soak = end(|world| world.unit("api").crashes = 1);
    assert!(soak.starts_with("not healthy while it soaked: it is not what it was") && soak.ends_with("rolled back"), "{soak}");
    let late = end(|world| world.unit("api").crashes_late = true);
    assert!(late.starts_with("after the restart: it crashed, and systemd has started it again"), "{late}");
    let dies = end(|world| world.unit("api").dies = Some(Sick::Always));
    assert!(dies.starts_with("the restart failed: tool_failed"), "{dies}");
    assert!(dies.contains("the rollback failed") && dies.contains("the unit is failed"), "{dies}");
}

#[test]
fn s3_19_s3_110_the_last_word_is_a_look_at_the_end_of_the_soak() {
    let mut world = Services::of("box", "api");
    world.accepted("");
    world.until(ActionKind::Watch, "api");
    let before = world.shell.now;
    while issued(&world, ActionKind::Inspect) < 3 {
        world.step();
    }
    assert!(world.shell.now.since(before) >= Millis::secs(10), "the soak");
    // It crashes right there.
    world.unit("api").crash();
    world.rest();
    assert_eq!(world.outcome(FIRST), Some(Outcome::Failed));
    assert!(world.reason("api").starts_with("at the end of the soak: it crashed"), "{}", world.reason("api"));
}

#[test]
fn s3_26_s3_70_a_rollback_that_is_not_proven_strands_the_service_until_a_restart_goes_well() {
    let mut world = Services::of("box", "api deploys");
    let api = world.unit("api");
    (api.sick, api.fails) = (Sick::Restarted, [(ActionKind::Revert, ErrorCode::ToolFailed)].into());
    assert_eq!(world.run("deploy"), Some(Outcome::Failed));
    let reason = world.reason("api");
    assert!(reason.contains("the rollback failed: ") && reason.contains("the old tree could not be put back"), "{reason}");
    assert!(reason.contains("answers: connection refused"), "{reason}");
    assert_eq!(world.stranded(), ["api"]);
    let host = world.shell.engine.host(host_id("box"), world.shell.now).expect("a host");
    assert_eq!((host.stranded, host.alarms.len()), (None, 1), "the service is, and not its host");
    assert_eq!(world.track("api").service.expect("a service").rolled_back, Some(false));
    // No report of the host ends that, and another failure does not.
    (0..5).for_each(|_| world.step());
    assert_eq!(world.stranded(), ["api"]);
    world.unit("api").sick = Sick::Never;
    let request = world.request("");
    assert!(matches!(world.shell.input(Input::Submit { id: SECOND, request }), Reply::Accepted { .. }));
    world.rest();
    assert_eq!((world.outcome(SECOND), world.stranded().len()), (Some(Outcome::Completed), 0));
}

#[test]
fn g7_a_person_ends_the_alarm_of_a_service() {
    let mut world = Services::of("box", "api");
    world.unit("api").dies = Some(Sick::Always);
    world.run("");
    assert_eq!(world.stranded(), ["api"]);
    let target = TargetId::of_service(host_id("box"), "api.service");
    assert_eq!(world.shell.engine.name_of(target).as_deref(), Some("api"));
    assert_eq!(world.shell.input(Input::Acknowledge { target, by: user() }), Reply::Noted);
    assert!(world.stranded().is_empty());
}

#[test]
fn a_failure_before_the_restart_never_stops_the_service() {
    for (kind, done) in [
        (ActionKind::BackUp, ""),
        (ActionKind::Deploy, "back up api, revert api, restore api"),
        (ActionKind::Migrate, "back up api, deploy api, revert api, restore api"),
    ] {
        let mut world = Services::of("box", "api deploys migrates");
        world.unit("api").fails = [(kind, ErrorCode::ToolFailed)].into();
        assert_eq!(world.run("deploy"), Some(Outcome::Failed));
        assert_eq!(world.done(), done, "{kind}");
        let api = world.unit("api").clone();
        assert_eq!((api.invocation, api.tree.as_str(), api.is_up()), (1, "old", true), "{kind}");
        assert!(world.stranded().is_empty(), "{kind}");
        assert_eq!(issued(&world, kind), 1, "{kind}: what fails is not tried again");
    }
}

/// Its code is in memory: the old tree on the disk says nothing of what runs.
#[test]
fn a_service_that_came_up_with_the_new_tree_is_not_as_before() {
    let mut world = Services::of("box", "api deploys migrates");
    world.unit("api").exit = 3;
    world.accepted("deploy");
    world.until(ActionKind::Migrate, "api");
    world.unit("api").crash();
    world.rest();
    let api = world.unit("api").clone();
    assert_eq!((api.tree.as_str(), api.runs.as_str()), ("old", "/new/tree"));
    assert_eq!(world.stranded(), ["api"]);
    assert!(world.reason("api").contains("it was started while the new tree was there"), "{}", world.reason("api"));
    // One that could not be stopped still runs what it was restarted with.
    let mut world = Services::of("box", "api deploys");
    (world.unit("api").sick, world.unit("api").fails) = (Sick::WithNew, [(ActionKind::StopUnit, ErrorCode::NotObserved)].into());
    world.run("deploy");
    assert_eq!(world.stranded(), ["api"]);
    assert!(world.reason("api").contains("it could not be stopped"), "{}", world.reason("api"));
}

/// Found by reading: a service that was not restarted was stopped and started all the same.
#[test]
fn a_restart_that_was_not_begun_is_not_taken_back() {
    for code in [ErrorCode::InvocationDiffers, ErrorCode::Expired, ErrorCode::LedgerFailed] {
        let mut world = Services::of("box", "api");
        world.unit("api").fails = [(ActionKind::Restart, code)].into();
        assert_eq!((world.run(""), world.done().as_str()), (Some(Outcome::Failed), "back up api"));
        assert_eq!(world.unit("api").invocation, 1);
        let mut world = Services::of("box", "api deploys");
        world.unit("api").fails = [(ActionKind::Restart, code)].into();
        assert_eq!(world.run("deploy"), Some(Outcome::Failed));
        assert_eq!(world.done(), "back up api, deploy api, revert api, restore api", "{code}");
        assert_eq!(world.unit("api").invocation, 1);
    }
}

#[test]
fn s3_86_to_88_a_migration_is_run_once_and_never_undone() {
    let mut world = Services::of("box", "api deploys migrates");
    world.unit("api").exit = 3;
    assert_eq!(world.run("deploy"), Some(Outcome::Failed));
    assert_eq!(world.done(), "back up api, deploy api, migrate api, revert api, restore api");
    let reason = world.reason("api");
    assert_eq!(reason, "the migration failed: exit 3: no such table; its migration is not undone; rolled back");
    // Healthy before, unhealthy after: taken back, and it is told that the migration is not.
    let mut world = Services::of("box", "api migrates");
    world.unit("api").sick = Sick::Restarted;
    world.run("");
    assert!(world.reason("api").contains("; its migration is not undone"), "{}", world.reason("api"));
    assert_eq!(issued(&world, ActionKind::Migrate), 1);
}

#[test]
fn s3_85_what_may_have_to_be_put_back_by_hand_is_shown_where_it_did_not_end_well() {
    let by_hand = |text: &str, words: &str, sick: Sick| {
        let mut world = Services::of("box", text);
        world.unit("api").sick = sick;
        world.run(words);
        world.track("api").service.expect("a service").by_hand
    };
    let left = by_hand("api deploys", "deploy", Sick::Restarted).expect("it was restarted");
    assert_eq!((left.unit.as_str(), left.unit_file.as_deref()), ("api.service", Some("/etc/systemd/system/x.service")));
    assert_eq!(left.deploy.map(|(key, deploy)| (key, deploy.destination)), Some((FIRST, "/srv/api".to_owned())));
    assert_eq!(by_hand("api deploys", "", Sick::Restarted).expect("restarted").deploy, None, "nothing was deployed");
    assert_eq!(by_hand("api deploys", "deploy", Sick::Never), None, "all is well");
    assert_eq!(by_hand("api deploys", "deploy", Sick::Always), None, "it was not touched");
}

#[test]
fn s3_86_a_migration_that_failed_on_the_first_host_leaves_the_others_untouched() {
    use Outcome::{Completed, Failed, Skipped};
    for words in ["", "parallel=0", "parallel=0 keep-going"] {
        let mut world = Services::of("one two three", "api migrates");
        world.unit("api@one").exit = 3;
        assert_eq!(world.run(words), Some(Outcome::Failed), "{words}");
        assert_eq!(world.ends(), [Failed, Skipped, Skipped], "{words}");
        assert_eq!(issued(&world, ActionKind::Migrate), 1, "{words}");
        assert_eq!(world.done(), "back up api, migrate api", "{words}");
        assert_eq!([world.unit("api@two").invocation, world.unit("api@three").invocation], [1, 1], "{words}");
    }
    let mut world = Services::of("one two three", "api migrates");
    assert_eq!(world.run("parallel=0"), Some(Completed));
    assert_eq!(issued(&world, ActionKind::Migrate), 1);
    assert_eq!([world.unit("api@two").invocation, world.unit("api@three").invocation], [2, 2]);
    let mut world = Services::of("one two three", "api migrates every");
    world.unit("api@one").exit = 3;
    assert_eq!(world.run("parallel=0 keep-going"), Some(Outcome::Failed));
    assert_eq!(world.ends(), [Failed, Completed, Completed]);
    assert_eq!(issued(&world, ActionKind::Migrate), 3);
}

#[test]
fn an_end_of_a_migration_that_nobody_knows_is_unknown_and_the_deploy_is_taken_back() {
    let lost = |change: fn(&mut Services)| {
        let mut world = Services::of("box", "api deploys migrates\nweb needs=api");
        change(&mut world);
        assert_eq!(world.run("deploy"), Some(Outcome::Unknown));
        assert_eq!(world.ends(), [Outcome::Unknown, Outcome::Skipped]);
        assert!(world.done().ends_with("revert api, restore api"), "{}", world.done());
        let api = world.unit("api").clone();
        assert_eq!((api.tree.as_str(), api.invocation), ("old", 1));
        assert!(world.reason("api").contains("look at the host"), "{}", world.reason("api"));
        assert_eq!(world.shell.engine.view(FIRST).expect("known").counts.unknown, 1);
    };
    lost(|world| world.unit("api").fails = [(ActionKind::Migrate, ErrorCode::OutcomeUnknown)].into());
    lost(|world| world.unit("api").silent = [ActionKind::Migrate].into());
    // What was said cannot be read.
    let mut world = Services::of("box", "api migrates");
    world.accepted("");
    let command = world.until(ActionKind::Migrate, "api");
    let ack = world.answer(&command).expect("an answer");
    let ack = model::Ack { observed: None, ..ack };
    world.shell.input(Input::Acked { host: command.target, ack: Box::new(ack) });
    world.rest();
    assert_eq!(world.outcome(FIRST), Some(Outcome::Unknown), "{}", world.reason("api"));
}

#[test]
fn after_a_failure_nothing_new_starts_and_with_keep_going_what_does_not_depend_on_it_goes_on() {
    let text = "db\napi needs=db\nweb needs=api\nmail\nqueue needs=mail";
    let failing = |words: &str| {
        let mut world = Services::of("box", text);
        world.unit("api").sick = Sick::Restarted;
        assert_eq!(world.run(words), Some(Outcome::Failed));
        assert!(world.shell.engine.locks().is_empty());
        world
    };
    use Outcome::{Completed, Failed, Skipped};
    let world = failing("");
    assert_eq!(world.ends(), [Completed, Failed, Skipped, Skipped, Skipped]);
    assert_eq!(world.reason("queue"), "not restarted: api failed");
    let world = failing("keep-going");
    assert_eq!(world.ends(), [Completed, Failed, Skipped, Completed, Completed]);
    assert_eq!(world.reason("web"), "it depends on api, which did not end well");
    // Several at once: those that run are brought to their end.
    let world = failing("parallel=0");
    assert_eq!(world.track("db").outcome, Some(Completed));
    assert_eq!(world.track("mail").outcome, Some(Completed), "it ran beside");
    assert_eq!(world.track("web").outcome, Some(Skipped));
}

#[test]
fn so_many_at_once_and_dependents_only_after_what_they_depend_on() {
    let text = "a\nb\nc\nd needs=a,b\ne needs=c";
    for (parallel, most) in [(1, 1), (2, 2), (3, 3), (0, 3)] {
        let mut world = Services::of("box", text);
        world.accepted(&format!("parallel={parallel}"));
        let mut seen = 0;
        for _ in 0..400 {
            let tracks = world.shell.engine.tracks(FIRST);
            let runs: Vec<&str> =
                tracks.iter().filter(|t| t.started_at.is_some() && t.ended_at.is_none()).map(|t| t.name.as_str()).collect();
            assert!(runs.len() <= most, "{runs:?}");
            seen = seen.max(runs.len());
            for (name, on) in [("d", "a"), ("d", "b"), ("e", "c")] {
                assert!(!(runs.contains(&name) && runs.contains(&on)), "{runs:?}");
            }
            if world.outcome(FIRST).is_some() {
                break;
            }
            world.step();
        }
        assert_eq!((world.outcome(FIRST), seen), (Some(Outcome::Completed), most));
    }
}

#[test]
fn a_dependency_on_another_host_comes_first() {
    let mut world = Services::of("one two", "web on=one needs=db\ndb on=two");
    assert_eq!(world.run("parallel=0"), Some(Outcome::Completed));
    assert_eq!(world.done(), "back up db, restart db, back up web, restart web");
    // And its failure keeps it from being touched.
    let mut world = Services::of("one two", "web on=one needs=db\ndb on=two");
    world.unit("db").sick = Sick::Restarted;
    assert_eq!(world.run("keep-going"), Some(Outcome::Failed));
    assert_eq!(world.unit("web").invocation, 1);
}
