//! One service: from its keys to the model's words.

use model::{
    Check, CheckKind, Deploy, Migrate, MigrateOn, Millis, Reload, Service, ServiceKind, Timings, is_file_name, is_service_name,
    is_unit_name,
};

use super::endpoint;
use super::error::{Problem, Wrong};
use super::run::{self, Run};
use super::written::{Fields, Said, Spot};

/// A service, and where what others have to agree with was written.
pub(super) struct Entry {
    pub(super) service: Service,
    pub(super) spot: Spot,
    pub(super) unit: Spot,
    pub(super) dependencies: Vec<Said<String>>,
    pub(super) destination: Option<Spot>,
    pub(super) run: Option<Run>,
}

/// What a file says of all its services.
pub(super) struct Defaults {
    pub(super) unit_prefix: String,
    pub(super) timings: Timings,
}

/// Units that can be restarted and then be up.
const RESTARTED: [&str; 4] = ["service", "socket", "timer", "path"];
/// Without `interval` (S3-51).
const INTERVAL: Millis = Millis::secs(30);

/// What stands in a wrong place is told, and read as if it were not there.
pub(super) fn read(name: Said<String>, mut fields: Fields, defaults: &Defaults, problems: &mut Vec<Problem>) -> Entry {
    let Said { spot, value: name } = name;
    if !is_service_name(&name) {
        let detail = "is no name of a service: use 1 to 100 letters, digits, '-', '_' and '.', not beginning with '-' or '.'";
        problems.push(spot.problem(Wrong::Value(detail.to_owned())));
    } else if is_unit_name(&name) {
        let detail =
            format!("is the name of a unit, so that a dependency could mean both: call it otherwise, and write unit = {name:?}");
        problems.push(spot.problem(Wrong::Value(detail)));
    }
    let (unit, unit_spot) = unit(&name, &spot, fields.text("unit"), &defaults.unit_prefix, problems);
    let kind = fields.text("kind").map_or_else(ServiceKind::default, |said| kind(&said.value));
    let host = fields.text("host").and_then(|said| checked(said, problems, is_host));
    let dependencies = fields.texts("dependencies");
    let reload = fields.text("reload").map_or_else(|| usual_reload(kind), |said| reload(&said.value));

    let mut times = Times { own: fields.keys("timings"), timings: defaults.timings, said: Vec::new() };
    times.read();
    times.also(fields.duration("soak"), "stabilization_period", |t| &mut t.stabilization_period, problems);
    let mut interval = INTERVAL;
    let mut health = None;
    if let Some(mut check) = fields.keys("health_check") {
        interval = check.duration("interval").map_or(INTERVAL, |said| said.value);
        times.also(check.duration("timeout"), "health_check_timeout", |t| &mut t.health_check_timeout, problems);
        times.also(check.duration("retry_delay"), "retry_delay", |t| &mut t.retry_delay, problems);
        times.also(check.count("retries"), "max_retry_attempts", |t| &mut t.max_retry_attempts, problems);
        health = health_check(&mut check, problems);
    }
    let (mut deploy, mut destination) = (None, None);
    if let Some(mut table) = fields.keys("deploy") {
        times.also(table.duration("timeout"), "deploy_timeout", |t| &mut t.deploy_timeout, problems);
        (deploy, destination) = read_deploy(&mut table, problems).unzip();
    }
    let (mut migrate, mut migrate_on) = (None, MigrateOn::First);
    if let Some(mut table) = fields.keys("migrate") {
        times.also(table.duration("timeout"), "migrate_timeout", |t| &mut t.migrate_timeout, problems);
        migrate_on = table.text("on").map_or(MigrateOn::First, |said| on_hosts(&said.value));
        migrate = read_migrate(&mut table, deploy.as_ref(), problems);
    }
    let deployed = deploy.as_ref().zip(destination.as_ref());
    let run = fields.keys("run").and_then(|mut table| run::read(&mut table, (&unit, &unit_spot), deployed, problems));
    let timings = times.timings;
    let check = health.map(|kind| Check { name: "health".to_owned(), kind, limit: timings.health_check_timeout });
    let named = dependencies.iter().map(|said| said.value.clone()).collect();
    let service =
        Service { name, unit, kind, host, dependencies: named, check, interval, deploy, migrate, migrate_on, reload, timings };
    Entry { service, spot, unit: unit_spot, dependencies, destination, run }
}

/// The unit that a service has when it names none (S3-63).
pub(super) fn usual_unit(prefix: &str, name: &str) -> String {
    format!("{prefix}{}.service", name.replace('.', "-"))
}

fn unit(name: &str, spot: &Spot, said: Option<Said<String>>, prefix: &str, problems: &mut Vec<Problem>) -> (String, Spot) {
    let Some(Said { spot, value: unit }) = said else {
        let unit = usual_unit(prefix, name);
        if is_service_name(name) && !is_unit_name(&unit) {
            let detail = format!("its unit would be {unit:?}, which is no unit: write unit = \"….service\"");
            problems.push(spot.problem(Wrong::Value(detail)));
        }
        return (unit, spot.clone());
    };
    problems.extend(restartable(&unit).err().map(|wrong| spot.problem(Wrong::Value(wrong))));
    (unit, spot)
}

/// Whether a unit can be the one of a service.
///
/// # Errors
/// Why not.
pub(super) fn restartable(unit: &str) -> Result<(), String> {
    if !is_unit_name(unit) {
        let meant = format!("{unit}.service");
        let meant = if is_unit_name(&meant) { meant } else { "nginx.service".to_owned() };
        return Err(format!("{unit:?} is no unit: write its name with its suffix, as in {meant:?}"));
    }
    if unit.contains("@.") {
        return Err(format!(
            "{unit:?} is a template, which never runs: name one instance, as in {:?}",
            unit.replace("@.", "@main.")
        ));
    }
    let suffix = unit.rsplit_once('.').map_or("", |(_, suffix)| suffix);
    if !RESTARTED.contains(&suffix) {
        return Err(format!("{unit:?} cannot be restarted as a service: name a unit that ends with .{}", RESTARTED.join(", .")));
    }
    Ok(())
}

fn kind(word: &str) -> ServiceKind {
    match word {
        "infrastructure" => ServiceKind::Infrastructure,
        "api" => ServiceKind::Api,
        "ml" => ServiceKind::Ml,
        "worker" => ServiceKind::Worker,
        "web" => ServiceKind::Web,
        _ => ServiceKind::Other,
    }
}

/// S3-16.
fn usual_reload(kind: ServiceKind) -> Reload {
    match kind {
        ServiceKind::Api | ServiceKind::Ml => Reload::Config,
        ServiceKind::Infrastructure | ServiceKind::Worker | ServiceKind::Web | ServiceKind::Other => Reload::Never,
    }
}

fn reload(word: &str) -> Reload {
    match word {
        "config" => Reload::Config,
        "code" => Reload::Code,
        _ => Reload::Never,
    }
}

fn on_hosts(word: &str) -> MigrateOn {
    match word {
        "every" => MigrateOn::Every,
        _ => MigrateOn::First,
    }
}

fn is_host(name: &str) -> Result<String, String> {
    let fits = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    let sound = name.len() <= 255 && name.starts_with(|c: char| c.is_ascii_alphanumeric()) && name.chars().all(fits);
    let wrong = || format!("{name:?} is no host name: letters, digits, '.', '-' and '_', as in the fleet file");
    sound.then(|| name.to_owned()).ok_or_else(wrong)
}

fn is_file(name: &str) -> Result<String, String> {
    let wrong = || format!("{name:?} is no file name: letters, digits, '-', '_' and '.', and no path");
    is_file_name(name).then(|| name.to_owned()).ok_or_else(wrong)
}

fn checked<T>(said: Said<String>, problems: &mut Vec<Problem>, check: impl Fn(&str) -> Result<T, String>) -> Option<T> {
    let told = |wrong| problems.push(said.spot.problem(Wrong::Value(wrong)));
    check(&said.value).map_err(told).ok()
}

fn health_check(fields: &mut Fields, problems: &mut Vec<Problem>) -> Option<CheckKind> {
    let same = |check: fn(&str) -> Result<(), String>| move |text: &str| check(text).map(|()| text.to_owned());
    let status = fields.count("status").and_then(|said| u16::try_from(said.value).ok()).unwrap_or(200);
    let contains = fields.text("body").map(|said| said.value);
    let url = fields.text("url").and_then(|said| checked(said, problems, same(endpoint::url)));
    let tcp = fields.text("tcp").and_then(|said| checked(said, problems, same(endpoint::tcp)));
    let hook = fields.text("hook").and_then(|said| checked(said, problems, is_file));
    let command = fields.words("command").and_then(|said| {
        let program = said.value.first().map_or("", String::as_str);
        if program.contains('/') && !program.starts_with('/') {
            let detail = format!("{program:?} is relative, and no folder is known to it: write the whole path");
            problems.push(said.spot.problem(Wrong::Value(detail)));
            return None;
        }
        Some(CheckKind::Command { argv: said.value })
    });
    // That systemd's word counts is what holds without a check, too.
    fields.yes("systemd");
    let url = url.map(|url| CheckKind::Http { url, status, contains });
    url.or(tcp.map(|address| CheckKind::Tcp { address })).or(hook.map(|name| CheckKind::Hook { name })).or(command)
}

fn read_deploy(fields: &mut Fields, problems: &mut Vec<Problem>) -> Option<(Deploy, Spot)> {
    let clean = |path: &str| if path.starts_with('/') { model::paths::absolute(path) } else { model::paths::relative(path) };
    let source = fields.text("source").and_then(|said| checked(said, problems, clean)).unwrap_or_default();
    let mut each = |key: &'static str, check: fn(&str) -> Result<String, String>| -> Vec<String> {
        fields.texts(key).into_iter().filter_map(|said| checked(said, problems, check)).collect()
    };
    let exclude = each("exclude", model::paths::pattern);
    let keep = each("keep", |path| {
        if path.contains(['*', '?']) {
            return Err(format!("{path:?} is a pattern: name each path that is kept, or use exclude"));
        }
        model::paths::relative(path)
    });
    let unit_file = fields.text("unit_file").and_then(|said| checked(said, problems, model::paths::relative));
    let destination = fields.text("destination")?;
    let spot = destination.spot.clone();
    let own = |path: &str| {
        let path = model::paths::absolute(path)?;
        model::paths::replaceable(&path).map(|()| path)
    };
    let destination = checked(destination, problems, own)?;
    if source.starts_with('/') && (model::paths::within(&source, &destination) || model::paths::within(&destination, &source)) {
        let detail = format!(
            "{destination:?} and the source {source:?} lie in each other: a deploy would destroy what it copies; take another source"
        );
        problems.push(spot.problem(Wrong::Together(detail)));
    }
    Some((Deploy { source, destination, exclude, keep, unit_file }, spot))
}

fn read_migrate(fields: &mut Fields, deploy: Option<&Deploy>, problems: &mut Vec<Problem>) -> Option<Migrate> {
    let named = fields.text("named").and_then(|said| checked(said, problems, is_file));
    let directory = fields.text("directory").map(|said| checked(said, problems, model::paths::absolute));
    if let Some(Said { spot, value: argv }) = fields.words("command") {
        let directory = match directory {
            Some(directory) => directory?,
            None => match deploy {
                Some(deploy) => deploy.destination.clone(),
                None => {
                    let detail = "runs nowhere: write directory, or deploy.destination".to_owned();
                    problems.push(spot.problem(Wrong::Together(detail)));
                    return None;
                }
            },
        };
        return Some(Migrate::Command { argv, directory });
    }
    named.map(|name| Migrate::Named { name })
}

/// Times and attempts of one service. Some can be said in two places, and then in one of them only.
struct Times {
    own: Option<Fields>,
    timings: Timings,
    said: Vec<&'static str>,
}

impl Times {
    fn read(&mut self) {
        if let Some(mut fields) = self.own.take() {
            self.said = timings(&mut fields, &mut self.timings);
        }
    }

    fn also<T>(
        &mut self,
        said: Option<Said<T>>,
        name: &'static str,
        of: impl Fn(&mut Timings) -> &mut T,
        problems: &mut Vec<Problem>,
    ) {
        let Some(Said { spot, value }) = said else { return };
        if self.said.contains(&name) {
            problems
                .push(spot.problem(Wrong::Together(format!("is said by timings.{name} of this service, too: keep one of them"))));
        }
        *of(&mut self.timings) = value;
    }
}

/// Takes over what a table says. Returns what it said.
pub(super) fn timings(fields: &mut Fields, timings: &mut Timings) -> Vec<&'static str> {
    let mut said = Vec::new();
    let spans: [(&'static str, &mut Millis); 7] = [
        ("health_check_timeout", &mut timings.health_check_timeout),
        ("health_check_interval", &mut timings.health_check_interval),
        ("stabilization_period", &mut timings.stabilization_period),
        ("systemd_grace_period", &mut timings.systemd_grace_period),
        ("retry_delay", &mut timings.retry_delay),
        ("deploy_timeout", &mut timings.deploy_timeout),
        ("migrate_timeout", &mut timings.migrate_timeout),
    ];
    for (key, own) in spans {
        if let Some(span) = fields.duration(key) {
            *own = span.value;
            said.push(key);
        }
    }
    if let Some(attempts) = fields.count("max_retry_attempts") {
        timings.max_retry_attempts = attempts.value;
        said.push("max_retry_attempts");
    }
    said
}
