//! A restart of S3's 19 services on a host of the lab.

use std::path::{Path, PathBuf};

use anyhow::Context;
use e2e::lab::Paths;

use crate::lab::{Lab, cargo, finish};

/// With a soak of so many seconds.
pub(crate) fn run(soak: u16) -> anyhow::Result<()> {
    // As it is shipped: without pause points.
    finish(cargo(&["build", "--release", "--locked", "--quiet", "-p", "cli"]))?;
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("xtask stands in the project")?;
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    let program = target.join("release/reveille").into_os_string().into_string();
    let program = program.ok().context("the path of the project is no UTF-8")?;
    Lab::ready(&Paths::from_environment())?.job(&["bench-services", &soak.to_string(), &program])
}
