//! What goes wrong with services, their deploys and migrations; and `reveille` killed at every step of a deploy.

use std::time::Duration;

use anyhow::{Context, ensure};

use crate::platform::{Pace, Platform, REVEILLE, SMALL, Small};
use crate::wait;
use crate::world::{Scenario, World};

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "services_that_fail",
        about: "versions that do not start, hang, say no or flap; deploys and migrations that fail; a second run; a read-only /etc",
        limit: Duration::from_mins(9),
        machines: 1,
        run: that_fail,
    },
    Scenario {
        name: "services_killed_at_every_step",
        about: "kill -9 of reveille at every step of a deploy, then resume or unwind: the old tree or the new one, whole",
        limit: Duration::from_mins(12),
        machines: 1,
        run: killed,
    },
];

/// Short limits: what hangs is to be seen hanging.
fn pace() -> Pace {
    Pace { soak: "6s", timeout: "4s", grace: "8s", retry_delay: "300ms" }
}

/// The service that is always restarted, and that nobody depends on.
const LAST: Small = SMALL[3];

fn that_fail(world: &World) -> anyhow::Result<()> {
    let platform = Platform::start(world, &pace())?;
    bad_versions(world, &platform)?;
    bad_deploys(world, &platform)?;
    bad_migrations(world, &platform)?;
    two_at_once(world, &platform)?;
    bad_manifests(world, &platform)
}

/// How the service stands, by others than the product.
struct Stands {
    tree: String,
    invocation: String,
    version: String,
}

fn stands(platform: &Platform, small: &Small) -> anyhow::Result<Stands> {
    let [invocation] = &platform.invocations(&[small.unit])?[..] else { anyhow::bail!("no invocation id") };
    Ok(Stands { tree: platform.hash(&small.tree())?, invocation: invocation.clone(), version: platform.version(small)? })
}

/// A deploy of what lies in /new that fails: why, in its own words. The old tree serves afterwards.
fn fails(platform: &Platform, small: &Small, word: &str, touched: bool) -> anyhow::Result<String> {
    let before = stands(platform, small)?;
    let (result, code) = platform.json(&format!("restart --yes --service {} --deploy --deploy-path /new", small.name))?;
    ensure!(code != Some(0) && result["success"] == false, "it ended with {code:?}: {result:#}");
    let reason = result["services"][0]["reason"].as_str().unwrap_or_default().to_owned();
    ensure!(reason.contains(word), "no {word:?} in {result:#}");
    let after = stands(platform, small)?;
    ensure!(after.tree == before.tree && after.version == before.version, "{word}: not the old tree");
    ensure!(
        (after.invocation != before.invocation) == touched,
        "{word}: the service was {}touched",
        if touched { "not " } else { "" }
    );
    ensure!(result["services"][0]["rolled_back"] == touched || !touched, "{result:#}");
    Ok(reason)
}

fn bad_versions(world: &World, platform: &Platform) -> anyhow::Result<()> {
    let table = [
        // Between two of its starts by systemd nobody sees it failed: then the look afterwards does.
        ("refuse", "result exit-code"),
        ("never", "not healthy after the restart"),
        ("sick", "500"),
        ("odd", "not healthy after the restart"),
        ("hang", "not healthy after the restart"),
        ("flap", "while it soaked"),
        ("die", "while it soaked"),
    ];
    for (number, (behaviour, word)) in table.iter().enumerate() {
        platform.put_tree("/new", &format!("bad{number}"), behaviour)?;
        let reason = fails(platform, &LAST, word, true).with_context(|| format!("a version that does {behaviour}"))?;
        let short: String = reason.chars().take(100).collect();
        world.shown(format!("{behaviour}: {short}; rolled back to the old tree, which serves"));
    }
    Ok(())
}

fn bad_deploys(world: &World, platform: &Platform) -> anyhow::Result<()> {
    platform.host.sh("rm -rf /new")?;
    fails(platform, &LAST, "/new", false).context("a source that is not there")?;
    platform.host.sh("echo file > /new")?;
    fails(platform, &LAST, "/new", false).context("a source that is a file")?;
    platform.host.sh("rm /new")?;
    // Full in the middle: the trees lie on a disk of their own.
    platform.put_tree("/new", "4", "")?;
    platform.host.sh("dd if=/dev/zero of=/new/lib/large bs=1M count=8 status=none")?;
    let tree = LAST.tree();
    platform.host.sh(&format!(
        "cp -a /srv /srv.copy && mount -t tmpfs -o size=6m tmpfs /srv && cp -a /srv.copy/. /srv/ && systemctl restart {}",
        LAST.unit
    ))?;
    platform.wait_up()?;
    let reason = fails(platform, &LAST, "the deploy failed", false).context("a disk that gets full")?;
    let left = platform.host.sh(&format!("find {tree}.reveille -name large 2>/dev/null | wc -l"))?;
    ensure!(left.trim() == "0", "the half tree was left behind");
    platform.host.sh(&format!("umount -l /srv && systemctl restart {}", LAST.unit))?;
    platform.host.sh("rm -rf /srv.copy /new/lib/large")?;
    platform.wait_up()?;
    world.shown(format!("no source, a file as source, a full disk ({reason}): the service ran on"));
    // Nothing can be backed up: nothing is touched.
    platform.host.sh("mount --bind /etc /etc && mount -o remount,ro,bind /etc")?;
    let refused = fails(platform, &LAST, "backed up", false).context("a read-only /etc");
    platform.host.sh("umount /etc")?;
    refused?;
    // What a crashed run of somebody else left.
    platform.host.sh(&format!(
        "cp /etc/systemd/system/{0} /etc/systemd/system/{0}.backup && echo '# older' >> /etc/systemd/system/{0}.backup",
        LAST.unit
    ))?;
    let (result, code) = platform.json(&format!("restart --yes --service {}", LAST.name))?;
    ensure!(code == Some(0), "with a backup that was there: {result:#}");
    let kept = platform.host.sh(&format!("cat /etc/systemd/system/{0}.backup.previous", LAST.unit))?;
    ensure!(kept.contains("# older"), "the older backup is lost: {kept}");
    world.shown("a read-only /etc stops it before anything is done; an older backup is kept beside the new one");
    Ok(())
}

fn bad_migrations(world: &World, platform: &Platform) -> anyhow::Result<()> {
    let sso = SMALL[0];
    platform.put_tree("/new", "5", "")?;
    platform.host.put_file("/new/migrate", "#!/bin/sh\necho 'ERROR: relation is not there' >&2\nexit 3\n", 0o755)?;
    let reason = fails(platform, &sso, "the migration failed: exit 3", false).context("a migration that fails")?;
    ensure!(reason.contains("relation is not there") && reason.contains("not undone"), "{reason}");
    platform.host.put_file("/new/migrate", "#!/bin/sh\necho begun >> /tmp/migrations\nsleep 600\n", 0o755)?;
    platform.put_manifest(&pace(), "[service.\"sso.api\".timings]\nmigrate_timeout = \"3s\"\n")?;
    fails(platform, &sso, "the migration failed", false).context("a migration that hangs")?;
    platform.put_manifest(&pace(), "")?;
    ensure!(platform.host.sh("wc -l < /tmp/migrations")?.trim() == "1", "the migration was run more than once");
    let alive = platform.host.ssh("pgrep -f 'sleep 600'", Duration::from_secs(30))?;
    ensure!(!alive.ok(), "the migration that hung runs still");
    world.shown("a migration that fails, and one that hangs: the service ran on with the old tree, and each was run once");
    Ok(())
}

/// The second is told who is at it.
fn two_at_once(world: &World, platform: &Platform) -> anyhow::Result<()> {
    let events = platform.events()?.len();
    platform.host.sh(&format!("cd / && (setsid {REVEILLE} restart --yes > /tmp/first.log 2>&1 &)"))?;
    wait::until_true("the first run to begin", Duration::from_secs(60), || Ok(platform.events()?.len() > events))?;
    let said = platform.reveille(&format!("restart --yes --service {}", LAST.name))?;
    ensure!(!said.ok(), "two at once: {}{}", said.out, said.err);
    let holder = said.err.contains("another reveille") || said.err.contains("is active on this host");
    ensure!(holder, "nobody is named: {}", said.err);
    wait::until_true("the first run to end", Duration::from_secs(120), || {
        Ok(!platform.host.ssh("pgrep -x reveille", Duration::from_secs(30))?.ok())
    })?;
    world.shown(format!("the second run at the same time: {}", said.err.lines().next().unwrap_or_default()));
    Ok(())
}

/// What makes no sense is told before anything is done.
fn bad_manifests(world: &World, platform: &Platform) -> anyhow::Result<()> {
    let table = [
        ("[service.a]\ndependencies = [\"b\"]\n[service.b]\ndependencies = [\"a\"]\n", "a → b → a"),
        ("[service.a]\ndependencies = [\"nobody\"]\n", "nobody"),
        ("[service.a]\ncolour = \"red\"\n", "colour"),
    ];
    let before = platform.invocations(&platform.units())?;
    for (text, word) in table {
        platform.host.put_file("/root/bad.toml", text, 0o644)?;
        for command in ["check", "restart --yes"] {
            let said = platform.reveille(&format!("{command} --manifest /root/bad.toml"))?;
            ensure!(said.status.code() == Some(2), "{command} of {text:?} ended with {}: {}{}", said.status, said.out, said.err);
            let told = format!("{}{}", said.out, said.err);
            ensure!(told.contains(word), "no {word:?} in {told}");
        }
    }
    platform.host.put_file("/root/bad.toml", "[service.a]\nunit = \"not-there.service\"\n", 0o644)?;
    let said = platform.reveille("restart --yes --manifest /root/bad.toml")?;
    let told = format!("{}{}", said.out, said.err);
    ensure!(!said.ok() && told.contains("not-found"), "a unit that is not there: {told}");
    ensure!(platform.invocations(&platform.units())? == before, "something was touched");
    world.shown("a circle, an unknown dependency, an unknown key, a missing unit: told, and nothing touched");
    Ok(())
}

/// Where the state of `reveille` as root is on the host.
const STATE: &str = "/root/.local/state/reveille";

fn killed(world: &World) -> anyhow::Result<()> {
    let platform = Platform::start(world, &Pace { soak: "1s", ..Pace::default() })?;
    let sso = SMALL[0];
    let (mut kills, mut finished, mut unwound) = (0, 0, 0);
    let mut version = 1;
    // A command that was written down and not sent; and an answer that came and was not written down.
    for (point, action, step) in [("after_append", "command_issued", 1), ("before_append", "acked", 2)] {
        for number in (1..).step_by(step) {
            version += 1;
            let unwind = (number + version) % 2 == 0;
            match kill_at(&platform, &sso, version, (point, action, number), unwind).with_context(|| {
                format!("killed {point} {action} {number}, then {}", if unwind { "unwound" } else { "resumed" })
            })? {
                Some(true) => finished += 1,
                Some(false) => unwound += 1,
                None => break,
            }
            kills += 1;
        }
    }
    ensure!(kills >= 15 && finished > 0 && unwound > 0, "{kills} kills, {finished} finished, {unwound} unwound");
    world.shown(format!(
        "{kills} kills at {kills} places: {finished} finished, {unwound} taken back; every tree whole, old or new"
    ));
    Ok(())
}

/// `None`: there is no such place, the run came to its end. Else whether the new version serves.
fn kill_at(
    platform: &Platform,
    small: &Small,
    version: u32,
    (point, action, number): (&str, &str, u32),
    unwind: bool,
) -> anyhow::Result<Option<bool>> {
    let new = version.to_string();
    platform.put_tree("/new", &new, "")?;
    let (old_hash, old) = (platform.hash(&small.tree())?, platform.version(small)?);
    let new_hash = platform.hash("/new")?;
    platform.host.sh(&format!("mkdir -p -m 700 {STATE} && rm -f {STATE}/pause-* {STATE}/paused-*"))?;
    platform.host.put_file(&format!("{STATE}/pause-{point}"), format!("{action} {number}"), 0o600)?;
    let run = format!("restart --yes --service {} --deploy --deploy-path /new", small.name);
    // One of its own: what a killed run leaves behind must not be taken for the end of this one.
    let (log, over) = (format!("/root/run{version}.log"), format!("over {version}"));
    platform.host.sh(&format!(
        "cd / && (setsid sh -c '{REVEILLE} {run} > {log} 2>&1; echo {over} >> {log}' > /dev/null 2>&1 < /dev/null &)"
    ))?;
    let mark = format!("{STATE}/paused-{point}");
    wait::until_true("the pause, or the end", Duration::from_secs(120), || {
        Ok(platform.host.read_file(&mark).is_ok() || platform.host.read_file(&log).is_ok_and(|text| text.contains(&over)))
    })?;
    let paused = platform.host.read_file(&mark).is_ok();
    if paused {
        // What was begun may be at work still: it is waited for, not lost.
        platform.host.sh(&format!("kill -9 $(cat {mark})"))?;
    }
    platform.host.sh(&format!("rm -f {STATE}/pause-* {STATE}/paused-*"))?;
    if !paused {
        let text = platform.host.read_file(&log)?;
        ensure!(platform.hash(&small.tree())? == new_hash, "it came to its end without the new tree: {text}");
        return Ok(None);
    }
    let said = platform.reveille(if unwind { "resume --unwind" } else { "resume" })?;
    let hash = platform.hash(&small.tree())?;
    let is_new = hash == new_hash;
    ensure!(is_new || hash == old_hash, "a mixture: {}{}", said.out, said.err);
    let serves = platform.version(small)?;
    ensure!(
        serves == if is_new { new } else { old },
        "version {serves} serves, the tree is new: {is_new}: {}{}",
        said.out,
        said.err
    );
    ensure!(unwind || is_new, "resumed, and not finished: {}{}", said.out, said.err);
    let open = platform.reveille("orchestrations --active --output json")?;
    let open: serde_json::Value = serde_json::from_str(&open.out).context("orchestrations")?;
    ensure!(open["orchestrations"].as_array().is_some_and(Vec::is_empty), "something is open still: {open}");
    let times = platform.migrated(&version.to_string())?;
    ensure!(times == 1 || times == 0 && !is_new, "migration {version} was run {times} times");
    Ok(Some(is_new))
}
