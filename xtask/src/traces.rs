//! Does the lab leave nothing, however it ends? Checked from outside, on labs of its own.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, ensure};
use e2e::lab::image::Image;
use e2e::lab::{Paths, sandbox};
use e2e::runner::Tally;
use e2e::wait;

use crate::lab::{finish, own_words};

const LIMIT: Duration = Duration::from_mins(1);

type Check = fn(&Paths, &Image) -> anyhow::Result<()>;

const CHECKS: [(&str, Check); 3] = [
    ("lab_down_leaves_nothing", down_leaves_nothing),
    ("lab_ends_with_the_program_that_started_it", ends_with_its_starter),
    ("lab_ends_with_its_keeper_and_the_next_clears", ends_with_its_keeper),
];

/// Runs the checks and tells how each ended.
pub(crate) fn check(paths: &Paths, image: &Image) -> Tally {
    let mut tally = Tally::default();
    for (name, check) in CHECKS {
        match check(paths, image) {
            Ok(()) => {
                tally.passed += 1;
                println!("ok     {name}");
            }
            Err(error) => {
                tally.failed += 1;
                println!("FAILED {name}: {error:#}");
            }
        }
    }
    tally
}

fn leaves(paths: &Paths, expected: &[&str]) -> anyhow::Result<()> {
    let what = format!("a lab that leaves {expected:?}");
    wait::until_true(&what, LIMIT, || {
        let left = sandbox::leftovers(paths)?;
        let as_expected =
            left.len() == expected.len() && left.iter().zip(expected).all(|(left, expected)| left.starts_with(expected));
        ensure!(as_expected, "it leaves {left:?}");
        Ok(true)
    })
}

/// A sandbox with one host in it; the pipe ties it to us.
fn with_a_host(paths: &Paths, image: &Image, tied: bool) -> anyhow::Result<(sandbox::Sandbox, Option<impl Sized>)> {
    let (sandbox, pipe) = sandbox::up(paths, image, tied)?;
    finish(sandbox.enter(Path::new("/"), own_words(&["host", "trace", "31"])?))?;
    let left = sandbox::leftovers(paths)?;
    ensure!(left.iter().any(|left| left.starts_with("processes")), "the checks see no lab in {left:?}");
    Ok((sandbox, pipe))
}

fn down_leaves_nothing(paths: &Paths, image: &Image) -> anyhow::Result<()> {
    with_a_host(paths, image, false)?;
    sandbox::down(paths)?;
    leaves(paths, &[])
}

fn ends_with_its_starter(paths: &Paths, image: &Image) -> anyhow::Result<()> {
    let (_, pipe) = with_a_host(paths, image, true)?;
    // The kernel closes the pipe of a killed process in the same way.
    drop(pipe.context("not tied")?);
    leaves(paths, &[])
}

fn ends_with_its_keeper(paths: &Paths, image: &Image) -> anyhow::Result<()> {
    let (sandbox, _) = with_a_host(paths, image, false)?;
    e2e::process::signal(sandbox.keeper()?, e2e::process::Signal::KILL)?;
    leaves(paths, &["empty cgroups", "files"])?;
    with_a_host(paths, image, false)?;
    sandbox::down(paths)?;
    leaves(paths, &[])
}
