//! `reveille units`: unit files of services, from the manifest; shown, or written where systemd reads them.

use std::fs;
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use inventory::services::{Manifest, unit_file};
use model::{InvocationId, Service};

use super::seen::{Machines, inspect};
use crate::args::{Global, Listed, THIS_MACHINE, Units};
use crate::error::CliError;
use crate::exit::Exit;
use crate::results::{UnitFile, UnitFiles, Written};
use crate::{again, manifest, render, terminal};

pub(crate) async fn units(global: &Global, args: &Units) -> Result<Exit, CliError> {
    if !global.here.inventory.is_empty() {
        return Err(CliError::usage("units are written on this machine alone").hint("leave -i away, and run it on the host"));
    }
    let path = manifest::find(args.manifest.as_deref())?;
    let mut read = manifest::read(&path, false)?;
    read.services = manifest::on_this_machine(read.services);
    manifest::known(&read.services, &args.services, &path)?;
    let units = chosen(&read, &args.services)?;
    let (units, to) = match &args.to {
        Some(folder) => (written(global, units, folder, args.replace).await?, Some(folder.clone())),
        None => (units, None),
    };
    let document = UnitFiles { manifest: path, to, units };
    terminal::answer(global.output, &document, || render::services::unit_files(&document))?;
    Ok(Exit::Done)
}

/// The unit files of those that are named; of those that run on this machine and say how, when none is.
fn chosen(read: &Manifest, names: &[String]) -> Result<Vec<UnitFile>, CliError> {
    let text = |service: &Service| {
        let run = read.runs.get(&service.name)?;
        let (service_name, unit) = (service.name.clone(), service.unit.clone());
        Some(UnitFile { service: service_name, unit, written: None, kept: None, text: unit_file(service, run, &read.services) })
    };
    let mut units: Vec<UnitFile> = Vec::new();
    if names.is_empty() {
        let here = |service: &&Service| service.host.as_deref().is_none_or(|host| host == THIS_MACHINE);
        let (here, elsewhere): (Vec<&Service>, Vec<&Service>) = read.services.iter().partition(here);
        for service in elsewhere.into_iter().filter(|service| read.runs.contains_key(&service.name)) {
            let host = service.host.as_deref().unwrap_or_default();
            eprintln!("note: {} is left out: it runs on {host}; --service {0} shows its unit", service.name);
        }
        units.extend(here.into_iter().filter_map(text));
        if units.is_empty() {
            return Err(CliError::usage("no service of this machine says how it is run")
                .hint("write [service.NAME.run] with its command; units that somebody else wrote need none"));
        }
        return Ok(units);
    }
    for name in names {
        let unit = read.services.iter().find(|service| service.name == *name).and_then(text).ok_or_else(|| {
            CliError::usage(format!("{name} does not say how it is run"))
                .hint(format!("write [service.{name:?}.run] with its command"))
        })?;
        match units.iter().find(|other| other.unit == unit.unit) {
            Some(other) if other.service != unit.service => {
                let text = format!("{} is the unit of {} and of {name}, on different hosts", unit.unit, other.service);
                return Err(CliError::usage(text).hint("name one of them"));
            }
            Some(_) => {}
            None => units.push(unit),
        }
    }
    Ok(units)
}

/// Writes those that are not there as they should be. Nothing is written while one of them may not be.
async fn written(global: &Global, mut units: Vec<UnitFile>, folder: &Path, replace: bool) -> Result<Vec<UnitFile>, CliError> {
    let failed = |unit: &str, error: &io::Error| {
        let shown = folder.join(unit).display().to_string();
        CliError::new(Exit::Failed, format!("{shown} cannot be written: {error}"))
            .hint("root writes to /etc/systemd/system; any other folder must be there")
    };
    for unit in &mut units {
        let there = there(&folder.join(&unit.unit), &unit.text).map_err(|error| failed(&unit.unit, &error))?;
        unit.written = Some(there);
    }
    let differ: Vec<&str> =
        units.iter().filter(|unit| unit.written == Some(Written::Replaced)).map(|unit| unit.unit.as_str()).collect();
    if !replace && !differ.is_empty() {
        let text = format!("{} in {} and not as the manifest has it: nothing was written", are_there(&differ), folder.display());
        let hint = again::hint("units", "shows how they would be; --replace replaces them");
        return Err(CliError::new(Exit::Refused, text).hint(hint));
    }
    for unit in units.iter_mut().filter(|unit| unit.written != Some(Written::Unchanged)) {
        let done = match unit.written {
            Some(Written::Replaced) => {
                let run = present(global, &unit.unit).await;
                let kept = unit.kept.insert(folder.join(kept(&unit.unit, run)));
                keep(folder, &unit.unit, kept, run.is_some()).and_then(|()| write(folder, &unit.unit, &unit.text))
            }
            _ => write(folder, &unit.unit, &unit.text),
        };
        done.map_err(|error| failed(&unit.unit, &error))?;
        if let Some(kept) = &unit.kept {
            forget(folder, &unit.unit, kept);
        }
    }
    Ok(units)
}

/// The run of this unit that goes on here, for which the file was there that is replaced.
async fn present(global: &Global, unit: &str) -> Option<InvocationId> {
    let machines = Machines::of(global, "units", &Listed::default()).ok()?;
    let machine = machines.all.first()?;
    match inspect(&machines.access, machine, unit, Vec::new()).await {
        Ok(seen) => seen.unit.invocation,
        Err(why) => {
            eprintln!("note: {unit} could not be looked at ({why}): if it runs here, a rollback comes back to the new file");
            None
        }
    }
}

/// What no run was started from is kept for people alone: a restart does not come back to it.
fn kept(unit: &str, run: Option<InvocationId>) -> String {
    run.map_or_else(|| format!("{unit}.replaced"), |run| recipe::replaced_unit(unit, run))
}

/// Keeps what is replaced. The first one of a run stays: it is what the run was started from, whatever was written since.
fn keep(folder: &Path, unit: &str, kept: &Path, runs: bool) -> io::Result<()> {
    let from = folder.join(unit);
    match fs::hard_link(&from, kept) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            if !runs {
                fs::remove_file(kept)?;
                fs::hard_link(&from, kept)?;
            }
        }
        done => done?,
    }
    // On disk before the other takes its place.
    fs::File::open(folder)?.sync_all()
}

/// Takes away what was kept for earlier runs of the unit: nothing comes back to it any more.
fn forget(folder: &Path, unit: &str, kept: &Path) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for path in entries.flatten().map(|entry| entry.path()).filter(|path| path != kept) {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let run = name.strip_prefix(unit).and_then(|rest| rest.strip_prefix(".replaced.")).and_then(|run| run.parse().ok());
        // What cannot be taken away stands in nobody's way.
        if run.is_some_and(|run| recipe::replaced_unit(unit, run) == name) {
            drop(fs::remove_file(&path));
        }
    }
}

fn are_there(units: &[&str]) -> String {
    format!("{} {} there", units.join(", "), if units.len() == 1 { "is" } else { "are" })
}

/// What writing this would do.
fn there(path: &Path, text: &str) -> io::Result<Written> {
    match fs::symlink_metadata(path) {
        Ok(found) if found.is_file() && fs::read(path)? == text.as_bytes() => Ok(Written::Unchanged),
        // A link is somebody's will, too: one to /dev/null masks the unit.
        Ok(found) if !found.is_dir() => Ok(Written::Replaced),
        Ok(_) => Err(io::Error::new(ErrorKind::IsADirectory, "a folder is there")),
        Err(error) if error.kind() == ErrorKind::NotFound && path.parent().is_some_and(Path::is_dir) => Ok(Written::Made),
        Err(error) => Err(error),
    }
}

/// systemd finds the old file or the new one, whole, also after a power cut.
fn write(folder: &Path, unit: &str, text: &str) -> io::Result<()> {
    let draft = folder.join(format!(".{unit}.{}", std::process::id()));
    let done = (|| {
        let mut file = fs::File::create_new(&draft)?;
        file.write_all(text.as_bytes())?;
        file.set_permissions(fs::Permissions::from_mode(0o644))?;
        file.sync_all()?;
        fs::rename(&draft, folder.join(unit))?;
        fs::File::open(folder)?.sync_all()
    })();
    if done.is_err() {
        drop(fs::remove_file(&draft));
    }
    done
}
