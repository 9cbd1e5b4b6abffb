//! What the program does when the lab calls it: `lab-inner JOB`.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail};

use crate::bench;
use crate::lab::{Host, HostSpec, Paths, host, power_supply, sandbox};
use crate::platform::service;
use crate::runner;
use crate::traffic::web;

/// Runs one of the lab's own jobs.
///
/// # Errors
///
/// When the job fails or is not known.
pub fn main(paths: &Paths, words: &[String]) -> anyhow::Result<()> {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["keep", how] => sandbox::keep(paths, *how == "tied"),
        ["init"] => sandbox::init(paths),
        ["power", name] => power_supply(&Host::open(paths, name)?),
        ["topology"] => topology(paths),
        ["host", name, number] => Host::create(paths, HostSpec::plain(name, number.parse()?))?.boot(),
        ["web", name] => web::serve(name),
        ["service", port, tree] => service::serve(port.parse()?, Path::new(tree)),
        ["reload", port] => service::reload(port.parse()?),
        ["simulated", port, millis] => bench::simulated::serve(port.parse()?, Duration::from_millis(millis.parse()?)),
        ["time-calls", file, rounds] => bench::time_here(file, rounds.parse()?),
        ["bench-services", soak, program] => bench::run(paths, Duration::from_secs(soak.parse()?), Path::new(program)),
        ["status"] => status(paths),
        ["shell", name] => shell(&Host::open(paths, name)?),
        ["scenario", name, slot] => runner::run_here(paths, name, slot.parse()?),
        ["scenarios", how, jobs, names @ ..] => {
            let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
            // Who started this reads the summary.
            runner::run(paths, &names, *how == "keep", jobs.parse()?).map(drop)
        }
        _ => bail!("no job of the lab: {words:?}"),
    }
}

/// What `lab up` brings up for a look around: a plain host, and a parent with three children.
fn topology(paths: &Paths) -> anyhow::Result<()> {
    let plain = Host::create(paths, HostSpec::plain("p1", 11))?;
    let parent = Host::create(paths, HostSpec::parent("lx1", 12))?;
    plain.power_on()?;
    parent.power_on()?;
    plain.wait_running(Duration::from_mins(1))?;
    parent.wait_running(Duration::from_mins(1))?;
    parent.three_children([14, 15, 16])
}

fn status(paths: &Paths) -> anyhow::Result<()> {
    for name in host::names(paths)? {
        let host = Host::open(paths, &name)?;
        let state = host.state().unwrap_or_else(|_| "off".to_owned());
        let boot = host.boot_id().unwrap_or_else(|| "-".to_owned());
        let boots = host.power_log().unwrap_or_default().iter().filter(|event| event.off.is_none()).count();
        println!("{name:12} {:13} {state:10} boot {boot} (number {boots})", host.ip());
        if host.is_parent() && state != "off" {
            for child in host.children().unwrap_or_default() {
                println!("  {:10} {}", child.name, child.status);
            }
        }
    }
    Ok(())
}

fn shell(host: &Host) -> anyhow::Result<()> {
    let status = host.ssh_command().status().context("cannot start ssh")?;
    println!("left {} ({status})", host.name());
    Ok(())
}
