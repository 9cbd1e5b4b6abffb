//! The server on a host that it reboots itself, and that loses its power in the middle.

use std::time::Duration;

use anyhow::{Context, ensure};
use serde_json::{Value, json};

use crate::api::Api;
use crate::fleet::{Fleet, Member};
use crate::lab::{Host, NETWORK};
use crate::product::{self, PATIENCE};
use crate::wait;
use crate::world::{Scenario, World};

pub(super) const SCENARIOS: &[Scenario] = &[Scenario {
    name: "rolling_over_the_control_host",
    about: "the server under its unit, on a host of its own fleet: power cut in the middle, and its own reboot as the last one",
    limit: Duration::from_mins(6),
    machines: 3,
    run: over_the_control_host,
}];

const UNIT: &str = include_str!("../../../controller/units/reveille.service");
const STATE: &str = "/var/lib/reveille";

/// How the power supply calls a cut, and a reboot.
const CUT: i32 = 1;
const REBOOTED: i32 = 133;

/// A server that is installed on a host as the guide says.
struct Installed<'a> {
    host: &'a Host,
    api: Api,
}

impl<'a> Installed<'a> {
    fn start(world: &World, host: &'a Host, tables: &str) -> anyhow::Result<Self> {
        host.put_program(&world.program("reveille")?, "/usr/bin/reveille")?;
        host.put_file("/etc/systemd/system/reveille.service", UNIT, 0o644)?;
        // Eight seconds without a word are soon over while hosts boot beside one another on a small machine.
        let pace = product::pace(&[("active_limit", 60_000)]);
        let config = format!(
            "[api]\nlisten = [\"0.0.0.0:8443\"]\n[mqtt]\nlisten = [\"0.0.0.0:8883\"]\n[tls]\nnames = [\"{}\"]\n[engine]\n{pace}{tables}",
            host.ip()
        );
        host.put_file("/etc/reveille/server.toml", config, 0o644)?;
        host.sh(&format!(
            "useradd --system --home-dir {STATE} --shell /usr/sbin/nologin reveille && install -d -o reveille -m 700 {STATE}"
        ))?;
        Self::ssh(host)?;
        host.sh("systemctl daemon-reload && systemctl enable --now reveille.service")?;
        let ca = world.dir.join("ca.pem");
        std::fs::write(&ca, host.read_file(&format!("{STATE}/tls/ca-certificate.pem"))?)?;
        let api = Api { base: format!("https://{}:8443", host.ip()), token: None, ca: Some(ca) };
        let mut server = Self { host, api };
        server.wait_ready()?;
        let password = host.sh(&format!("cat {STATE}/admin-password"))?;
        product::first_login(&mut server.api, &password)?;
        Ok(server)
    }

    /// What its ssh goes out with: `.ssh` in the home of its user.
    fn ssh(host: &Host) -> anyhow::Result<()> {
        let public = host.read_file("/etc/ssh/ssh_host_ed25519_key.pub")?;
        let known: Vec<&str> = public.split_whitespace().take(2).collect();
        host.put_file("/root/known_hosts", format!("{NETWORK}.* {}\n", known.join(" ")), 0o600)?;
        host.put_file("/root/id_ed25519", std::fs::read(host.key())?, 0o600)?;
        host.sh(&format!(
            "install -d -o reveille -m 700 {STATE}/.ssh && \
             install -o reveille -m 600 /root/known_hosts /root/id_ed25519 {STATE}/.ssh && rm /root/known_hosts /root/id_ed25519"
        ))
        .map(drop)
    }

    fn wait_ready(&self) -> anyhow::Result<()> {
        let ready = wait::until_true("the server to be ready", PATIENCE, || Ok(self.api.get("/readyz")?.status == 200));
        ready.with_context(|| self.host.sh("journalctl -u reveille --no-pager | tail -40").unwrap_or_default())
    }

    /// A document, when it answers; it is away again and again.
    fn look(&self, path: &str) -> anyhow::Result<Value> {
        self.api.get(path)?.expect(200).with_context(|| path.to_owned())
    }

    fn log(&self) -> String {
        self.host.sh("journalctl -u reveille --no-pager | tail -60").unwrap_or_default()
    }
}

fn over_the_control_host(world: &World) -> anyhow::Result<()> {
    let fleet = Fleet::make(world, 0, 3)?;
    fleet.power_on()?;
    let [control, others @ ..] = fleet.members.as_slice() else { anyhow::bail!("three workers") };
    let server = Installed::start(world, &control.host, &Fleet::tables(None, "engine."))?;
    for member in &fleet.members {
        let labels: Value = member.labels().iter().map(|(key, value)| ((*key).to_owned(), json!(value))).collect();
        let body = json!({"name": member.host.name(), "address": format!("root@{}", member.host.ip()), "labels": labels});
        let said = server.api.post("/api/v1/hosts", &body)?;
        ensure!((200..300).contains(&said.status), "{} {}", said.status, said.text);
    }

    // Its own host goes last, though its name comes first.
    let body = json!({"targets": ["*"], "options": {"concurrency": 1, "soak": 1_000}});
    let dry = json!({"targets": ["*"], "options": body["options"], "dry_run": true});
    let order = wait::until("the rollout to be allowed", PATIENCE, || {
        let preview = server.api.post("/api/v1/rollouts", &dry)?.expect(200)?;
        let tracks = preview["waves"].as_array().into_iter().flatten().filter_map(|wave| wave["tracks"].as_array()).flatten();
        let is_heard = |track: &Value| !track["blockers"].to_string().contains("\"not_active\"");
        let free = tracks.clone().all(is_heard);
        let names: Vec<String> = tracks.filter_map(|track| track["name"].as_str().map(str::to_owned)).collect();
        ensure!(names.len() == 3 && free, "{preview}");
        Ok(Some(names))
    })?;
    let own = control.host.name();
    ensure!(order.last().is_some_and(|last| last == own), "{own} is not the last of {order:?}");
    world.shown(format!("order: {}; the server runs on {own}", order.join(" ")));

    let started = server.api.post("/api/v1/rollouts", &body)?.expect(201)?;
    let path = format!("/api/v1/rollouts/{}", product::text(&started, "id")?);
    let first = fleet.member(&order[0])?;
    wait::until_true("the first host to have gone down", PATIENCE, || Ok(first.reboots()? > 0))?;
    let boot = control.host.boot_id().context("the control host is off")?;
    control.host.power_cut()?;
    let boot = control.host.wait_new_boot(&boot, PATIENCE)?;
    server.wait_ready()?;
    world.shown(format!("power of {own} cut in the middle of {}: the server came back with its host and went on", order[0]));

    let over = wait::until("the rollout to end", PATIENCE * 2, || {
        let document = server.look(&path)?;
        Ok(document["outcome"].is_string().then_some(document))
    });
    let over = over.with_context(|| server.log())?;
    ensure!(over["outcome"] == "completed", "{over}\n{}", server.log());
    ensure!(control.host.boot_id().is_some_and(|now| now != boot), "{own} was not rebooted");
    for other in others {
        ensure!(other.reboots()? == 1, "{} went down {} times", other.host.name(), other.reboots()?);
    }
    let ends: Vec<i32> = control.host.power_log()?.iter().filter_map(|event| event.off).collect();
    ensure!(ends == [CUT, REBOOTED], "{own} ended with {ends:?}");
    let last_down = |member: &Member| -> anyhow::Result<f64> {
        let log = member.host.power_log()?;
        Ok(log.iter().rfind(|event| event.off.is_some()).context("never off")?.at)
    };
    for other in others {
        ensure!(last_down(other)? < last_down(control)?, "{} went down after {own}", other.host.name());
    }
    control.host.sh(&format!("systemctl start {}", crate::fleet::WORK))?;
    fleet.restored(None, &[])?;
    world.shown(format!(
        "{own} rebooted last and once, ordered by its own server, which then proved its return; the others once each"
    ));
    Ok(())
}
