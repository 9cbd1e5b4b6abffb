//! Rolling restarts of services (S3): what is done, in which order, what is taken back, and what is proven.

use std::collections::BTreeSet;

use engine::{Config, Entry, Fact, FleetEntry, Input, LimitGroup, Outcome, Refusal, Reply, Why};
use model::{
    ActionKind, Amount, ChildStatus, ErrorCode, Millis, Operation, OrchestrationId, Request, RolloutOptions, ServiceVerb,
    TargetId,
};
use uuid::Uuid;

use crate::script::{options, user};
use crate::service_world::{FIRST, SECOND, Services, Sick};
use crate::world::host_id;

const CHAIN: &str = "db\napi needs=db\nweb needs=api";

fn reboot(target: TargetId) -> Request {
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

/// All facts of the orchestration, by a word each.
fn count(world: &Services, is: impl Fn(&Entry) -> bool) -> usize {
    let own = world.shell.all.iter().filter(|fact| match fact {
        Fact::Orchestration(FIRST, record) => is(&record.entry),
        _ => false,
    });
    own.count()
}

fn issued(world: &Services, kind: ActionKind) -> usize {
    count(world, |entry| matches!(entry, Entry::CommandIssued { command, .. } if command.action.kind() == kind))
}

fn locked(world: &Services) -> BTreeSet<String> {
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

#[test]
fn one_orchestration_has_the_lock_of_a_host_until_the_last_of_its_services_is_over() {
    let mut world = Services::of("one two", "a\nb needs=a on=one");
    world.accepted("parallel=0");
    assert_eq!(locked(&world), BTreeSet::from(["one".to_owned(), "two".to_owned()]));
    let request = world.request("only=a");
    let reply = world.shell.input(Input::Submit { id: SECOND, request });
    assert!(matches!(reply, Reply::Refused(Refusal::TargetsBlocked { .. })), "{reply:?}");
    while world.track("a on one").ended_at.is_none() || world.track("a on two").ended_at.is_none() {
        world.step();
    }
    assert_eq!(locked(&world), BTreeSet::from(["one".to_owned()]), "b is still to come, and nothing on two");
    let blocked = world.shell.engine.explain(&reboot(host_id("one")), world.shell.now);
    assert!(blocked.iter().any(|b| matches!(b.why, Why::Locked { .. })), "{blocked:?}");
    assert!(world.shell.engine.explain(&reboot(host_id("two")), world.shell.now).is_empty());
    world.rest();
    assert!(world.shell.engine.locks().is_empty());
    // A host on which all that is left is skipped is let go of, although others go on.
    let mut world = Services::of("one two", "a on=one\nb on=one needs=a\nc on=two\nd on=two needs=c\ne on=two needs=d");
    world.unit("a").sick = Sick::Restarted;
    world.accepted("keep-going");
    while world.track("b on one").ended_at.is_none() {
        world.step();
    }
    assert!(!locked(&world).contains("one"));
    world.rest();
    assert_eq!(world.track("e on two").outcome, Some(Outcome::Completed));
    // Nor does a cancel keep hosts on which nothing runs any more.
    let mut world = Services::of("one two", "a on=one\nb on=two needs=a\nc on=one needs=b");
    world.accepted("");
    world.until(ActionKind::Inspect, "b");
    assert_eq!(locked(&world).len(), 2);
    world.shell.input(Input::Cancel { id: FIRST, by: user() });
    assert!(!locked(&world).contains("one"), "{:?}", locked(&world));
}

/// Found by reading: the lock of the parent waited for the child's track, and that for the lock.
#[test]
fn services_of_a_host_and_of_one_that_stands_on_it_do_not_wait_for_each_other_for_ever() {
    let mut world = Services::of("parent child", "a on=parent\nb on=child needs=a\nc on=parent needs=b");
    world.shell.hosts[0].children.insert("child".into(), (ChildStatus::Running, true));
    world.shell.report("parent");
    assert_eq!(world.run("parallel=0"), Some(Outcome::Completed));
    // While it is worked on, nobody reboots it, nor what it stands on.
    let mut world = Services::of("parent child", "b on=child");
    world.shell.hosts[0].children.insert("child".into(), (ChildStatus::Running, true));
    world.shell.report("parent");
    world.accepted("");
    let mut request = reboot(host_id("parent"));
    request.operation = Operation::OrchestratedReboot;
    let blocked = world.shell.engine.explain(&request, world.shell.now);
    let on_child = |why: &Why| matches!(why, Why::Locked { on: Some(on), .. } if on == "child");
    assert!(blocked.iter().any(|b| on_child(&b.why)), "{blocked:?}");
    // And a reboot that is under way is no time for services of what goes down with it.
    world.rest();
    assert!(matches!(world.shell.input(Input::Submit { id: SECOND, request }), Reply::Accepted { .. }));
    let third = OrchestrationId(Uuid::from_u128(102));
    let mut services = world.request("");
    services.targets = vec![host_id("child")];
    let reply = world.shell.input(Input::Submit { id: third, request: services });
    assert!(matches!(reply, Reply::Accepted { .. }), "{reply:?}");
    let why: Vec<Why> = world.shell.engine.explain_track(third, 0, world.shell.now).into_iter().map(|b| b.why).collect();
    assert!(why.iter().any(|w| matches!(w, Why::Locked { on: Some(on), .. } if on == "parent")), "{why:?}");
}

#[test]
fn g1_a_host_whose_services_are_restarted_counts_as_available() {
    let mut config = Config::default();
    config.limit_groups.push(LimitGroup {
        name: "web".into(),
        on: Some("role=web".parse().expect("a selector")),
        per: None,
        children: Vec::new(),
        max_unavailable: Amount::Count(1),
    });
    let mut world = Services::with(config, "one two three", "a\nb needs=a");
    world.shell.input(Input::Hold { host: host_id("three"), by: user(), reason: "parts".into() });
    let mut request = world.request("parallel=0");
    request.targets.pop();
    assert!(matches!(world.shell.input(Input::Submit { id: FIRST, request }), Reply::Accepted { .. }));
    assert_eq!(locked(&world).iter().filter(|name| *name != "three").count(), 2, "both, though the group has no room");
    let group = world.shell.engine.explain(&reboot(host_id("one")), world.shell.now);
    let counted = |why: &Why| matches!(why, Why::LimitGroup { unavailable: 1, .. });
    assert!(group.iter().any(|b| counted(&b.why)), "the held one alone is counted: {group:?}");
    world.rest();
    assert_eq!(world.outcome(FIRST), Some(Outcome::Completed));
}

#[test]
fn g5_marks_hold_services_back_until_the_first_of_them_is_touched() {
    let mut world = Services::of("one two", "a");
    world.shell.input(Input::Hold { host: host_id("one"), by: user(), reason: "mine".into() });
    assert_eq!(world.run(""), Some(Outcome::Skipped));
    assert_eq!(world.ends(), [Outcome::Skipped, Outcome::Completed], "what a person holds is no failure");
    let mut world = Services::of("box", "a\nb");
    world.shell.input(Input::Freeze { by: user(), reason: "a demonstration".into() });
    world.accepted("");
    (0..60).for_each(|_| world.step());
    assert_eq!((world.done().as_str(), world.outcome(FIRST)), ("", None), "it waits");
    world.shell.input(Input::Thaw { by: user() });
    world.until(ActionKind::Restart, "a");
    world.shell.input(Input::Freeze { by: user(), reason: "again".into() });
    (0..60).for_each(|_| world.step());
    assert_eq!(world.done(), "back up a, restart a", "what was begun is brought to its end");
    world.shell.input(Input::Thaw { by: user() });
    world.rest();
    assert_eq!(world.outcome(FIRST), Some(Outcome::Completed));
    // Between the look and the first touch a gate is looked at once more.
    let mut world = Services::of("box", "a");
    world.accepted("");
    world.until(ActionKind::BackUp, "a");
    world.shell.input(Input::Freeze { by: user(), reason: "now".into() });
    world.rest();
    assert_eq!((world.outcome(FIRST), world.done().as_str()), (Some(Outcome::Failed), "back up a"));
    assert!(world.reason("a").starts_with("not begun: the fleet is frozen"), "{}", world.reason("a"));
}

#[test]
fn a_host_that_cannot_do_it_or_is_not_heard_is_told_before_or_is_given_up() {
    let mut world = Services::of("one two", "a");
    world.shell.hosts[1].no_services = true;
    world.shell.report("two");
    let Reply::Refused(Refusal::TargetsBlocked { targets }) = world.submit("") else { panic!("it is refused whole") };
    assert_eq!((targets.len(), targets[0].name.as_str()), (1, "two"));
    let mut world = Services::of("one two", "a");
    world.silent.insert(host_id("one"));
    world.shell.now = world.shell.now + Millis::secs(120);
    world.shell.report("two");
    assert_eq!(world.run("keep-going"), Some(Outcome::Failed));
    assert_eq!(world.ends(), [Outcome::Failed, Outcome::Completed]);
    assert!(world.reason("a on one").starts_with("cannot start: "), "{}", world.reason("a on one"));
}

#[test]
fn a_cancel_takes_back_what_was_deployed_and_lets_go_on_what_was_restarted_as_it_was() {
    let cancelled = |text: &str, words: &str, at: ActionKind| {
        let mut world = Services::of("box", text);
        world.accepted(words);
        world.until(at, "a");
        let reply = world.shell.input(Input::Cancel { id: FIRST, by: user() });
        world.rest();
        (reply, world)
    };
    let (reply, world) = cancelled("a deploys\nb", "deploy", ActionKind::Watch);
    assert_eq!((reply, world.ends()), (Reply::Noted, vec![Outcome::Cancelled; 2]));
    assert_eq!(world.done(), "back up a, deploy a, restart a, stop a, revert a, restore a");
    let (_, world) = cancelled("a deploys\nb", "deploy", ActionKind::Restart);
    assert_eq!(world.ends(), [Outcome::Cancelled; 2]);
    assert_eq!(world.reason("a"), "cancelled by anna; rolled back");
    let (_, world) = cancelled("a\nb", "", ActionKind::Watch);
    assert_eq!(world.ends(), [Outcome::Completed, Outcome::Cancelled], "it was restarted with what it had: it goes on");
    assert_eq!(world.outcome(FIRST), Some(Outcome::Cancelled));
    let (_, world) = cancelled("a\nb", "", ActionKind::BackUp);
    assert_eq!((world.ends(), world.done().as_str()), (vec![Outcome::Cancelled; 2], ""));
    // With nothing left but that, there is nothing to cancel.
    let (reply, world) = cancelled("a", "", ActionKind::Watch);
    assert_eq!(reply, Reply::Refused(Refusal::CommandAlreadyIssued));
    assert_eq!(world.outcome(FIRST), Some(Outcome::Completed));
}

#[test]
fn a_migration_that_runs_is_waited_for_and_what_it_belongs_to_is_then_taken_back() {
    for exit in [0, 3] {
        let mut world = Services::of("box", "a deploys migrates");
        (world.unit("a").exit, world.unit("a").silent) = (exit, [ActionKind::Migrate].into());
        world.accepted("deploy");
        world.until(ActionKind::Migrate, "a");
        assert_eq!(world.shell.input(Input::Cancel { id: FIRST, by: user() }), Reply::Noted);
        (0..20).for_each(|_| world.step());
        assert_eq!(world.done(), "back up a, deploy a", "it is not cut off");
        world.unit("a").silent.clear();
        world.rest();
        assert_eq!(world.outcome(FIRST), Some(Outcome::Cancelled));
        assert_eq!(world.done(), "back up a, deploy a, migrate a, revert a, restore a");
        let reason = world.reason("a");
        assert!(reason.contains("its migration is not undone"), "{reason}");
        assert_eq!(reason.contains("the migration failed: exit 3"), exit == 3, "{reason}");
    }
}

/// It failed by itself, after the cancel and past what that could take back.
#[test]
fn a_failure_after_a_cancel_that_came_too_late_is_a_failure() {
    let mut world = Services::of("box", "a\nb");
    world.unit("a").crashes = 1;
    world.accepted("");
    world.until(ActionKind::Watch, "a");
    assert_eq!(world.shell.input(Input::Cancel { id: FIRST, by: user() }), Reply::Noted);
    world.rest();
    assert_eq!(world.ends(), [Outcome::Failed, Outcome::Cancelled]);
}

#[test]
fn settling_holds_back_what_disrupts_and_an_outage_costs_a_step_no_time() {
    let mut world = Services::of("box", "a");
    world.accepted("");
    world.until(ActionKind::Restart, "a");
    world.unit("a").silent.insert(ActionKind::Restart);
    // Far longer than the step may take.
    world.shell.now = world.shell.now + Millis::secs(3600);
    world.shell.restart();
    world.unit("a").silent.clear();
    let command = world.until(ActionKind::Restart, "a");
    assert!(world.shell.now < world.shell.engine.settle_until(), "it waits for the same one");
    assert!(command.expires_at < world.shell.now, "which is too old now: it is refused, and nothing was done");
    world.rest();
    assert_eq!((world.outcome(FIRST), world.done().as_str()), (Some(Outcome::Failed), "back up a"));
    // In the soak, the watch is begun anew, and has time for it.
    let mut world = Services::of("box", "a");
    world.accepted("");
    world.until(ActionKind::Watch, "a");
    world.shell.now = world.shell.now + Millis::secs(3600);
    world.shell.restart();
    world.rest();
    assert_eq!(world.outcome(FIRST), Some(Outcome::Completed));
    // A controller that was away between a start and the first touch looks at the gates again.
    let mut world = Services::of("box", "a");
    world.accepted("");
    world.until(ActionKind::BackUp, "a");
    world.shell.restart();
    world.shell.input(Input::Hold { host: host_id("box"), by: user(), reason: "parts".into() });
    world.rest();
    assert_eq!(world.outcome(FIRST), Some(Outcome::Failed));
    assert!(world.reason("a").starts_with("not begun: host is held by anna"), "{}", world.reason("a"));
}

#[test]
fn a_watch_that_could_not_look_is_begun_anew() {
    for code in [ErrorCode::Unreachable, ErrorCode::NotObserved, ErrorCode::Expired] {
        let mut world = Services::of("box", "a");
        world.accepted("");
        world.until(ActionKind::Watch, "a");
        (0..8).for_each(|_| world.step());
        world.unit("a").fails = [(ActionKind::Watch, code)].into();
        world.step();
        world.unit("a").fails.clear();
        world.rest();
        assert_eq!(world.outcome(FIRST), Some(Outcome::Completed), "{code}: {}", world.reason("a"));
        assert_eq!(issued(&world, ActionKind::Watch), 2);
    }
}

#[test]
fn what_is_taken_back_is_tried_again_until_it_works() {
    let mut world = Services::of("box", "a deploys");
    world.unit("a").sick = Sick::WithNew;
    world.unit("a").fails = [(ActionKind::StopUnit, ErrorCode::ToolFailed), (ActionKind::Revert, ErrorCode::ToolFailed)].into();
    world.accepted("deploy");
    while issued(&world, ActionKind::StopUnit) < 2 {
        world.step();
    }
    world.unit("a").fails.clear();
    world.rest();
    assert_eq!((world.outcome(FIRST), world.stranded().len()), (Some(Outcome::Failed), 0));
    let a = world.unit("a").clone();
    assert_eq!((a.tree.as_str(), a.is_up()), ("old", true));
}

#[test]
fn g6_whoever_never_answers_ends_at_a_deadline() {
    let all = [
        ActionKind::Inspect,
        ActionKind::BackUp,
        ActionKind::Deploy,
        ActionKind::Migrate,
        ActionKind::Restart,
        ActionKind::Watch,
        ActionKind::StopUnit,
        ActionKind::Revert,
        ActionKind::Restore,
    ];
    for kind in all {
        let mut world = Services::of("box", "a deploys migrates");
        (world.unit("a").sick, world.unit("a").silent) = (Sick::WithNew, [kind].into());
        let outcome = world.run("deploy");
        let expected = if kind == ActionKind::Migrate { Outcome::Unknown } else { Outcome::Failed };
        assert_eq!(outcome, Some(expected), "{kind}");
        assert!(world.shell.engine.locks().is_empty(), "{kind}");
        // Half-way backwards is stranded and named; or all is as before.
        let a = world.unit("a").clone();
        let as_before = a.tree == "old" && a.runs == "old" && a.is_up();
        assert!(as_before || world.stranded() == ["a"], "{kind}: {a:?}");
    }
}

/// Found at random: a look that was answered with "not yet" was called timed out again and again, for ever.
#[test]
fn g6_a_look_whose_time_is_over_between_two_attempts_is_over() {
    let mut world = Services::of("box", "a");
    world.unit("a").sick = Sick::Always;
    world.accepted("");
    world.step();
    assert_eq!(issued(&world, ActionKind::Inspect), 1);
    world.shell.now = world.shell.now + Millis::secs(3600);
    world.shell.input(Input::Tick);
    assert_eq!(count(&world, |entry| matches!(entry, Entry::DeadlinePassed { .. })), 1);
    assert!(world.reason("a").starts_with("not begun: not healthy before the restart"), "{}", world.reason("a"));
}

#[test]
fn g7_a_host_that_is_removed_in_the_middle_is_named_with_its_service() {
    let mut world = Services::of("box", "a\nb");
    world.accepted("");
    world.until(ActionKind::Watch, "a");
    world.shell.input(Input::Remove { host: host_id("box"), by: user() });
    assert!(world.reason("a").contains("its service may not be as it was"), "{}", world.reason("a"));
    assert_eq!(world.ends(), [Outcome::Failed, Outcome::Skipped]);
}

#[test]
fn a_reboot_of_the_host_beside_is_a_crash_of_its_services() {
    let mut world = Services::of("box", "a");
    world.accepted("");
    world.until(ActionKind::Watch, "a");
    world.shell.hosts[0].reboot();
    let unit = world.unit("a");
    (unit.invocation, unit.restarts) = (unit.invocation + 1, 0);
    world.rest();
    assert_eq!(world.outcome(FIRST), Some(Outcome::Failed));
    assert_eq!((world.unit("a").is_up(), world.stranded().len()), (true, 0));
}

#[test]
fn two_services_of_one_name_on_many_hosts_are_told_apart() {
    let mut world = Services::of("one two", "a");
    world.unit("a@two").sick = Sick::Restarted;
    assert_eq!(world.run("parallel=0"), Some(Outcome::Failed));
    assert_eq!(world.ends(), [Outcome::Completed, Outcome::Failed]);
    assert_eq!(world.stranded(), ["a on two"]);
    let message = world.shell.engine.view(FIRST).and_then(|v| v.error_message).expect("a message");
    assert!(message.starts_with("a on two failed: not healthy after the restart"), "{message}");
}

/// What is asked beside it goes on: a retry of a rollout, a health check.
#[test]
fn a_rolling_reboot_waits_for_the_services_of_a_host() {
    let mut world = Services::of("one two", "a on=one");
    world.accepted("");
    let rollout =
        world.shell.config.rollout_of(&RolloutOptions { concurrency: Some(Amount::Count(2)), ..RolloutOptions::default() }, None);
    let targets = vec![host_id("one"), host_id("two")];
    let request = Request { targets, operation: Operation::RollingReboot, rollout: Some(rollout), ..reboot(host_id("one")) };
    let reply = world.shell.input(Input::Submit { id: SECOND, request });
    assert!(matches!(reply, Reply::Refused(Refusal::TargetsBlocked { .. })), "{reply:?}");
    world.rest();
    assert_eq!(world.outcome(FIRST), Some(Outcome::Completed));
}

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

/// The physical end, and how it was told.
fn play(story: &Story, cut: Option<usize>) -> (Vec<Outcome>, Vec<String>, Vec<(bool, String, u128)>, usize) {
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
