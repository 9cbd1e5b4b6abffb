//! `cargo xtask lab`: the lab seen from outside.

use std::ffi::OsString;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::Instant;

use anyhow::{Context, ensure};
use clap::Subcommand;
use e2e::lab::image::{self, Image};
use e2e::lab::sandbox::{self, Sandbox};
use e2e::lab::{Paths, packages};
use e2e::runner::{self, Tally};
use e2e::world;

/// Scenarios mostly wait; on two cores three of them disturb each other little.
pub(crate) const JOBS: u8 = 3;

#[derive(Subcommand)]
pub(crate) enum Order {
    /// Takes an old lab down and brings a new one up, with a plain host and a parent with three LXD children
    Up,
    /// Ends the lab and leaves nothing of it but its images
    Down,
    /// Says what is up
    Status,
    /// Opens a shell on a host
    Shell {
        /// Its name, as in `lab status`
        host: String,
    },
    /// Runs a command inside the sandbox, where hosts are at 10.77.0.x
    Run {
        /// The command and its arguments
        #[arg(required = true, allow_hyphen_values = true, trailing_var_arg = true)]
        words: Vec<OsString>,
    },
    /// Builds the product's programs and runs scenarios, in the lab that is up or in one of their own
    Test {
        /// Only scenarios whose name contains one of these
        names: Vec<String>,
        /// Leave the hosts of the scenarios for a look at them (in a lab that is up)
        #[arg(long)]
        keep: bool,
        /// How many run beside each other
        #[arg(long, default_value_t = JOBS)]
        jobs: u8,
        /// Only list the scenarios
        #[arg(long)]
        list: bool,
    },
}

pub(crate) fn run(order: Order) -> anyhow::Result<()> {
    let paths = Paths::from_environment();
    match order {
        Order::Up => up(&paths),
        Order::Down => {
            sandbox::down(&paths)?;
            let left = sandbox::leftovers(&paths)?;
            ensure!(left.is_empty(), "the lab has left {}", left.join(", "));
            println!("the lab is down");
            Ok(())
        }
        Order::Status => match sandbox::find(&paths)? {
            None => {
                println!("the lab is down");
                Ok(())
            }
            Some(sandbox) => {
                println!("the lab is up: process {}, files in {}", sandbox.init, paths.run().display());
                inner(&sandbox, &["status"])
            }
        },
        Order::Shell { host } => inner(&found(&paths)?, &["shell", &host]),
        Order::Run { words } => finish(found(&paths)?.enter(&std::env::current_dir()?, words)),
        Order::Test { list: true, names, .. } => {
            for scenario in runner::select(&names)? {
                println!("{:36} {}", scenario.name, scenario.about);
            }
            Ok(())
        }
        Order::Test { names, keep, jobs, list: false } => {
            runner::select(&names)?;
            build()?;
            let lab = Lab::ready(&paths)?;
            let tally = lab.scenarios(&names, keep, jobs)?;
            ensure!(tally.failed == 0, "{} of {} scenarios failed", tally.failed, tally.failed + tally.passed);
            Ok(())
        }
    }
}

fn up(paths: &Paths) -> anyhow::Result<()> {
    let image = prepare(paths)?;
    let start = Instant::now();
    let (sandbox, _) = sandbox::up(paths, &image, false)?;
    inner(&sandbox, &["topology"])?;
    println!("the lab is up after {:.1} s", start.elapsed().as_secs_f32());
    inner(&sandbox, &["status"])
}

/// Packages and images, with a word about what was done.
fn prepare(paths: &Paths) -> anyhow::Result<Image> {
    for package in packages::ensure()? {
        println!("installed {package}");
    }
    let start = Instant::now();
    let (image, built) = image::ensure(paths)?;
    if built {
        println!("built the images in {:.1} s: {}", start.elapsed().as_secs_f32(), image.dir.display());
    }
    Ok(image)
}

/// The programs that scenarios put to work. They can be stopped at named points; no other build can.
pub(crate) fn build() -> anyhow::Result<()> {
    let mut build = cargo(&["build", "--locked", "--quiet", "-p", "cli", "-p", "agent", "-p", "controller"]);
    // Programs of others that call the library, beside those of the product.
    build.args(["--bins", "--examples"]);
    build.args(["--features", "agent/pause-points,controller/pause-points", "--target-dir"]).arg(world::programs()?);
    finish(build)
}

/// The cargo that started us.
pub(crate) fn cargo(arguments: &[&str]) -> Command {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(arguments);
    cargo
}

pub(crate) fn finish(mut command: Command) -> anyhow::Result<()> {
    let status = command.status().with_context(|| format!("cannot start {command:?}"))?;
    ensure!(status.success(), "{:?} ended with {status}", command.get_program());
    Ok(())
}

fn found(paths: &Paths) -> anyhow::Result<Sandbox> {
    sandbox::find(paths)?.context("the lab is down: `cargo xtask lab up`")
}

pub(crate) fn own_words(job: &[&str]) -> anyhow::Result<Vec<OsString>> {
    let own = std::env::current_exe()?.into_os_string();
    Ok([own, "lab-inner".into()].into_iter().chain(job.iter().map(OsString::from)).collect())
}

fn inner(sandbox: &Sandbox, job: &[&str]) -> anyhow::Result<()> {
    finish(sandbox.enter(Path::new("/"), own_words(job)?))
}

/// A lab to run scenarios in. One of our own ends with this value, also when this process is killed.
pub(crate) struct Lab {
    sandbox: Sandbox,
    own: Option<(Paths, ChildStdin)>,
}

impl Lab {
    /// The lab that is up, or a new one for ourselves.
    pub(crate) fn ready(paths: &Paths) -> anyhow::Result<Self> {
        match sandbox::find(paths)? {
            Some(sandbox) => Ok(Self { sandbox, own: None }),
            None => Self::fresh(paths),
        }
    }

    /// A new one for ourselves, in the place of any other.
    pub(crate) fn fresh(paths: &Paths) -> anyhow::Result<Self> {
        let image = prepare(paths)?;
        let (sandbox, pipe) = sandbox::up(paths, &image, true)?;
        let pipe = pipe.context("no pipe to the keeper")?;
        Ok(Self { sandbox, own: Some((paths.clone(), pipe)) })
    }

    /// Runs one of the lab's own jobs inside.
    pub(crate) fn job(&self, words: &[&str]) -> anyhow::Result<()> {
        inner(&self.sandbox, words)
    }

    /// Runs scenarios and passes on what they say.
    pub(crate) fn scenarios(&self, names: &[String], keep: bool, jobs: u8) -> anyhow::Result<Tally> {
        let jobs = jobs.to_string();
        let mut job = vec!["scenarios", if keep { "keep" } else { "clean" }, &jobs];
        job.extend(names.iter().map(String::as_str));
        let mut command = self.sandbox.enter(Path::new("/"), own_words(&job)?);
        let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
        let said = pass_on(child)?;
        runner::read_summary(&said).context("the scenarios ended without a summary")
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if let Some((paths, pipe)) = self.own.take() {
            drop(pipe);
            if let Err(error) = sandbox::down(&paths) {
                eprintln!("error: taking the lab down: {error:#}");
            }
        }
    }
}

/// Copies a child's standard output to ours line by line, and returns it.
pub(crate) fn pass_on(mut child: Child) -> anyhow::Result<String> {
    use std::io::{BufRead, BufReader};
    let mut said = String::new();
    for line in BufReader::new(child.stdout.take().context("no standard output")?).lines() {
        let line = line?;
        println!("{line}");
        said.push_str(&line);
        said.push('\n');
    }
    child.wait()?;
    Ok(said)
}
