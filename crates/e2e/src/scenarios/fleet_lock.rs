//! The `FleetLock` protocol as Zincati and its kin speak it, by `curl`.

use std::time::Duration;

use anyhow::{Context, ensure};
use serde_json::{Value, json};

use crate::api::Reply;
use crate::fleet::Fleet;
use crate::process::{check, command};
use crate::product::{self, PATIENCE, Server};
use crate::wait;
use crate::world::{Scenario, World};

pub(super) const SCENARIOS: &[Scenario] = &[Scenario {
    name: "fleet_lock_by_curl",
    about: "a slot is taken, kept over kill -9 and given back; who has it keeps our own reboots waiting",
    limit: Duration::from_mins(3),
    machines: 1,
    run: fleet_lock_by_curl,
}];

/// A client of the protocol: what it sends is what Zincati sends.
struct Client<'a> {
    server: &'a Server,
    token: String,
}

impl Client<'_> {
    fn ask(&self, path: &str, group: &str, id: &str) -> anyhow::Result<Reply> {
        self.ask_with(path, group, id, &["--header", "fleet-lock-protocol: true", "--user", &format!("{id}:{}", self.token)])
    }

    fn ask_with(&self, path: &str, group: &str, id: &str, more: &[&str]) -> anyhow::Result<Reply> {
        let body = json!({"client_params": {"id": id, "group": group}}).to_string();
        let mut curl = command(["curl", "--silent", "--show-error", "--max-time", "20", "--write-out", "\n%{http_code}"]);
        curl.args(more).args(["--data-binary", &body]);
        if let Some(ca) = &self.server.api.ca {
            curl.arg("--cacert").arg(ca);
        }
        Reply::parse(&check(curl.arg(format!("{}{path}", self.server.api.base)), Duration::from_secs(30))?)
    }

    fn status(&self, path: &str, group: &str, id: &str) -> anyhow::Result<u16> {
        Ok(self.ask(path, group, id)?.status)
    }
}

const TAKE: &str = "/v1/pre-reboot";
const GIVE: &str = "/v1/steady-state";

fn fleet_lock_by_curl(world: &World) -> anyhow::Result<()> {
    let fleet = Fleet::make(world, 1, 0)?;
    let member = &fleet.members[0];
    product::install_agent(world, &member.host)?;
    fleet.power_on()?;
    let mut server = Server::start_with(world, &[], &Fleet::tables(None, "engine."), &world.dir)?;
    let labels: Value = member.labels().iter().map(|(key, value)| ((*key).to_owned(), json!(value))).collect();
    let id = product::enrol_as(&server, &member.host, &labels)?;
    let explain = format!("/api/v1/hosts/{id}/explain?operation=reboot");
    let starts = |server: &Server| Ok::<_, anyhow::Error>(server.look(&explain)?["would_start"] == true);
    wait::until_true("the host to be ready", PATIENCE, || starts(&server))?;
    let body = json!({"name": "zincati", "role": "node"});
    let made = server.api.post("/api/v1/tokens", &body)?.expect(200)?;
    let token = product::text(&made, "token")?;

    let locks = server.look("/api/v1/locks")?;
    ensure!(locks["locks"].as_array().is_some_and(Vec::is_empty), "{locks}");
    let client = Client { server: &server, token: token.clone() };
    ensure!(client.status(TAKE, "fronts", "one")? == 200, "a free slot is refused");
    ensure!(client.status(TAKE, "fronts", "one")? == 200, "who has it does not get it again");
    let refused = client.ask(TAKE, "fronts", "two")?;
    ensure!(refused.status == 409 && refused.json["kind"].is_string() && refused.json["value"].is_string(), "{}", refused.text);
    world.shown(format!("one has the slot, two is told: {} {}", refused.json["kind"], refused.json["value"]));
    ensure!(client.status(GIVE, "fronts", "two")? == 200, "not having it is fine");
    ensure!(client.status(TAKE, "fronts", "two")? == 409, "two gave back what one has");
    ensure!(client.status(TAKE, "nowhere", "one")? == 404, "a group that does not exist");
    let bare = client.ask_with(TAKE, "fronts", "one", &["--user", &format!("one:{token}")])?;
    ensure!(bare.status == 400, "without its header: {}", bare.text);
    let stranger = client.ask_with(TAKE, "fronts", "one", &["--header", "fleet-lock-protocol: true", "--user", "one:wrong"])?;
    ensure!(stranger.status == 401, "with a wrong token: {}", stranger.text);

    server.kill_9()?;
    server.start_again()?;
    let client = Client { server: &server, token: token.clone() };
    let locks = server.look("/api/v1/locks")?;
    let slot = locks["locks"].as_array().into_iter().flatten().find(|lock| lock["kind"] == "slot");
    let slot = slot.with_context(|| format!("no slot after the restart: {locks}"))?;
    ensure!(slot["holder"] == "one" && slot["name"] == "fronts" && slot["since"].is_string(), "{slot}");
    ensure!(client.status(TAKE, "fronts", "two")? == 409, "the slot was lost with the server");
    ensure!(client.status(GIVE, "fronts", "one")? == 200, "it cannot be given back");
    // The host of the group counts as unavailable until it is heard again.
    wait::until_true("the slot to be free", PATIENCE, || Ok(client.status(TAKE, "fronts", "two")? == 200))?;
    world.shown("kept over kill -9, shown with holder and age, given back, taken by two");

    // The host belongs to the group: its own reboot waits for the slot, and goes on without it.
    let why = server.look(&explain)?;
    ensure!(why["would_start"] == false && why.to_string().contains("fronts"), "{why}");
    ensure!(client.status(GIVE, "fronts", "two")? == 200, "it cannot be given back");
    wait::until_true("the host to be ready again", PATIENCE, || starts(&server))?;
    world.shown("while somebody had the slot, our own reboot of a host of that group had to wait");
    Ok(())
}
