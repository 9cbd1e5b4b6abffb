//! Unit files that are written from the manifest: systemd itself reads them, verifies them and runs them.

use std::time::Duration;

use anyhow::{Context, ensure};

use crate::platform::{MANIFEST, PATIENCE, PROGRAM, Pace, Platform, SMALL, Small};
use crate::wait;
use crate::world::{Scenario, World};

pub(super) const SCENARIOS: &[Scenario] = &[Scenario {
    name: "units_of_services",
    about: "unit files written from the manifest: verified by systemd, never over others, a service that runs from one, and the way back from one that cannot start",
    limit: Duration::from_mins(6),
    machines: 1,
    run: units,
}];

/// What is written, and taken back.
const LAST: Small = SMALL[3];

/// Where systemd reads units of an administrator.
const UNITS: &str = "/etc/systemd/system";

/// What a unit file reads otherwise, if nobody quotes it.
const WORDS: [&str; 14] = ["a b", "", "100%", "%n", "$HOME", "${HOME}", "$$", "it's", "\"x\"", "C:\\x", "\\x41", ";", "#", "ä"];

fn units(world: &World) -> anyhow::Result<()> {
    let pace = Pace { soak: "1s", ..Pace::default() };
    let platform = Platform::start(world, &pace)?;
    platform.put_manifest(&pace, &runs(None))?;
    verified(world, &platform).context("systemd-analyze verify")?;
    never_over_others(world, &platform).context("files that are there")?;
    written(world, &platform).context("a service without a unit")?;
    taken_back(world, &platform, &pace).context("a unit file that cannot start")?;
    words(world, &platform).context("words that need quotes")
}

/// All small services as they are run already; the last one by another command, if one is given.
fn runs(last: Option<&str>) -> String {
    let mut text = String::new();
    for small in SMALL {
        let usual = format!("{PROGRAM} lab-inner service {} {}", small.port, small.tree());
        let command = last.filter(|_| small.name == LAST.name).unwrap_or(&usual);
        text += &format!(
            "[service.{:?}.run]\ncommand = \"{command}\"\nenvironment = {{ GREETING = \"100 % \\\"$HOME\\\"\" }}\n",
            small.name
        );
        if small.reloads {
            text += &format!("reload_command = \"{PROGRAM} lab-inner reload {}\"\nmemory_max = \"512M\"\n", small.port);
        } else {
            text += "user = \"www-data\"\nrestart = \"always\"\n";
        }
    }
    text
}

fn verified(world: &World, platform: &Platform) -> anyhow::Result<()> {
    platform.host.sh("mkdir /tmp/units")?;
    let said = platform.reveille("units --to /tmp/units")?;
    ensure!(said.ok(), "{}{}", said.out, said.err);
    let said = platform.host.ssh("systemd-analyze verify /tmp/units/*.service", PATIENCE)?;
    // It looks at what they depend on, too; of our own files it says nothing.
    let ours: Vec<&str> = said.err.lines().filter(|line| line.contains("lilith-")).collect();
    ensure!(said.ok() && ours.is_empty(), "{}: {}{}", said.status, said.out, said.err);
    world.shown("systemd-analyze verify has nothing to say about four units");
    Ok(())
}

fn never_over_others(world: &World, platform: &Platform) -> anyhow::Result<()> {
    let hash = || platform.host.sh(&format!("cat {UNITS}/lilith-*.service | sha256sum"));
    let before = hash()?;
    let said = platform.reveille(&format!("units --to {UNITS}"))?;
    ensure!(said.status.code() == Some(3) && said.err.contains("--replace"), "{}: {}{}", said.status, said.out, said.err);
    ensure!(hash()? == before, "a unit file was replaced");
    world.shown(format!("unit files of others stay: {}", said.err.lines().next().unwrap_or_default()));
    Ok(())
}

fn written(world: &World, platform: &Platform) -> anyhow::Result<()> {
    let last = LAST;
    platform.host.sh(&format!("systemctl stop {0} && rm {UNITS}/{0} && systemctl daemon-reload", last.unit))?;
    let said = platform.reveille("check")?;
    let hint = format!("reveille units --service {}", last.name);
    ensure!(!said.ok() && said.out.contains(&hint), "check does not tell: {}{}", said.out, said.err);
    let said = platform.reveille(&format!("units --service {} --to {UNITS}", last.name))?;
    ensure!(said.ok(), "{}{}", said.out, said.err);
    // What it says comes next, as it says it.
    let next: Vec<&str> = said.out.lines().filter_map(|line| line.trim().strip_prefix("sudo ")).collect();
    ensure!(next.len() == 2, "{}", said.out);
    platform.host.sh(&next.join(" && "))?;
    platform.wait_up()?;
    ensure!(platform.version(&last)? == "1", "it serves {}", platform.version(&last)?);
    let user = platform.host.sh(&format!("ps -o user= -p $(systemctl show --property MainPID --value {})", last.unit))?;
    ensure!(user.trim() == "www-data", "it runs as {user}");
    platform.host.sh(&format!("systemctl is-enabled {}", last.unit))?;
    let said = platform.reveille("check")?;
    ensure!(said.ok(), "check: {}{}", said.out, said.err);
    let before = platform.invocations(&[last.unit])?;
    let (result, code) = platform.json(&format!("restart --yes --service {}", last.name))?;
    ensure!(code == Some(0) && result["success"] == true, "{result:#}");
    ensure!(platform.invocations(&[last.unit])? != before, "it does not run anew");
    world.shown(format!("{} runs from its written unit, as www-data, and is restarted", last.name));
    Ok(())
}

/// Replaced twice, by what cannot start: what ran comes back, and not what was written in between.
fn taken_back(world: &World, platform: &Platform, pace: &Pace) -> anyhow::Result<()> {
    let shown = |property: &str| {
        let said = platform.host.sh(&format!("systemctl show --property {property} --value {}", LAST.unit))?;
        Ok::<_, anyhow::Error>(said.trim().to_owned())
    };
    let file = format!("{UNITS}/{}", LAST.unit);
    let read = || platform.host.sh(&format!("cat {file}"));
    let (before, version) = (read()?, platform.version(&LAST)?);
    let [run] = &platform.invocations(&[LAST.unit])?[..] else { anyhow::bail!("no invocation id") };
    let kept = format!("{file}.replaced.{run}");
    let mut said = String::new();
    for command in ["/bin/true", "/bin/false"] {
        platform.put_manifest(pace, &runs(Some(command)))?;
        let written = platform.reveille(&format!("units --service {} --to {UNITS} --replace", LAST.name))?;
        ensure!(written.ok() && written.out.contains(&kept), "{}{}", written.out, written.err);
        ensure!(read()?.contains(&format!("ExecStart={command}\n")), "{file} was not replaced");
        ensure!(platform.host.sh(&format!("cat {kept}"))? == before, "{kept} is not what runs");
        said = written.out;
    }
    // What it says comes next, as it says it.
    ensure!(said.contains("\n  sudo systemctl daemon-reload\n"), "{said}");
    ensure!(said.contains(&format!("\n  reveille restart --service {}\n", LAST.name)), "{said}");
    platform.host.sh("systemctl daemon-reload")?;
    ensure!(shown("ExecStart")?.contains("/bin/false"), "systemd has not read {file}");
    let (result, code) = platform.json(&format!("restart --yes --service {}", LAST.name))?;
    ensure!(code != Some(0) && result["success"] == false, "it ended with {code:?}: {result:#}");
    ensure!(result["services"][0]["rolled_back"] == true, "{result:#}");
    platform.wait_up()?;
    let fragment = shown("FragmentPath")?;
    ensure!(fragment == file && read()? == before, "{fragment} is not what it was: {}", read()?);
    ensure!(shown("ExecStart")?.contains(PROGRAM), "it is run as {}", shown("ExecStart")?);
    ensure!(platform.invocations(&[LAST.unit])?[..] != [run.clone()], "it was not touched at all");
    ensure!(platform.version(&LAST)? == version, "it serves {}", platform.version(&LAST)?);
    platform.put_manifest(pace, &runs(None))?;
    let said = platform.reveille(&format!("units --service {} --to {UNITS}", LAST.name))?;
    ensure!(said.ok() && said.out.contains("is so already"), "{}{}", said.out, said.err);
    world.shown(format!(
        "a unit file that cannot start is rolled back to the one before it: {} serves version {version}",
        LAST.name
    ));
    Ok(())
}

fn words(world: &World, platform: &Platform) -> anyhow::Result<()> {
    let list = WORDS.map(|word| format!("{word:?}")).join(", ");
    let script = "printf '%s\\\\n' \\\"$@\\\" > /run/words; printf %s \\\"$A\\\" > /run/variable; exec sleep infinity";
    let text = format!(
        "[service.words]\n[service.words.run]\ncommand = [\"/bin/sh\", \"-c\", \"{script}\", \"sh\", {list}]\n\
         environment = {{ A = 'a\"\\n $HOME 5% ' }}\n"
    );
    platform.host.put_file(MANIFEST, text, 0o644)?;
    let said = platform.reveille(&format!("units --to {UNITS}"))?;
    ensure!(said.ok(), "{}{}", said.out, said.err);
    platform.host.sh("systemctl daemon-reload && systemctl start words.service")?;
    wait::until_true("the service to write", PATIENCE, || Ok(platform.host.ssh("test -s /run/variable", PATIENCE)?.ok()))?;
    let heard = platform.host.sh("cat /run/words")?;
    ensure!(heard == format!("{}\n", WORDS.join("\n")), "the service was given {heard:?}");
    let variable = platform.host.sh("cat /run/variable")?;
    ensure!(variable == "a\"\\n $HOME 5% ", "the variable is {variable:?}");
    world.shown(format!("{} words and a variable with blanks, quotes, %, $ and \\ arrive as they were written", WORDS.len()));
    Ok(())
}
