//! Services as text, plans as text.

use std::fmt::Write;

use model::{
    Actor, DeployFrom, Force, Labels, Operation, Options, Request, ServiceKind, ServicesRequest, TargetId, TimeoutPolicy, Timings,
};
use proptest::prelude::*;
use uuid::Uuid;

use super::*;

#[derive(Clone, Debug)]
struct Host {
    id: TargetId,
    name: String,
    labels: Labels,
    route: Route,
}

/// Hosts by name; `NAME@ssh` and `NAME@local` have no agent.
fn hosts(text: &str) -> Vec<Host> {
    let host = |word: &str| {
        let (name, route) = match word.split_once('@') {
            Some((name, "ssh")) => (name, Route::Ssh),
            Some((name, _)) => (name, Route::Local),
            None => (word, Route::Agent),
        };
        let id = TargetId(Uuid::new_v5(&Uuid::NAMESPACE_DNS, name.as_bytes()));
        Host { id, name: name.to_owned(), labels: Labels::new(), route }
    };
    text.split_whitespace().map(host).collect()
}

fn candidates(hosts: &[Host]) -> Vec<Candidate<'_>> {
    hosts.iter().map(candidate).collect()
}

fn candidate(host: &Host) -> Candidate<'_> {
    Candidate {
        id: host.id,
        name: &host.name,
        address: None,
        labels: &host.labels,
        route: host.route,
        children: &[],
        boot: None,
        failures: 0,
        unfinished: None,
        own: false,
    }
}

/// One service a line: its name, then words: a kind, `unit=NAME`, `on=HOST`, `needs=A,B`, `check` (a page), `check=PROGRAM`,
/// `to=PATH` and `from=PATH` (its deploy), `migrates=NAME`, `runs=PROGRAM` (a migration that is a command), `reload`.
fn services(text: &str) -> Vec<Service> {
    text.lines().map(str::trim).filter(|line| !line.is_empty()).map(service).collect()
}

fn service(line: &str) -> Service {
    let mut words = line.split_whitespace();
    let name = words.next().unwrap().to_owned();
    let mut service = Service {
        unit: format!("{}.service", name.replace('.', "-")),
        name,
        kind: ServiceKind::Other,
        host: None,
        dependencies: Vec::new(),
        check: None,
        interval: Millis::secs(30),
        deploy: None,
        migrate: None,
        migrate_on: MigrateOn::First,
        reload: Reload::Never,
        timings: Timings::default(),
    };
    let tree = |service: &mut Service, from: &str, to: &str| {
        let source = from.to_owned();
        let tree = Deploy { source, destination: to.to_owned(), exclude: Vec::new(), keep: Vec::new(), unit_file: None };
        service.deploy.get_or_insert(tree).clone()
    };
    for word in words {
        match word.split_once('=').unwrap_or((word, "")) {
            ("unit", unit) => service.unit = unit.to_owned(),
            ("on", host) => service.host = Some(host.to_owned()),
            ("needs", names) => service.dependencies = names.split(',').map(str::to_owned).collect(),
            ("check", "") => service.check = Some(check(CheckKind::Hook { name: "web".to_owned() })),
            ("check", program) => service.check = Some(check(CheckKind::Command { argv: vec![program.to_owned()] })),
            ("to", path) => service.deploy = Some(Deploy { destination: path.to_owned(), ..tree(&mut service, "", path) }),
            ("from", path) => service.deploy = Some(Deploy { source: path.to_owned(), ..tree(&mut service, path, "") }),
            ("migrates", name) => service.migrate = Some(Migrate::Named { name: name.to_owned() }),
            ("every", _) => service.migrate_on = MigrateOn::Every,
            ("runs", program) => {
                service.migrate = Some(Migrate::Command { argv: vec![program.to_owned()], directory: "/srv".to_owned() });
            }
            ("reload", _) => service.reload = Reload::Code,
            (kind, _) => service.kind = serde_json::from_value(kind.into()).unwrap(),
        }
    }
    service
}

fn check(kind: CheckKind) -> Check {
    Check { name: "answers".to_owned(), kind, limit: Millis::secs(30) }
}

/// What is asked of them: `only=A,B`, `deploy`, `deploy=PATH`, `force`, `skip-migrations`.
fn asked(services: &[Service], hosts: &[Host], words: &str) -> Request {
    let mut asked = ServicesRequest {
        services: services.to_vec(),
        only: BTreeSet::new(),
        parallel: 0,
        keep_going: false,
        skip_migrations: false,
        deploy: None,
    };
    let mut options = Options { shutdown_timeout: Millis::secs(1), on_timeout: TimeoutPolicy::Abort, strict: false, force: None };
    for word in words.split_whitespace() {
        match word.split_once('=').unwrap_or((word, "")) {
            ("only", names) => asked.only = names.split(',').map(str::to_owned).collect(),
            ("deploy", "") => asked.deploy = Some(DeployFrom { path: None }),
            ("deploy", path) => asked.deploy = Some(DeployFrom { path: Some(path.to_owned()) }),
            ("force", _) => options.force = Some(Force { reason: "down".to_owned() }),
            ("skip-migrations", _) => asked.skip_migrations = true,
            other => panic!("{other:?}"),
        }
    }
    Request {
        targets: hosts.iter().map(|h| h.id).collect(),
        operation: Operation::RestartServices,
        options,
        rollout: None,
        run: None,
        wait: None,
        services: Some(Box::new(asked)),
        by: Actor::System,
    }
}

fn plan_of(on: &str, text: &str, words: &str) -> Result<Plan, ServicesError> {
    let (hosts, services) = (hosts(on), services(text));
    plan(&Config::default(), &asked(&services, &hosts, words), &candidates(&hosts))
}

/// One track a line: its name, and after which others.
fn order_of(on: &str, text: &str, words: &str) -> String {
    let plan = plan_of(on, text, words).unwrap_or_else(|error| panic!("{error}"));
    let tracks: Vec<&Track> = plan.tracks().collect();
    let mut out = String::new();
    for track in &tracks {
        let after: Vec<&str> = track.after.iter().map(|number| tracks[*number as usize].name.as_str()).collect();
        let after = if after.is_empty() { String::new() } else { format!(" after {}", after.join(", ")) };
        writeln!(out, "{}{after}", track.name).unwrap();
    }
    out
}

fn error_of(on: &str, text: &str, words: &str) -> String {
    plan_of(on, text, words).map(|plan| plan.tracks().count()).expect_err("no plan").to_string()
}

/// The steps of the one track, a word each, with what it would ask.
fn steps_of(on: &str, text: &str, words: &str) -> String {
    let plan = plan_of(on, text, words).unwrap_or_else(|error| panic!("{error}"));
    let track = plan.tracks().last().expect("a track");
    let names = |checks: &[Check]| checks.iter().map(|c| format!(" {}", c.name)).collect::<String>();
    let word = |step: &Step| match &step.action {
        StepAction::Inspect { moment, checks, .. } => format!("inspect {moment:?}:{}", names(checks)),
        StepAction::BackUp { .. } => "back up".to_owned(),
        StepAction::Deploy { deploy, .. } => format!("deploy {} to {}", deploy.source, deploy.destination),
        StepAction::Migrate { migrate, .. } => format!("migrate {migrate}"),
        StepAction::Restart { reload, .. } => format!("restart {reload:?}"),
        StepAction::Watch { checks, hold, .. } => format!("watch {hold}:{}", names(checks)),
        other => panic!("{other:?}"),
    };
    plan.steps(track).iter().map(|step| format!("{}\n", word(step))).collect()
}

/// As `reveille.toml` has them, in another order.
const LILITH: &str = "
    marketplace.api api needs=merchant.api,sso.api
    merchant.api api needs=sso.api unit=lilith-merchant-api.service
    sso.api api needs=sso.postgresql,sso.redis,network.target unit=lilith-sso-api.service check migrates=sso to=/srv/sso/api from=/srv/new/sso
    sso.postgresql infrastructure unit=postgresql.service
    sso.redis infrastructure unit=redis.service
";

#[test]
fn s3_4_s3_59_s3_60_the_example_is_gone_through_in_the_order_of_the_document() {
    let expected = "\
sso.postgresql
sso.redis
sso.api after sso.postgresql, sso.redis
merchant.api after sso.api
marketplace.api after sso.api, merchant.api
";
    assert_eq!(order_of("box", LILITH, ""), expected);
}

#[test]
fn s3_4_of_those_that_may_come_next_the_lower_kind_comes_first_and_then_the_first_declared() {
    let text = "w worker\nx web\nb\na\np api\nd infrastructure needs=w\nm ml";
    assert_eq!(order_of("box", text, ""), "p\nm\nw\nd after w\nx\nb\na\n");
}

#[test]
fn s3_63_a_track_has_the_unit_of_its_service_and_an_id_of_host_and_unit() {
    let plan = plan_of("box", LILITH, "").unwrap();
    let track = plan.tracks().nth(2).unwrap();
    let service = track.service.as_ref().unwrap();
    assert_eq!((service.name.as_str(), service.unit.as_str()), ("sso.api", "lilith-sso-api.service"));
    assert_eq!(service.id, TargetId::of_service(track.target, "lilith-sso-api.service"));
    assert_eq!((plan.planner, plan.waves.len()), (Planner::Services, 1));
}

#[test]
fn s3_10_to_20_the_steps_of_a_service_are_those_of_the_document() {
    let plain = "inspect Before:\nback up\nrestart Never\ninspect After:\nwatch 30 s:\ninspect Final:\n";
    assert_eq!(steps_of("box", "a", ""), plain);
    let whole = "\
inspect Before: dependency sso.postgresql dependency sso.redis dependency network.target answers
back up
deploy /srv/new/sso to /srv/sso/api
migrate command sso
restart Never
inspect After: answers
watch 30 s: answers
inspect Final: answers
";
    assert_eq!(steps_of("box", LILITH, "only=sso.api deploy"), whole);
    let without = steps_of("box", LILITH, "only=sso.api skip-migrations");
    assert!(!without.contains("migrate") && !without.contains("deploy"), "S3-32, S3-33: {without}");
    let forced = steps_of("box", LILITH, "only=sso.api force");
    assert!(!forced.contains("answers") && !forced.contains("dependency"), "S3-31: {forced}");
    let services = services("a");
    let mut short = services.clone();
    short[0].timings.stabilization_period = Millis(0);
    let on = hosts("box");
    let plan = plan(&Config::default(), &asked(&short, &on, ""), &candidates(&on)).unwrap();
    assert!(!plan.lists[0].iter().any(|s| matches!(s.action, StepAction::Watch { .. })), "no soak is asked for");
}

/// Which tracks run a migration.
fn migrating(on: &str, text: &str, words: &str) -> Vec<String> {
    let plan = plan_of(on, text, words).unwrap_or_else(|error| panic!("{error}"));
    let migrates = |track: &&Track| plan.steps(track).iter().any(|step| matches!(step.action, StepAction::Migrate { .. }));
    plan.tracks().filter(migrates).map(|track| track.name.clone()).collect()
}

#[test]
fn s3_86_on_several_hosts_a_migration_is_run_once_and_the_others_wait_for_it() {
    let text = "web needs=app\napp needs=db migrates=app\ndb on=far";
    let expected = "\
db on far
app on one after db on far
app on two after db on far, app on one
app on far after db on far, app on one
web on one after app on one
web on two after app on two
web on far after app on far
";
    assert_eq!(order_of("one two far", text, ""), expected);
    assert_eq!(migrating("one two far", text, ""), ["app on one"]);
    // Its own first host, not the first of all.
    assert_eq!(migrating("one two", "app on=two migrates=app\ndb migrates=db", ""), ["app on two", "db on one"]);
    // Who asks for another host first means it.
    assert_eq!(migrating("two one", "app migrates=app", ""), ["app on two"]);
    // Where each has its own database, or none is migrated, nobody waits.
    let alone = "app on one\napp on two\n";
    assert_eq!(order_of("one two", "app migrates=app every", ""), alone);
    assert_eq!(migrating("one two", "app migrates=app every", ""), ["app on one", "app on two"]);
    assert_eq!(order_of("one two", "app migrates=app", "skip-migrations"), alone);
    assert_eq!(order_of("one two", "app", ""), alone);
    // Only who runs it has to be able to.
    assert_eq!(migrating("near@ssh far", "app runs=./migrate", ""), ["app on near"]);
    assert!(error_of("far near@ssh", "app runs=./migrate", "").contains("app on far: its migration is a command"));
    assert!(error_of("near@ssh far", "app runs=./migrate every", "").contains("app on far: its migration is a command"));
}

#[test]
fn s3_16_s3_30_a_dry_run_says_reload_where_one_is_tried() {
    let said = |reload: Reload, words: &str| {
        let on = hosts("box");
        let service = Service { reload, ..service("a to=/srv/a from=/new/a") };
        let plan = plan(&Config::default(), &asked(&[service], &on, words), &candidates(&on)).unwrap();
        let titles = crate::titles(&plan.lists[0], model::Direction::Do);
        titles.into_iter().find(|title| title.starts_with("re")).unwrap()
    };
    assert_eq!(said(Reload::Never, ""), "restart the service");
    assert_eq!(said(Reload::Config, ""), "reload the service, else restart it");
    assert_eq!(said(Reload::Config, "deploy"), "restart the service; where the tree is the same, reload it");
    assert_eq!(said(Reload::Code, "deploy"), "reload the service, else restart it");
}

#[test]
fn tracks_that_do_the_same_share_their_list() {
    let plan = plan_of("a b c", "x\ny\nz reload", "").unwrap();
    assert_eq!((plan.lists.len(), plan.tracks().count()), (2, 9));
}

#[test]
fn what_cannot_be_ordered_is_named() {
    let circle = "a needs=b\nb needs=c\nc needs=d,b\nd";
    assert_eq!(
        error_of("box", circle, ""),
        "services depend on each other in a circle: b -> c -> b; take one of these dependencies away"
    );
    assert_eq!(error_of("box", "a needs=a", "").split(';').next(), Some("services depend on each other in a circle: a -> a"));
    let unknown = error_of("box", "sso.api needs=sso.redis", "");
    assert!(unknown.starts_with("sso.api depends on sso.redis, which is no service that is declared"), "{unknown}");
    assert!(error_of("box", "a\na", "").contains("declared twice"));
    assert_eq!(error_of("box", "", ""), "no service is declared: write a reveille.toml (reveille init makes a first one)");
    assert_eq!(error_of("box", "a\nb", "only=c"), "no service is called c; there are: a, b");
}

/// S3-61, S3-62.
#[test]
fn s3_61_s3_62_a_dependency_is_a_service_the_unit_of_one_or_a_unit_that_nobody_declares() {
    let text = "api needs=postgresql.service,network.target,web.socket\ndb unit=postgresql.service";
    assert_eq!(order_of("box", text, ""), "db\napi after db\n");
    let steps = steps_of("box", text, "only=api");
    assert!(steps.starts_with("inspect Before: dependency db dependency network.target dependency web.socket\n"), "{steps}");
    let plan = plan_of("box", text, "only=api").unwrap();
    let Some(StepAction::Inspect { checks, .. }) = plan.lists[0].first().map(|s| &s.action) else { panic!("a look") };
    assert_eq!(checks[0].kind, CheckKind::Unit { unit: "postgresql.service".to_owned() });
}

#[test]
fn a_service_waits_for_that_on_its_own_host_or_for_all_of_it_on_others() {
    let text = "web needs=app\napp needs=db\ndb on=far";
    let expected = "\
db on far
app on one after db on far
app on two after db on far
app on far after db on far
web on one after app on one
web on two after app on two
web on far after app on far
";
    assert_eq!(order_of("one two far", text, ""), expected);
    let pool = "front on=one needs=pool\npool on=two\nall needs=front";
    let expected = "pool on two\nfront on one after pool on two\nall on one after front on one\nall on two after front on one\n";
    assert_eq!(order_of("one two", pool, ""), expected);
    // A dependency on another host is no unit of this one.
    let steps = steps_of("one far", "app on=one needs=db\ndb on=far", "only=app");
    assert!(steps.starts_with("inspect Before:\n"), "{steps}");
}

#[test]
fn s3_28_only_those_that_are_named_are_restarted_and_what_lies_between_them_does_not_part_them() {
    assert_eq!(order_of("box", LILITH, "only=merchant.api"), "merchant.api\n");
    let parted = "sso.redis\nmarketplace.api after sso.redis\n";
    assert_eq!(order_of("box", LILITH, "only=marketplace.api,sso.redis"), parted);
    // The nearest one that is asked for stands for what lies behind it.
    let chain = "d needs=c\nc needs=b\nb needs=a\na";
    assert_eq!(order_of("box", chain, "only=a,c,d"), "a\nc after a\nd after c\n");
}

#[test]
fn where_a_service_runs_must_be_asked_for() {
    let text = "a on=one\nb on=two";
    assert_eq!(order_of("one", text, ""), "a\n");
    assert_eq!(
        error_of("one", text, "only=b"),
        "b runs on two, which is not among the hosts that are asked for: name it with --host"
    );
    assert_eq!(error_of("three", text, ""), "none of the services runs on the hosts that are asked for");
    let (on, services) = (hosts("one"), services("a"));
    let request = asked(&services, &hosts("other"), "");
    assert!(matches!(plan(&Config::default(), &request, &candidates(&on)), Err(ServicesError::UnknownTarget(_))));
}

/// Ruling 5, G1, G7: a restart of a service is no way around the guard of reboots.
#[test]
fn what_takes_the_host_down_or_lets_people_in_is_no_service() {
    for unit in ["reboot.target", "systemd-reboot.service", "reveille-agent.service", "home.mount"] {
        let why = error_of("box", &format!("a unit={unit}"), "force");
        assert!(why.starts_with("a: ") && why.contains(unit), "{why}");
    }
    assert!(error_of("box@ssh", "a unit=sshd.service", "").contains("how box is reached"));
    assert_eq!(order_of("box@local", "a unit=sshd.service", ""), "a\n");
}

/// Two that are deployed under one key into one place would be a mixture.
#[test]
fn no_two_services_of_a_host_are_deployed_into_one_another() {
    let two = "a to=/srv/x from=/new/a\nb to=/srv/x//sub from=/new/b";
    assert!(error_of("box", two, "deploy").contains("a and b would be deployed into one another on box"));
    assert_eq!(order_of("box", two, ""), "a\nb\n", "nothing is deployed");
    let apart = "a to=/srv/x from=/new/a on=one\nb to=/srv/x from=/new/b on=two";
    assert_eq!(order_of("one two", apart, "deploy"), "a on one\nb on two\n");
}

#[test]
fn a_unit_is_one_service() {
    assert_eq!(
        error_of("box", "a unit=x.service\nb unit=x.service", ""),
        "a and b are both x.service on box: a unit is one service"
    );
    // On two hosts they are two.
    assert_eq!(order_of("one two", "a unit=x.service on=one\nb unit=x.service on=two", ""), "a on one\nb on two\n");
    assert!(error_of("box", "a unit=nginx", "").contains("it needs its suffix"));
    let twice = [hosts("box"), hosts("box")].concat();
    let services = services("a");
    let plan = plan(&Config::default(), &asked(&services, &twice, ""), &candidates(&hosts("box"))).unwrap();
    assert_eq!(plan.tracks().count(), 1, "a host that is named twice is one");
}

#[test]
fn s3_34_s3_35_s3_36_where_a_new_tree_lies() {
    let one = |words: &str| {
        let text = "sso.api to=/srv/sso\nshop.api to=/srv/shop from=shop\npay.api to=/srv/pay from=/new/pay\nredis";
        let plan = plan_of("box", text, words);
        let sources = |plan: Plan| {
            let deploys = plan.tracks().filter_map(|track| {
                plan.steps(track).iter().find_map(|step| match &step.action {
                    StepAction::Deploy { deploy, .. } => Some(deploy.source.clone()),
                    _ => None,
                })
            });
            deploys.collect::<Vec<_>>()
        };
        plan.map(sources).map_err(|error| error.to_string())
    };
    let is = |words: &str, expected: &[&str]| assert_eq!(one(words).as_deref(), Ok(expected.map_owned().as_slice()), "{words}");
    is("", &[]);
    is("only=sso.api deploy=/tmp/build", &["/tmp/build"]);
    is("only=pay.api deploy", &["/new/pay"]);
    is("deploy=/tmp/root", &["/tmp/root/sso.api", "/tmp/root/shop", "/tmp/root/pay.api"]);
    is("only=sso.api,shop.api deploy=/tmp/root/", &["/tmp/root/sso.api", "/tmp/root/shop"]);
    let is_error = |words: &str, part: &str| {
        let error = one(words).expect_err("no plan");
        assert!(error.contains(part), "{words}: {error}");
    };
    is_error("only=sso.api deploy", "it is not said where the new tree lies");
    is_error("only=shop.api deploy", "it is not said where the new tree lies");
    is_error("only=sso.api deploy=build", "\"build\" is no absolute path");
    is_error("only=redis deploy=/tmp/build", "redis: nothing is said of a deploy");
    is_error("only=redis,sso.api deploy=/tmp/build", "redis: nothing is said of a deploy");
    assert!(error_of("box", "a\nb", "deploy=/x").contains("none of the services has a deploy"));
    assert!(error_of("box", "a to=srv/a", "deploy=/x").contains("\"srv/a\" is no absolute path"));
}

trait MapOwned {
    fn map_owned(&self) -> Vec<String>;
}

impl MapOwned for &[&str] {
    fn map_owned(&self) -> Vec<String> {
        self.iter().map(|s| (*s).to_owned()).collect()
    }
}

#[test]
fn agents_run_no_commands_that_others_name() {
    let checked = "a check=pg_isready";
    let said = error_of("box", checked, "");
    assert!(said.starts_with("a on box: its health check is a command, and box has an agent"), "{said}");
    assert!(said.contains("make it a hook"), "{said}");
    assert_eq!(order_of("box@ssh", checked, ""), "a\n");
    assert_eq!(order_of("box@local", checked, ""), "a\n");
    assert_eq!(order_of("box", checked, "force"), "a\n", "no check is made");
    let migrates = "a runs=prisma";
    assert!(error_of("box", migrates, "").contains("its migration is a command"));
    assert!(error_of("box", migrates, "force").contains("its migration is a command"));
    assert_eq!(order_of("box", migrates, "skip-migrations"), "a\n");
    assert_eq!(order_of("box@ssh", migrates, ""), "a\n");
}

#[test]
fn times_that_make_no_sense_are_refused() {
    let with = |change: fn(&mut Timings)| {
        let (on, mut services) = (hosts("box"), services("a"));
        change(&mut services[0].timings);
        plan(&Config::default(), &asked(&services, &on, ""), &candidates(&on)).map(|_| ()).map_err(|error| error.to_string())
    };
    let long = Millis::secs(73 * 3600);
    assert_eq!(with(|t| t.retry_delay = Millis(0)), Ok(()), "a second attempt may come at once");
    let said = with(|t| t.health_check_timeout = Millis(0)).expect_err("no time");
    assert!(said.starts_with("a: one health check may take from 1ms to "), "{said}");
    for change in [
        (|t| t.health_check_interval = Millis(0)) as fn(&mut Timings),
        |t| t.systemd_grace_period = Millis(0),
        |t| t.deploy_timeout = Millis(0),
        |t| t.migrate_timeout = Millis(0),
        |t| t.max_retry_attempts = 0,
        |t| t.max_retry_attempts = 101,
    ] {
        assert!(with(change).is_err());
    }
    assert!(long > Config::default().wait_limit);
    for change in [
        (|t| t.stabilization_period = Millis::secs(73 * 3600)) as fn(&mut Timings),
        |t| t.retry_delay = Millis::secs(73 * 3600),
        |t| t.migrate_timeout = Millis::secs(73 * 3600),
        |t| t.systemd_grace_period = Millis(u64::MAX),
    ] {
        assert!(with(change).is_err());
    }
}

/// Each step has time for what it may do.
#[test]
fn s3_104_a_step_has_time_for_what_its_recipe_may_take() {
    let (on, mut services) = (hosts("box"), services("a check migrates=m to=/srv/a from=/new/a"));
    let times = &mut services[0].timings;
    (times.systemd_grace_period, times.stabilization_period) = (Millis::secs(300), Millis::secs(900));
    let plan = plan(&Config::default(), &asked(&services, &on, "deploy"), &candidates(&on)).unwrap();
    for step in &plan.lists[0] {
        let least = match &step.action {
            StepAction::Inspect { attempts, pause, checks, .. } => {
                u64::from(*attempts) * (pause.0 + checks.iter().map(|c| c.limit.0).sum::<u64>())
            }
            StepAction::Deploy { limit, .. } | StepAction::Migrate { limit, .. } => limit.0,
            // A reload that fails, a reading anew, a restart.
            StepAction::Restart { grace, .. } => 3 * grace.0,
            StepAction::Watch { hold, .. } => hold.0 + 30_000,
            _ => 0,
        };
        assert!(step.limit.0 > least, "{step:?}");
    }
}

/// Any graph without circles: places of services, and for each the earlier ones that it depends on.
fn graph() -> impl Strategy<Value = (Vec<Vec<usize>>, Vec<u8>, Vec<usize>)> {
    (1..9_usize).prop_flat_map(|count| {
        let needs: Vec<_> = (0..count).map(|place| proptest::collection::vec(0..place.max(1), 0..=place.min(3))).collect();
        let kinds = proptest::collection::vec(0..6_u8, count);
        let declared = Just((0..count).collect::<Vec<_>>()).prop_shuffle();
        (needs, kinds, declared)
    })
}

proptest! {
    #[test]
    fn any_graph_without_circles_gives_an_order_and_tracks_that_keep_its_dependencies(
        (needs, kinds, declared) in graph(), on in proptest::collection::vec(0..4_u8, 9), chosen in proptest::collection::vec(any::<bool>(), 9)
    ) {
        const KINDS: [&str; 6] = ["infrastructure", "api", "ml", "worker", "web", "other"];
        let line = |place: &usize| {
            let needs: Vec<String> = needs[*place].iter().filter(|n| *n < place).map(|n| format!("s{n}")).collect();
            let needs = if needs.is_empty() { String::new() } else { format!(" needs={}", needs.join(",")) };
            let host = if on[*place] < 2 { format!(" on=h{}", on[*place]) } else { String::new() };
            format!("s{place} {}{needs}{host}", KINDS[kinds[*place] as usize])
        };
        let text: Vec<String> = declared.iter().map(line).collect();
        let list = services(&text.join("\n"));
        let ordered = order(&list).unwrap();
        let at = |name: &str| ordered.iter().position(|place| list[*place].name == name).unwrap();
        prop_assert_eq!(ordered.len(), list.len());
        for service in &list {
            for dependency in &service.dependencies {
                prop_assert!(at(dependency) < at(&service.name));
            }
        }
        let only: Vec<String> = (0..needs.len()).filter(|n| chosen[*n]).map(|n| format!("s{n}")).collect();
        let words = if only.is_empty() { String::new() } else { format!("only={}", only.join(",")) };
        let (two, request) = (hosts("h0 h1"), asked(&list, &hosts("h0 h1"), &words));
        let plan = plan(&Config::default(), &request, &candidates(&two)).unwrap();
        let tracks: Vec<&Track> = plan.tracks().collect();
        let of = |track: &Track| track.service.as_ref().unwrap().name.clone();
        for (number, track) in tracks.iter().enumerate() {
            prop_assert!(track.after.iter().all(|after| (*after as usize) < number), "no circles");
            // All that it waits for, at once or behind others.
            let mut behind: BTreeSet<u32> = BTreeSet::new();
            let mut open: Vec<u32> = track.after.clone();
            while let Some(after) = open.pop() {
                if behind.insert(after) {
                    open.extend(&tracks[after as usize].after);
                }
            }
            let needs = |name: &str| list.iter().find(|s| s.name == name).unwrap().dependencies.clone();
            // What it depends on, and behind what is not asked for; and all of it.
            let (mut near, mut all) = (needs(&of(track)), needs(&of(track)));
            while let Some(name) = near.pop() {
                let theirs: Vec<usize> = (0..tracks.len()).filter(|n| of(tracks[*n]) == name).collect();
                let same: Vec<usize> = theirs.iter().copied().filter(|n| tracks[*n].target == track.target).collect();
                if theirs.is_empty() {
                    near.extend(needs(&name));
                }
                for wanted in if same.is_empty() { theirs } else { same } {
                    prop_assert!(behind.contains(&(u32::try_from(wanted).unwrap())), "{} waits for {name}", track.name);
                }
            }
            let mut names: BTreeSet<String> = BTreeSet::new();
            while let Some(name) = all.pop() {
                all.extend(needs(&name));
                names.insert(name);
            }
            for after in &behind {
                prop_assert!(names.contains(&of(tracks[*after as usize])), "and for nothing else");
            }
        }
    }
}
