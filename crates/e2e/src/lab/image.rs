//! The images: one Debian base tree for hosts and children, one overlay layer with LXD for parents.
//!
//! Images are cached by a key made of the recipe's text and the machine's package sources. They are built in a directory
//! of their own and renamed into place when complete: a build that is killed leaves nothing that is taken for an image.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};

use super::{Kind, Paths, fingerprint, lock, sandbox};
use crate::process::{command, output};

const RECIPE: &str = include_str!("../../image/build.sh");

/// From nothing it takes half a minute on a good day; a slow mirror may take its time.
const BUILD_LIMIT: Duration = Duration::from_mins(20);

/// A complete set of images.
#[derive(Debug, Clone)]
pub struct Image {
    /// Holds `base/`, `parent/`, `platform/`, `lxd-root.squashfs`, `lxd-meta.tar`, `lxd-preseed.yaml` and `id_ed25519`.
    pub dir: PathBuf,
}

impl Image {
    /// Overlay layers of a host, topmost first, as `lowerdir=` wants them.
    #[must_use]
    pub fn layers(&self, kind: Kind) -> String {
        let base = self.dir.join("base");
        let above = match kind {
            Kind::Plain => return base.display().to_string(),
            Kind::Parent | Kind::Platform => self.dir.join(kind.word()),
        };
        format!("{}:{}", above.display(), base.display())
    }

    /// The private key that opens every host and child.
    #[must_use]
    pub fn key(&self) -> PathBuf {
        self.dir.join("id_ed25519")
    }
}

struct Sources {
    path: PathBuf,
    text: Vec<u8>,
    codename: String,
}

/// The machine's own Debian mirror and release: hosts run what the machine runs, so its binaries run on them.
fn sources() -> anyhow::Result<Sources> {
    let path = ["/etc/apt/sources.list.d/debian.sources", "/etc/apt/sources.list"]
        .into_iter()
        .map(PathBuf::from)
        .find(|path| path.exists())
        .context("no list of Debian mirrors in /etc/apt: the lab needs a Debian machine")?;
    let text = std::fs::read(&path)?;
    let release = std::fs::read_to_string("/etc/os-release")?;
    let codename = release
        .lines()
        .find_map(|line| line.strip_prefix("VERSION_CODENAME="))
        .context("/etc/os-release names no VERSION_CODENAME: the lab needs a Debian machine")?
        .trim_matches('"')
        .to_owned();
    Ok(Sources { path, text, codename })
}

/// The images of this recipe and machine, built when they are not there. `true`: they were built just now.
///
/// # Errors
///
/// When another builder does not end in time or the build fails; with the last lines of what it wrote.
pub fn ensure(paths: &Paths) -> anyhow::Result<(Image, bool)> {
    let sources = sources()?;
    let key = fingerprint([RECIPE.as_bytes(), &sources.text, sources.codename.as_bytes()]);
    let images = paths.images();
    let image = Image { dir: images.join(&key) };
    if image.dir.exists() {
        return Ok((image, false));
    }
    let _builder = lock(&images.join("lock"), BUILD_LIMIT, "another builder of images")?;
    if image.dir.exists() {
        return Ok((image, false));
    }
    clear(paths)?;
    let work = images.join(format!("building-{key}"));
    std::fs::create_dir(&work)?;
    build(&work, &sources)?;
    std::fs::rename(&work, &image.dir)?;
    Ok((image, true))
}

/// Removes half-built images and, unless a lab is using one, those of older recipes. Call with the builder's lock held.
fn clear(paths: &Paths) -> anyhow::Result<()> {
    let in_use = sandbox::find(paths)?.is_some();
    for entry in std::fs::read_dir(paths.images())? {
        let entry = entry?;
        let half_built = entry.file_name().to_string_lossy().starts_with("building-");
        if entry.file_type()?.is_dir() && (half_built || !in_use) {
            std::fs::remove_dir_all(entry.path()).with_context(|| entry.path().display().to_string())?;
        }
    }
    Ok(())
}

fn build(work: &Path, sources: &Sources) -> anyhow::Result<()> {
    // Namespaces of its own, tied to this process: a kill takes the whole build with it, mounts included.
    let mut recipe = command(["setpriv", "--pdeathsig", "KILL", "unshare", "--mount", "--pid", "--fork"]);
    recipe
        .args(["--kill-child=KILL", "--mount-proc", "--propagation", "private", "bash", "-c", RECIPE])
        .current_dir(work)
        .env("SOURCES", &sources.path)
        .env("CODENAME", &sources.codename);
    let said = output(&mut recipe, BUILD_LIMIT).context("building the images")?;
    if !said.ok() {
        let tail: Vec<&str> = said.err.lines().rev().take(30).collect();
        let tail: Vec<&str> = tail.into_iter().rev().collect();
        bail!("building the images failed ({}):\n{}", said.status, tail.join("\n"));
    }
    Ok(())
}
