//! Fleets as text, plans as text.

use std::collections::BTreeSet;
use std::fmt::Write;

use model::{
    Actor, Amount, ChildKind, ChildRef, ChildStatus, Drain, DrainPolicy, Drained, Millis, Options, Recheck, RolloutOptions,
    StepAction, TimeoutPolicy,
};
use proptest::prelude::*;
use uuid::Uuid;

use super::*;

/// A host with all that a candidate borrows.
#[derive(Clone, Debug)]
struct Host {
    id: TargetId,
    name: String,
    address: Option<String>,
    labels: Labels,
    route: Route,
    children: Vec<ChildReport>,
    boot: Option<(BootIdentity, InstanceId)>,
    failures: u32,
    unfinished: Option<Unfinished>,
    own: bool,
}

fn id(name: &str) -> TargetId {
    TargetId(Uuid::new_v5(&Uuid::NAMESPACE_DNS, name.as_bytes()))
}

fn boot(text: &str) -> BootIdentity {
    BootIdentity::new(&Uuid::new_v5(&Uuid::NAMESPACE_DNS, text.as_bytes()).to_string(), 1).unwrap()
}

/// One host a line: its name, then labels (`role=web`) and: `at=ADDRESS` (which means over SSH), `failed=2`, `own`,
/// `child=NAME`, `machine=NAME`, `rebooted` (the rest of an earlier rollout is to be done), `left=URL` (drained by it).
fn fleet(text: &str) -> Vec<Host> {
    let host = |line: &str| {
        let mut words = line.split_whitespace();
        let name = words.next().unwrap().to_owned();
        let mut host = Host {
            id: id(&name),
            address: None,
            labels: Labels::new(),
            route: Route::Agent,
            children: Vec::new(),
            boot: Some((boot(&name), InstanceId(id(&name).0))),
            failures: 0,
            unfinished: None,
            own: false,
            name,
        };
        for word in words {
            match word.split_once('=') {
                Some(("at", address)) => (host.address, host.route) = (Some(address.to_owned()), Route::Ssh),
                Some(("failed", count)) => host.failures = count.parse().unwrap(),
                Some(("child", name)) => host.children.push(child(host.id, name)),
                Some(("machine", name)) => host.boot = Some((boot(name), InstanceId(id(name).0))),
                Some(("left", url)) => {
                    let drained = Drained { drain: Drain::Http { url: url.to_owned() }, prior: Vec::new(), forced: false };
                    host.unfinished.get_or_insert_default().drained.push(drained);
                }
                Some((key, value)) => drop(host.labels.insert(key.to_owned(), value.to_owned())),
                None if word == "own" => host.own = true,
                None if word == "rebooted" => host.unfinished.get_or_insert_default().proven = Some(boot("new")),
                None => panic!("{word}"),
            }
        }
        host
    };
    text.lines().map(str::trim).filter(|line| !line.is_empty()).map(host).collect()
}

fn child(host: TargetId, name: &str) -> ChildReport {
    let child = ChildRef {
        id: TargetId::of_child(host, ChildKind::Lxd, name),
        kind: ChildKind::Lxd,
        name: name.to_owned(),
        stable_id: name.to_owned(),
    };
    ChildReport { child, status: ChildStatus::Running, autostart: true, start_priority: 0, stop_priority: 0 }
}

fn candidates(hosts: &[Host]) -> Vec<Candidate<'_>> {
    hosts.iter().map(candidate).collect()
}

fn candidate(host: &Host) -> Candidate<'_> {
    Candidate {
        id: host.id,
        name: &host.name,
        address: host.address.as_deref(),
        labels: &host.labels,
        route: host.route,
        children: &host.children,
        boot: host.boot,
        failures: host.failures,
        unfinished: host.unfinished.clone(),
        own: host.own,
    }
}

fn request(config: &Config, said: &str, targets: Vec<TargetId>) -> Request {
    let said: RolloutOptions = toml::from_str(said).unwrap();
    let options = Options { shutdown_timeout: Millis::secs(120), on_timeout: TimeoutPolicy::Abort, strict: false, force: None };
    let rollout = Some(config.rollout_of(&said, None));
    Request {
        targets,
        operation: Operation::RollingReboot,
        options,
        rollout,
        run: None,
        wait: None,
        services: None,
        by: Actor::User("op".into()),
    }
}

/// All hosts but those called `other…` are targets.
fn planned(config: &str, said: &str, hosts: &[Host]) -> Result<Plan, PlanError> {
    let config: Config = toml::from_str(config).unwrap();
    assert_eq!(config.check(), Ok(()));
    let targets = hosts.iter().filter(|h| !h.name.starts_with("other")).map(|h| h.id).collect();
    plan(&config, &request(&config, said, targets), &candidates(hosts))
}

/// Names by wave, and `*` at a wave for which somebody must agree.
fn waves_of(plan: &Plan) -> Vec<String> {
    let wave = |wave: &Wave| {
        let names: Vec<&str> = wave.tracks.iter().map(|t| t.name.as_str()).collect();
        format!("{}{}", if wave.approval { "* " } else { "" }, names.join(" "))
    };
    plan.waves.iter().map(wave).collect()
}

fn check_waves(config: &str, said: &str, hosts: &str, expected: &[&str]) {
    let plan = planned(config, said, &fleet(hosts)).unwrap();
    assert_eq!(waves_of(&plan), expected, "{said}\n{hosts}");
}

fn steps_of(plan: &Plan, host: &str) -> String {
    let track = plan.tracks().find(|t| t.name == host).unwrap();
    let mut text = String::new();
    for step in plan.steps(track) {
        match &step.action {
            StepAction::Probe { recheck, checks, hold } => {
                let checks: Vec<&str> = checks.iter().map(|c| c.name.as_str()).collect();
                write!(text, "probe {recheck:?} [{}] hold {hold}", checks.join(" ")).unwrap();
            }
            StepAction::Observe { drain } => write!(text, "observe {}", url(drain)).unwrap(),
            StepAction::Drain { drain, on_timeout, .. } => write!(text, "drain {} else {on_timeout}", url(drain)).unwrap(),
            StepAction::Undrain { drain } => write!(text, "undrain {}", url(drain)).unwrap(),
            StepAction::Stop { on_timeout, .. } => write!(text, "stop else {on_timeout}").unwrap(),
            StepAction::Start => text.push_str("start"),
            StepAction::StopAgain => text.push_str("stop again"),
            StepAction::Reboot { .. } => text.push_str("reboot"),
            StepAction::Shutdown { .. } => text.push_str("shutdown"),
            StepAction::Run { run, limit } => write!(text, "run {run} for {limit}").unwrap(),
            StepAction::Inspect { .. }
            | StepAction::BackUp { .. }
            | StepAction::Deploy { .. }
            | StepAction::Migrate { .. }
            | StepAction::Restart { .. }
            | StepAction::Watch { .. } => panic!("no rollout does {:?}", step.action),
        }
        writeln!(text, ", limit {}", step.limit).unwrap();
    }
    text
}

fn url(drain: &Drain) -> &str {
    match drain {
        Drain::Http { url } => url,
        other => panic!("{other:?}"),
    }
}

const RULES: &str = r#"
[drain.lb]
on = "role=web"
kind = "http"
url = "http://lb/{name}"
[drain.jobs]
on = "*"
kind = "http"
url = "http://jobs/{label.site}"
[check.front]
on = "role=web"
kind = "http"
url = "http://{address}:8080/"
[rollout]
drains = ["lb", "jobs"]
"#;

#[test]
fn s2_4_s2_32_a_track_drains_stops_reboots_proves_verifies_puts_back_in_reverse_and_soaks() {
    let hosts = fleet("web1 role=web site=fra at=admin@10.0.0.1:2222\ndb1 site=ber");
    let plan = planned(RULES, "on_drain_timeout = \"skip\"", &hosts).unwrap();
    assert_eq!(
        steps_of(&plan, "web1"),
        "probe Admission [] hold 0 s, limit 60 s\n\
         observe http://lb/{name}, limit 60 s\n\
         observe http://jobs/{label.site}, limit 60 s\n\
         drain http://lb/{name} else skip, limit 120 s\n\
         drain http://jobs/{label.site} else skip, limit 120 s\n\
         stop else abort, limit 120 s\n\
         probe ChildrenDown [] hold 0 s, limit 60 s\n\
         reboot, limit 960 s\n\
         start, limit 120 s\n\
         stop again, limit 120 s\n\
         probe Restored [front] hold 5 s, limit 120 s\n\
         undrain http://jobs/{label.site}, limit 120 s\n\
         undrain http://lb/{name}, limit 120 s\n\
         probe Soak [front] hold 60 s, limit 180 s\n"
    );
    let vars = |name: &str| plan.tracks().find(|t| t.name == name).unwrap().vars.clone();
    let pairs = |pairs: &[(&str, &str)]| pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect::<model::Vars>();
    assert_eq!(vars("web1"), pairs(&[("address", "10.0.0.1"), ("label.site", "fra"), ("name", "web1")]));
    assert_eq!(vars("db1"), pairs(&[("label.site", "ber")]), "only what its own rules ask for");
    assert!(!steps_of(&plan, "db1").contains("lb"));
}

#[test]
fn s2_11_s2_17_units_run_again_before_the_checks_and_work_comes_after_them() {
    let rules = r#"
[drain.lb]
on = "*"
kind = "http"
url = "http://lb/{name}"

[drain.units]
on = "*"
kind = "units"
units = ["web.service"]

[check.web]
on = "*"
kind = "unit"
unit = "web.service"
"#;
    let plan = planned(rules, "", &fleet("web1")).unwrap();
    let steps = plan.steps(plan.tracks().next().unwrap());
    let place = |is: &dyn Fn(&StepAction) -> bool| steps.iter().position(|s| is(&s.action)).unwrap();
    let units = place(&|a| matches!(a, StepAction::Undrain { drain } if drain.stops_work()));
    let healthy = place(&|a| matches!(a, StepAction::Probe { recheck: Recheck::Restored, .. }));
    let lb = place(&|a| matches!(a, StepAction::Undrain { drain } if !drain.stops_work()));
    assert!(units < healthy && healthy < lb);
}

#[test]
fn s2_18_s2_24_without_a_drain_a_track_only_stops_what_runs_on_the_host_reboots_and_verifies() {
    let plan = planned(RULES, "drains = []\nchecks = []", &fleet("web1 role=web\nweb2")).unwrap();
    assert_eq!(
        steps_of(&plan, "web1"),
        "probe Admission [] hold 0 s, limit 60 s\n\
         stop else abort, limit 120 s\n\
         probe ChildrenDown [] hold 0 s, limit 60 s\n\
         reboot, limit 960 s\n\
         start, limit 120 s\n\
         stop again, limit 120 s\n\
         probe Restored [] hold 5 s, limit 120 s\n\
         probe Soak [] hold 60 s, limit 180 s\n"
    );
    assert_eq!(plan.lists.len(), 1, "tracks with the same work share a list");
}

#[test]
fn a_retry_finishes_a_host_that_is_proven_and_puts_back_what_was_taken() {
    let hosts = fleet(
        "web1 role=web site=fra at=h1
         web2 role=web site=fra at=h2 rebooted left=http://lb/web2 left=http://jobs/fra
         web3 role=web site=fra at=h3 rebooted left=http://old/{web3}
         web4 role=web site=fra at=h4 left=http://lb/web4
         web5 role=web site=fra at=h5 left=http://old/web5
         web6 role=web site=fra at=h6 rebooted",
    );
    let plan = planned(RULES, "", &hosts).unwrap();
    let finish = |undrains: &str| {
        format!(
            "probe Admission [] hold 0 s, limit 60 s\n\
             start, limit 120 s\nstop again, limit 120 s\n\
             probe Restored [front] hold 5 s, limit 120 s\n{undrains}\
             probe Soak [front] hold 60 s, limit 180 s\n"
        )
    };
    assert_eq!(
        steps_of(&plan, "web2"),
        finish("undrain http://jobs/{label.site}, limit 120 s\nundrain http://lb/{name}, limit 120 s\n")
    );
    assert_eq!(
        steps_of(&plan, "web3"),
        finish("undrain http://old/{{web3}}, limit 120 s\n"),
        "as it was taken, not as configured now"
    );
    assert_eq!(steps_of(&plan, "web6"), finish(""), "nothing is drained, nothing is put back");
    let web3 = plan.tracks().find(|t| t.name == "web3").unwrap();
    let StepAction::Undrain { drain } = &plan.steps(web3)[4].action else { panic!("an undrain") };
    assert_eq!(
        drain.filled(&web3.vars).unwrap(),
        web3.unfinished.as_ref().unwrap().drained[0].drain,
        "its braces are no variable"
    );
    assert_eq!(steps_of(&plan, "web4"), steps_of(&plan, "web1"), "drained already, and not rebooted");
    let web5 = steps_of(&plan, "web5");
    let (first, last) = (
        "observe http://old/web5, limit 60 s\nobserve http://lb",
        "undrain http://lb/{name}, limit 120 s\nundrain http://old/web5",
    );
    assert!(web5.contains(first) && web5.contains(last), "{web5}");
    assert_eq!(waves_of(&plan), ["web2 web3 web4 web5 web6 web1"], "what was left undone comes first");
}

const RACKS: &str = "[[limit_group]]\nname = \"site\"\non = \"site=*\"\nper = \"site\"\nmax_unavailable = 2\n\
                     [[limit_group]]\nname = \"rack\"\non = \"rack=*\"\nper = \"rack\"\nmax_unavailable = 1\n";

#[test]
fn targets_take_turns_over_limit_groups_fewest_failures_first_and_the_own_host_last() {
    let racks = "a1 site=fra rack=r1\na2 site=fra rack=r1\na3 site=fra rack=r2\na4 site=fra rack=r2\nb1 site=ber rack=r3\nb2 site=ber rack=r3";
    check_waves(RACKS, "", racks, &["a1 b1 a3 a2 b2 a4"]);
    check_waves("", "", "c\nb\na failed=1\nd failed=3", &["b c a d"]);
    check_waves("", "", "a own\nb failed=9\nc", &["c b", "a"]);
    check_waves("", "", "a own rebooted\nb", &["b", "a"]);
    check_waves("", "", "a own", &["a"]);
}

#[test]
fn s2_canary_stages_and_approval_cut_the_order_into_waves() {
    let ten = "h0\nh1\nh2\nh3\nh4\nh5\nh6\nh7\nh8\nh9";
    check_waves("", "canary = 1", "a\nb\nc", &["a", "b c"]);
    check_waves("", "canary = \"5%\"", "a\nb\nc", &["a", "b c"]);
    check_waves("", "canary = 5", "a\nb\nc", &["a b c"]);
    check_waves("", "canary = 1\nstages = [\"30%\", \"60%\"]", ten, &["h0", "h1 h2", "h3 h4 h5", "h6 h7 h8 h9"]);
    check_waves("", "canary = 1\nstages = [\"1%\", \"10%\", \"50%\"]", "a\nb\nc\nd", &["a", "b", "c d"]);
    check_waves("", "stages = [2]\napproval = \"each_wave\"", "a\nb\nc own", &["a b", "* c"]);
    check_waves("", "canary = 1\nstages = [2]\napproval = \"each_wave\"", "a\nb\nc\nd own", &["a", "* b", "* c", "* d"]);
    check_waves("", "canary = 1\nstages = [2]\napproval = \"after_canary\"", "a\nb\nc", &["a", "* b", "c"]);
    check_waves("", "canary = \"100%\"\napproval = \"after_canary\"", "a\nb", &["a b"]);
}

#[test]
fn what_cannot_be_planned_is_told_with_its_names_and_a_way_out() {
    let hook = "[drain.own]\non = \"*\"\nkind = \"hook\"\nname = \"drain-{label.role}\"";
    let command = "[check.app]\non = \"*\"\nkind = \"command\"\nargv = [\"true\"]";
    let third = "[[limit_group]]\nname = \"web\"\non = \"role=web\"\nmax_unavailable = \"30%\"";
    let quorum = "[[limit_group]]\nname = \"etcd\"\nchildren = [\"n1/a\", \"n1/b\", \"n2/c\"]\nmax_unavailable = 1";
    for (config, said, hosts, parts) in [
        ("", "", "other1", &["no target"][..]),
        (RULES, "drains = [\"lp\"]", "a", &["\"lp\"", "jobs, lb"]),
        (RULES, "", "web1 role=web site=fra", &["web1", "{address}", "check front"]),
        (RULES, "", "db1", &["db1", "{label.site}", "drain jobs"]),
        (hook, "", "a role=../x", &["a", "drain own", "drain-../x"]),
        (command, "", "a", &["check app", "has an agent", "hook"]),
        (third, "", "a role=web\nb role=web\nother role=web", &["web", "30%", "3 members", "higher"]),
        (quorum, "", "n1 child=a child=b\nn2", &["n1", "etcd", "2 members", "allows 1"]),
        ("", "", "a child=b\nb", &["b stands on a", "leave b out"]),
        ("", "", "a at=root@10.0.0.1\nb at=10.0.0.1:22", &["a and b", "one machine"]),
        ("", "", "a machine=m\nb machine=m", &["a and b", "one machine"]),
    ] {
        let error = planned(config, said, &fleet(hosts)).expect_err(hosts).to_string();
        assert!(parts.iter().all(|part| error.contains(part)), "{hosts}: {error}");
    }
    // The same where it does no harm: a group of nobody who is a target, an agent's host with a name of another one's address.
    for (config, hosts) in
        [(third, "a\nother role=web"), (quorum, "n2\nother child=a"), (command, "a at=h"), ("", "a at=h:1\nb at=h:2")]
    {
        planned(config, "", &fleet(hosts)).unwrap_or_else(|error| panic!("{hosts}: {error}"));
    }
    let hosts = fleet("a\nb");
    let config = Config::default();
    let twice = request(&config, "", vec![hosts[0].id, hosts[1].id, hosts[0].id]);
    assert_eq!(plan(&config, &twice, &candidates(&hosts)), Err(PlanError::Twice { name: "a".into() }));
    let stranger = request(&config, "", vec![id("stranger")]);
    assert_eq!(plan(&config, &stranger, &candidates(&hosts)), Err(PlanError::UnknownTarget(id("stranger"))));
    let other = Request { operation: Operation::Reboot, ..request(&config, "", vec![hosts[0].id]) };
    assert_eq!(plan(&config, &other, &candidates(&hosts)), Err(PlanError::NoRollout(Operation::Reboot)));
}

#[test]
fn an_address_is_told_apart_from_its_user_and_port() {
    for (address, host, port) in [
        ("h", "h", None),
        ("root@h", "h", None),
        ("root@h:22", "h", Some(22)),
        ("a@b@h", "h", None),
        ("[fe80::1]:22", "fe80::1", Some(22)),
        ("root@[fe80::1]", "fe80::1", None),
        ("fe80::1", "fe80::1", None),
    ] {
        assert_eq!(host_and_port(address), (host, port), "{address}");
    }
}

fn pace(concurrency: u32, stagger: u64) -> Pace {
    Pace { concurrency, stagger: Millis(stagger), expected: Millis(10) }
}

#[test]
fn a_plan_takes_what_list_scheduling_in_its_order_takes() {
    let hosts = fleet("a rack=r1\nb rack=r1\nc rack=r2\nd\ne");
    let config = "[[limit_group]]\nname = \"rack\"\non = \"rack=*\"\nper = \"rack\"\nmax_unavailable = 1";
    let made = planned(config, "", &hosts).unwrap();
    assert_eq!(waves_of(&made), ["a c d b e"]);
    let groups = groups(&toml::from_str(config).unwrap(), &candidates(&hosts));
    let durations: Durations = [("a", 30), ("c", 5), ("d", 7)].map(|(name, ms)| (id(name), Millis(ms))).into();
    let length = |pace| {
        let (starts, end) = makespan(&made, &groups, &durations, pace);
        (starts.iter().map(|start| start.0).collect::<Vec<_>>(), end.0)
    };
    // b waits for a, which is of its rack; e does not.
    assert_eq!(length(pace(2, 0)), (vec![0, 0, 5, 30, 12], 40));
    assert_eq!(length(pace(9, 0)), (vec![0, 0, 0, 30, 0], 40));
    assert_eq!(length(pace(1, 0)), (vec![0, 30, 35, 42, 52], 62));
    assert_eq!(length(pace(9, 4)), (vec![0, 4, 8, 30, 12], 40));
    let canary = planned(config, "canary = 1", &hosts).unwrap();
    assert_eq!(makespan(&canary, &groups, &durations, pace(9, 0)).1, Millis(40), "waves follow each other");
}

proptest! {
    /// In racks and sites at random: each target once, the same plan for the same fleet in any order, the canary in as many
    /// racks as it can be, the own host last, and a schedule that keeps the limits and leaves nobody waiting who could start.
    #[test]
    fn plans_hold_together(
        racks in proptest::collection::vec((0..5_u8, 0..3_u32, 1..50_u64), 1..40),
        own in 0..60_usize,
        canary in 0..7_u32,
        concurrency in 1..6_u32,
        turn in 0..40_usize,
    ) {
        let line = |(n, (rack, failed, _)): (usize, &(u8, u32, u64))| {
            let own = if n == own { " own" } else { "" };
            format!("h{n:02} rack=r{rack} site=s{} failed={failed}{own}\n", rack % 2)
        };
        let mut hosts = fleet(&racks.iter().enumerate().map(line).collect::<String>());
        let said = format!("canary = {canary}");
        let made = planned(RACKS, &said, &hosts).unwrap();
        let groups = groups(&toml::from_str(RACKS).unwrap(), &candidates(&hosts));
        let durations: Durations = hosts.iter().zip(&racks).map(|(host, (.., ms))| (host.id, Millis(*ms))).collect();
        let turn = turn % hosts.len();
        hosts.rotate_left(turn);
        prop_assert_eq!(&planned(RACKS, &said, &hosts).unwrap(), &made);

        let tracks: Vec<&Track> = made.tracks().collect();
        prop_assert_eq!(tracks.len(), racks.len());
        prop_assert_eq!(tracks.iter().map(|t| t.target).collect::<BTreeSet<_>>().len(), racks.len());
        if own < racks.len() {
            prop_assert_eq!(&tracks.last().unwrap().name, &format!("h{own:02}"));
            prop_assert_eq!(made.waves.last().unwrap().tracks.len(), 1);
        }
        let host = |track: &Track| hosts.iter().find(|h| h.id == track.target).unwrap();
        let eligible: Vec<&Host> = tracks.iter().map(|t| host(t)).filter(|h| !h.own).collect();
        let fewest = eligible.iter().map(|h| h.failures).min();
        let best: Vec<&&Host> = eligible.iter().filter(|h| Some(h.failures) == fewest).collect();
        let of_racks = |hosts: &[&&Host]| hosts.iter().map(|h| h.labels["rack"].clone()).collect::<BTreeSet<_>>().len();
        let first: Vec<&&Host> = best.iter().take(canary as usize).copied().collect();
        prop_assert_eq!(of_racks(&first), of_racks(&best).min(first.len()));

        let (starts, end) = makespan(&made, &groups, &durations, pace(concurrency, 0));
        let runs: Vec<(u64, u64, &Track)> = tracks.iter().zip(&starts).map(|(t, s)| (s.0, s.0 + durations[&t.target].0, *t)).collect();
        prop_assert_eq!(runs.iter().map(|r| r.1).max(), Some(end.0));
        for now in 0..end.0 {
            let running: Vec<&Track> = runs.iter().filter(|r| r.0 <= now && now < r.1).map(|r| r.2).collect();
            prop_assert!(running.len() <= concurrency as usize);
            let room = |track: &Track| groups.iter().all(|group| {
                let is_in = |t: &Track| group.members.iter().any(|m| m.host == Some(t.target));
                !is_in(track) || running.iter().filter(|t| is_in(t)).count() < group.limit as usize
            });
            for group in &groups {
                let down = running.iter().filter(|t| group.members.iter().any(|m| m.host == Some(t.target))).count();
                prop_assert!(down <= group.limit as usize);
            }
            let open = made.waves.iter().scan(0, |at, wave| { let first = *at; *at += wave.tracks.len(); Some(first..*at) })
                .find(|wave| runs[wave.clone()].iter().any(|r| r.1 > now)).unwrap();
            for (start, _, track) in &runs[open] {
                let waits = *start > now && running.len() < concurrency as usize;
                prop_assert!(!waits || !room(track), "{} could start at {now}", track.name);
            }
        }
    }
}

#[test]
fn policies_of_the_request_stand_in_the_steps() {
    let hosts = fleet("db1 site=ber");
    let config: Config = toml::from_str(RULES).unwrap();
    let mut asked = request(&config, "on_drain_timeout = \"force\"\nsoak = 0", vec![hosts[0].id]);
    asked.options.on_timeout = TimeoutPolicy::ForceStop;
    let made = plan(&config, &asked, &candidates(&hosts)).unwrap();
    let force = Some(DrainPolicy::Force);
    assert!(made.lists[0].iter().any(|s| matches!(s.action, StepAction::Drain { on_timeout, .. } if Some(on_timeout) == force)));
    assert!(made.lists[0].iter().any(|s| matches!(s.action, StepAction::Stop { on_timeout: TimeoutPolicy::ForceStop, .. })));
    assert!(made.lists[0].iter().any(|s| matches!(s.action, StepAction::Probe { recheck: Recheck::Soak, hold: Millis(0), .. })));
    assert_eq!(asked.rollout.unwrap().concurrency, Amount::Count(1), "ruling 17");
}
