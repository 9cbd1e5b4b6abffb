//! Services of this machine, with a systemd that is played: nothing real is ever restarted, and nothing needs root. Real restarts are
//! shown by the lab.

use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::farm::told;

const MANIFEST: &str = "unit_prefix = \"lilith-\"\n[service.\"sso.redis\"]\nkind = \"infrastructure\"\n\
    health_check = { command = \"sh -c true\" }\n[service.\"sso.api\"]\nkind = \"api\"\ndependencies = [\"sso.redis\", \"network.target\"]\n";

/// Answers what recipes ask; a unit whose name stands in `gone` is none, one in `down` is not up.
const SYSTEMCTL: &str = r#"#!/bin/sh
here=$(dirname "$0")/..
[ "$1" = is-system-running ] && { echo running; exit; }
[ "$1" = show ] || { echo "$*" >> $here/orders; exit; }
while [ "$1" != -- ]; do shift; done; shift
[ "$1" = '*.service' ] && set -- lilith-sso-api.service lilith-sso-redis.service
between=
run=$(cat $here/run)
for unit; do
  load=loaded active=active sub=running fragment=$here/unit
  grep -qs "$unit" $here/gone && load=not-found active=inactive sub=dead fragment=
  grep -qs "$unit" $here/down && active=failed sub=failed
  printf '%s' "$between"; between='
'
  echo "Id=$unit
Names=$unit
Description=$unit
LoadState=$load
ActiveState=$active
SubState=$sub
InvocationID=$run
NRestarts=0
Result=success
CanReload=no
NeedDaemonReload=no
FragmentPath=$fragment
DropInPaths=
After=basic.target
Requires="
done
"#;

/// The run of every unit.
const RUNS: &str = "0d4f3a525c1d4a398ad55e0f5f1f9a11";

struct Here(tempfile::TempDir);

impl Here {
    fn new() -> Self {
        let here = Self(tempfile::tempdir().unwrap());
        std::fs::create_dir(here.0.path().join("bin")).unwrap();
        here.put("bin/systemctl", SYSTEMCTL);
        std::fs::set_permissions(here.0.path().join("bin/systemctl"), std::fs::Permissions::from_mode(0o755)).unwrap();
        here.put("unit", "[Service]\n");
        here.put("run", RUNS);
        here.put("reveille.toml", MANIFEST);
        here
    }

    fn put(&self, name: &str, text: &str) {
        std::fs::write(self.0.path().join(name), text).unwrap();
    }

    fn says(&self, args: &[&str]) -> (i32, String, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_reveille"));
        let path = format!("{}:{}", self.0.path().join("bin").display(), std::env::var("PATH").unwrap());
        command.args(args).current_dir(self.0.path()).env("HOME", self.0.path()).env("PATH", path).stdin(Stdio::null());
        for name in ["XDG_CONFIG_HOME", "XDG_STATE_HOME", "REVEILLE_SERVER", "REVEILLE_CA", "REVEILLE_TOKEN", "SSH_AUTH_SOCK"] {
            command.env_remove(name);
        }
        told(command.output().unwrap())
    }

    fn nothing_was_done(&self) {
        assert!(!self.0.path().join("orders").exists());
    }
}

#[test]
fn s3_94_services_are_shown_as_they_are() {
    let here = Here::new();
    let (code, out, err) = here.says(&["services"]);
    assert_eq!(code, 0, "{out}{err}");
    assert!(out.contains("sso.redis") && out.contains("healthy") && out.contains("active (running)"), "{out}");
    here.put("down", "lilith-sso-api.service\n");
    let (code, out, err) = here.says(&["services", "--output", "json"]);
    let seen: Value = serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {out}{err}"));
    assert_eq!((code, &seen["healthy"], &seen["services"][1]["healthy"]), (1, &false.into(), &false.into()));
    let (code, out, err) = here.says(&["services", "--all"]);
    assert!(code == 1 && out.contains("lilith-sso-redis.service"), "{out}{err}");
    here.nothing_was_done();
}

#[test]
fn everything_that_would_go_wrong_is_told_before_anything_is_done() {
    let here = Here::new();
    let (code, out, err) = here.says(&["check"]);
    assert!(code == 0 && out.contains("order     sso.redis, sso.api"), "{out}{err}");
    here.put("gone", "lilith-sso-redis.service\n");
    here.put("down", "network.target\n");
    here.put("reveille.toml", &format!("{MANIFEST}migrate = {{ command = \"./no-such up\", directory = \"/no/such\" }}\n"));
    let (code, out, err) = here.says(&["check"]);
    assert_eq!(code, 2, "{out}{err}");
    for problem in ["not-found", "network.target must be up", "there is no folder /no/such", "no program ./no-such in /no/such"] {
        assert!(out.contains(problem), "{problem}: {out}{err}");
    }
    // A circle is named, and no host is needed for that.
    here.put("reveille.toml", "[service.a]\ndependencies = [\"b\"]\n[service.b]\ndependencies = [\"a\"]\n");
    let (code, out, _) = here.says(&["check", "--offline"]);
    assert!(code == 2 && out.contains("a → b → a"), "{out}");
}

const RUN: &str = "[service.\"sso.api\".run]\ncommand = \"/usr/bin/node server.js\"\nuser = \"web\"\n";

#[test]
fn s3_137_unit_files_are_shown_and_written_and_never_over_others() {
    let here = Here::new();
    let (code, _, err) = here.says(&["units"]);
    assert!(code == 2 && err.contains("[service.NAME.run]"), "{err}");
    here.put(
        "reveille.toml",
        &format!("{MANIFEST}{RUN}[service.\"far.api\"]\nhost = \"elsewhere-1\"\nrun = {{ command = \"x\" }}\n"),
    );
    let (code, shown, err) = here.says(&["units"]);
    assert!(code == 0 && shown.contains("ExecStart=/usr/bin/node server.js\n"), "{shown}{err}");
    assert!(
        shown.contains("Wants=lilith-sso-redis.service network.target")
            && !shown.contains("ExecStart=x")
            && err.contains("far.api"),
        "{shown}{err}"
    );
    let (code, _, err) = here.says(&["units", "--service", "sso.redis"]);
    assert!(code == 2 && err.contains("does not say how it is run"), "{err}");
    let (code, _, err) = here.says(&["units", "--service", "sso.apii"]);
    assert!(code == 2 && err.contains("there are: sso.redis, sso.api, far.api"), "{err}");
    assert_ne!(here.says(&["units", "--replace"]).0, 0, "--replace says nothing without --to");

    let folder = here.0.path().join("system");
    let to = folder.display().to_string();
    let (code, _, err) = here.says(&["units", "--to", &to]);
    assert!(code == 1 && err.contains("must be there"), "{err}");
    std::fs::create_dir(&folder).unwrap();
    let unit = folder.join("lilith-sso-api.service");
    let (code, out, err) = here.says(&["units", "--to", &to]);
    assert!(code == 0 && out.contains("daemon-reload") && out.contains("enable --now lilith-sso-api.service"), "{out}{err}");
    assert_eq!(std::fs::read_to_string(&unit).unwrap(), shown);
    assert_eq!(std::fs::metadata(&unit).unwrap().permissions().mode() & 0o777, 0o644);
    let (code, out, _) = here.says(&["units", "--to", &to, "--output", "json"]);
    let told: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, &told["units"][0]["written"]), (0, &"unchanged".into()));

    // What somebody else wrote stays, and nothing beside it is written.
    std::fs::write(&unit, "[Service]\n").unwrap();
    let both = ["units", "--service", "far.api", "--service", "sso.api", "--to", &to];
    let (code, _, err) = here.says(&both);
    assert!(code == 3 && err.contains("--replace") && err.contains("nothing was written"), "{err}");
    assert_eq!(std::fs::read_to_string(&unit).unwrap(), "[Service]\n");
    assert!(!folder.join("lilith-far-api.service").exists());
    let (code, out, err) = here.says(&[&both[..], &["--replace"]].concat());
    assert!(code == 0 && out.contains("enable --now lilith-far-api.service"), "{out}{err}");
    assert!(out.contains("reveille restart --service sso.api"), "{out}");
    assert_eq!(std::fs::read_to_string(&unit).unwrap(), shown);
    // A masked unit is somebody's will.
    std::fs::remove_file(&unit).unwrap();
    std::os::unix::fs::symlink("/dev/null", &unit).unwrap();
    assert_eq!(here.says(&["units", "--to", &to]).0, 3);
    let draft = |entry: std::io::Result<std::fs::DirEntry>| entry.unwrap().file_name().to_string_lossy().starts_with('.');
    assert!(!std::fs::read_dir(&folder).unwrap().any(draft), "no draft is left");
    here.nothing_was_done();
}

/// What a restart comes back to is what runs: not what was written first, and not what was written last.
#[test]
fn a_unit_file_that_is_replaced_is_kept_for_the_run_that_was_started_from_it() {
    let here = Here::new();
    let folder = here.0.path().join("system");
    let at = |name: &str| folder.join(name);
    std::fs::create_dir(&folder).unwrap();
    let unit = "lilith-sso-api.service";
    std::fs::write(at(unit), "first").unwrap();
    std::fs::set_permissions(at(unit), std::fs::Permissions::from_mode(0o640)).unwrap();
    std::fs::write(at("lilith-sso-api.service.replaced.by-hand"), "notes").unwrap();
    let replace = |command: &str| {
        here.put("reveille.toml", &format!("{MANIFEST}[service.\"sso.api\".run]\ncommand = \"{command}\"\n"));
        let to = folder.display().to_string();
        let (code, out, err) = here.says(&["units", "--to", &to, "--replace", "--output", "json"]);
        let told: Value = serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {out}{err}"));
        assert!(
            code == 0 && std::fs::read_to_string(at(unit)).unwrap().contains(&format!("ExecStart={command}\n")),
            "{out}{err}"
        );
        (told["units"][0]["kept"].as_str().unwrap().to_owned(), err)
    };
    let text = |name: &str| std::fs::read_to_string(at(name)).unwrap();
    let of_the_run = format!("{unit}.replaced.{RUNS}");
    let (kept, _) = replace("second");
    assert_eq!(kept, at(&of_the_run).display().to_string());
    assert_eq!(text(&of_the_run), "first");
    assert_eq!(std::fs::metadata(at(&of_the_run)).unwrap().permissions().mode() & 0o777, 0o640);
    // Nothing was started in between: the first one is what runs.
    replace("third");
    assert_eq!(text(&of_the_run), "first");
    // Something was: the third one runs, and the first is of no more use.
    here.put("run", "1d4f3a525c1d4a398ad55e0f5f1f9a12");
    replace("fourth");
    assert!(text(&format!("{unit}.replaced.1d4f3a525c1d4a398ad55e0f5f1f9a12")).contains("ExecStart=third\n"));
    assert!(!at(&of_the_run).exists());
    assert_eq!(text("lilith-sso-api.service.replaced.by-hand"), "notes");
    // Of what does not run the last one is kept.
    here.put("run", "");
    for (command, before) in [("fifth", "fourth"), ("sixth", "fifth")] {
        assert_eq!(replace(command).0, at("lilith-sso-api.service.replaced").display().to_string());
        assert!(text("lilith-sso-api.service.replaced").contains(&format!("ExecStart={before}\n")));
    }
    // What cannot be asked is told.
    here.put("run", "?");
    let (_, err) = replace("seventh");
    assert!(err.contains("could not be looked at") && err.contains("InvocationID"), "{err}");
    here.put("run", RUNS);
    here.put("reveille.toml", &format!("{MANIFEST}{RUN}"));
    let (code, out, err) = here.says(&["units", "--to", &folder.display().to_string(), "--replace"]);
    assert!(code == 0 && out.contains(&format!("kept the old   {}", at(&of_the_run).display())), "{out}{err}");
    here.nothing_was_done();
}

#[test]
fn a_unit_that_is_not_there_and_could_be_written_is_told_so() {
    let here = Here::new();
    here.put("reveille.toml", &format!("{MANIFEST}{RUN}"));
    here.put("gone", "lilith-sso-api.service\nlilith-sso-redis.service\n");
    let (code, out, err) = here.says(&["check"]);
    assert!(code == 2 && out.contains("reveille units --service sso.api"), "{out}{err}");
    assert!(!out.contains("reveille units --service sso.redis"), "{out}");
}

#[test]
fn a_first_manifest_is_written_and_never_over_another_one() {
    let here = Here::new();
    let (code, _, err) = here.says(&["init", "--unit", "lilith-sso-api", "--unit", "lilith-sso-redis"]);
    assert!(code == 3 && err.contains("--force"), "{err}");
    let (code, out, err) = here.says(&["init", "--unit", "lilith-sso-api", "--unit", "lilith-sso-redis", "--to", "new.toml"]);
    assert!(code == 0 && out.contains("check --manifest new.toml"), "{out}{err}");
    let (code, out, err) = here.says(&["check", "--offline", "--manifest", "new.toml"]);
    assert_eq!(code, 0, "{out}{err}");
    let (code, out, _) = here.says(&["schema"]);
    assert!(code == 0 && serde_json::from_str::<Value>(&out).unwrap()["properties"].is_object());
}
