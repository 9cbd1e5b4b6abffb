use std::time::{Duration, Instant};

use model::{BootIdentity, ServiceVerb};

use super::super::tests::{Host, Mounted, UNIT, key, why};
use super::*;

fn migration(host: &Host, n: u128, line: &str, limit: Millis) -> ServiceVerb {
    let migrate = Migrate::Command { argv: vec!["sh".into(), "-c".into(), line.into()], directory: host.path("units") };
    verb(n, migrate, limit)
}

fn verb(n: u128, migrate: Migrate, limit: Millis) -> ServiceVerb {
    let expect_boot = BootIdentity::new("acc35e4d-d43e-4d08-b999-d55965f1cce1", 53).unwrap();
    ServiceVerb::Migrate { migrate, key: key(n), expect_boot, limit }
}

fn ran(verdict: &Verdict) -> Ran {
    match verdict {
        Verdict::Completed { observed: Some(Observed::Ran(ran)), .. } => ran.clone(),
        other => panic!("{other:?}"),
    }
}

fn runs(host: &Host) -> usize {
    std::fs::read_to_string(host.at("units/runs")).unwrap_or_default().lines().count()
}

#[test]
fn s3_86_87_it_is_run_once_in_its_folder_and_a_repeat_tells_the_same() {
    for shell in crate::testing::shells() {
        let host = Host::with(&shell);
        let verb = migration(&host, 1, "echo x >> runs; pwd; echo why >&2; exit 3", Millis::secs(20));
        let first = ran(&host.perform(&verb));
        assert_eq!((first.exit, first.timed_out), (Some(3), false));
        assert_eq!(first.out.tail, format!("{}\n", host.path("units")));
        assert_eq!((first.err.tail.as_str(), first.err.bytes), ("why\n", 4));
        assert_eq!(ran(&host.perform(&verb)), first);
        assert_eq!(runs(&host), 1);
        ran(&host.perform(&migration(&host, 2, "echo x >> runs", Millis::secs(20))));
        assert_eq!(runs(&host), 2, "another run is another migration");
    }
}

#[test]
fn of_many_at_the_same_time_one_runs_it() {
    let host = Host::new();
    // All of them have seen that there is no claim when the first one makes it.
    host.tool("mkdir", "sleep 0.3; PATH=/usr/bin:/bin; exec mkdir \"$@\"");
    let verb = migration(&host, 1, "echo x >> runs; sleep 0.5; echo done", Millis::secs(20));
    std::thread::scope(|scope| {
        let all: Vec<_> = (0..6).map(|_| scope.spawn(|| ran(&host.perform(&verb)))).collect();
        for one in all {
            assert_eq!(one.join().unwrap().out.tail, "done\n");
        }
    });
    assert_eq!(runs(&host), 1);
}

#[test]
fn it_outlives_whoever_asked_for_it() {
    let host = Host::new();
    let verb = migration(&host, 1, "echo x >> runs; sleep 1; echo done", Millis::secs(20));
    let mut script = host.script(&verb);
    let Next::Run(look) = script.next(None, Millis(0)) else { panic!() };
    let Next::Run(run) = script.next(Some(&host.run(&look)), Millis(0)) else { panic!() };
    use std::os::unix::process::CommandExt as _;
    let mut caller = std::process::Command::new("sh")
        .args(&run.argv[1..])
        .process_group(0)
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    while runs(&host) == 0 {
        std::thread::sleep(Duration::from_millis(10));
    }
    let group = format!("-{}", caller.id());
    assert!(std::process::Command::new("kill").args(["-KILL", "--", &group]).status().unwrap().success());
    assert_eq!(caller.wait().unwrap().code(), None);
    assert_eq!(ran(&host.perform(&verb)).out.tail, "done\n");
    assert_eq!(runs(&host), 1);
}

#[test]
fn at_its_limit_all_of_it_is_killed() {
    let host = Host::new();
    let begun = Instant::now();
    let verb = migration(&host, 1, "sleep 60 & echo $! > child; echo begun; wait", Millis::secs(1));
    let ran = ran(&host.perform(&verb));
    assert_eq!((ran.exit, ran.timed_out, ran.out.tail.as_str()), (None, true, "begun\n"));
    assert!(begun.elapsed() < Duration::from_secs(20));
    let child = host.read("units/child");
    let alive = std::fs::read_to_string(format!("/proc/{}/stat", child.trim())).is_ok_and(|stat| !stat.contains(") Z "));
    assert!(!alive, "{child}");
}

/// The runner is run by this shell, too.
fn host_of(shell: &[String]) -> Host {
    let host = Host::with(shell);
    // Found beyond itself.
    host.tool(
        "sh",
        &format!("real=$(PATH=/usr/bin:/bin command -v {}); exec \"$real\" {} \"$@\"", shell[0], shell[1..].join(" ")),
    );
    host
}

fn lives(host: &Host) -> bool {
    let pid = host.read("units/child");
    std::fs::read_to_string(format!("/proc/{}/stat", pid.trim())).is_ok_and(|stat| !stat.contains(") Z "))
}

#[test]
fn at_its_limit_it_is_killed_also_where_nothing_can_be_written() {
    for shell in crate::testing::shells() {
        let host = host_of(&shell);
        let Some(_mounted) = Mounted::at(host.at("run"), "size=1m,nr_inodes=64") else { return };
        let fill = "i=0; while touch ../run/$i 2> /dev/null; do i=$((i + 1)); done";
        let line = format!("{fill}; sleep 60 & echo $! > child; wait");
        let (code, words) = why(&host.perform(&migration(&host, 1, &line, Millis::secs(1))));
        assert!(code == ErrorCode::OutcomeUnknown && words.contains("its end was not seen"), "{shell:?} {words}");
        assert!(!lives(&host), "{shell:?}");
    }
}

#[test]
fn a_stream_that_cannot_be_begun_anew_ends_no_watch() {
    for shell in crate::testing::shells() {
        let host = host_of(&shell);
        let Some(mounted) = Mounted::at(host.at("fixed"), "size=64k") else { return };
        host.write("fixed/long", "0123456789");
        mounted.remount("remount,ro");
        let out = host.path(&format!("run/migrations/{}-{UNIT}/out", key(1)));
        let line = format!("ln -sf {} {out}; sleep 60 & echo $! > child; wait", host.path("fixed/long"));
        let verb = migration(&host, 1, &line, Millis::secs(2));
        let verdict = crate::testing::really_with(host.script(&verb), |run| {
            let argv = run.argv.iter().map(|word| word.replace("most=16777216", "most=5")).collect();
            host.run(&Invocation { argv, ..run.clone() })
        });
        let ran = ran(&verdict);
        assert_eq!((ran.exit, ran.timed_out, ran.out.bytes), (None, true, 10), "{shell:?}");
        assert!(!lives(&host), "{shell:?}");
    }
}

#[test]
fn an_end_by_a_signal_is_told() {
    let host = Host::new();
    let ran = ran(&host.perform(&migration(&host, 1, "kill -TERM $$", Millis::secs(20))));
    assert_eq!((ran.exit, ran.timed_out, ran.is_good()), (None, false, false));
}

#[test]
fn a_claim_without_an_end_and_without_a_process_is_unknown() {
    let host = Host::new();
    let verb = migration(&host, 1, "echo x >> runs", Millis::secs(20));
    host.write(&format!("run/migrations/{}-{UNIT}/out", key(1)), "");
    let (code, words) = why(&host.perform(&verb));
    assert!(code == ErrorCode::OutcomeUnknown && words.contains("its end was not seen"), "{words}");
    assert_eq!(runs(&host), 0);
}

#[test]
fn without_a_claim_or_a_folder_it_is_not_run() {
    let host = Host::new();
    let migrate = Migrate::Command { argv: vec!["true".into()], directory: host.path("nowhere") };
    assert_eq!(why(&host.perform(&verb(1, migrate, Millis(1000)))).0, ErrorCode::NotFound);
    for (argv, directory) in [(vec![], "/"), (vec!["x"], "relative"), (vec!["-x"], "/"), (vec![""], "/")] {
        let argv = argv.into_iter().map(str::to_owned).collect();
        let migrate = Migrate::Command { argv, directory: directory.into() };
        assert_eq!(why(&host.perform(&verb(1, migrate, Millis(1000)))).0, ErrorCode::Malformed);
    }
    std::fs::remove_dir(host.at("run")).unwrap();
    host.write("run", "");
    let (code, _) = why(&host.perform(&migration(&host, 1, "echo x >> runs", Millis(1000))));
    assert_eq!((code, runs(&host)), (ErrorCode::LedgerFailed, 0));
}

#[test]
fn what_is_not_there_ends_with_127_and_a_program_of_the_folder_is_found() {
    let host = Host::new();
    let of = |n: u128, name: &str| {
        verb(n, Migrate::Command { argv: vec![name.into()], directory: host.path("bin") }, Millis::secs(20))
    };
    assert_eq!(ran(&host.perform(&of(1, "nowhere-to-be-found"))).exit, Some(127));
    host.tool("tool", "echo mine");
    assert_eq!(ran(&host.perform(&of(2, "tool"))).out.tail, "mine\n");
    assert_eq!(ran(&host.perform(&of(3, "./tool"))).out.tail, "mine\n");
}

#[test]
fn much_output_is_cut_to_its_end() {
    let host = Host::new();
    let line = "i=0; while [ $i -lt 3000 ]; do echo 0123456789; i=$((i+1)); done; printf '\\303\\244\\377end'";
    let ran = ran(&host.perform(&migration(&host, 1, line, Millis::secs(20))));
    assert_eq!(ran.out.bytes, 33_006);
    assert!(ran.out.is_cut() && ran.out.tail.len() <= Stream::MOST && ran.out.tail.ends_with("ä\u{fffd}end"));
}

#[test]
fn a_named_migration_is_run_only_when_root_alone_can_have_put_it_there() {
    let host = Host::new();
    host.write("commands/up", "#!/bin/sh\necho up\n");
    let named = |name: &str| verb(1, Migrate::Named { name: name.into() }, Millis::secs(20));
    assert_eq!(why(&host.perform(&named("../up"))).0, ErrorCode::Malformed);
    assert_eq!(why(&host.perform(&named("down"))).0, ErrorCode::NotFound);
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(host.at("commands/up"), std::fs::Permissions::from_mode(0o777)).unwrap();
    assert_eq!(why(&host.perform(&named("up"))).0, ErrorCode::Refused);
    std::fs::set_permissions(host.at("commands/up"), std::fs::Permissions::from_mode(0o755)).unwrap();
    let verdict = host.perform(&named("up"));
    // Who is not root owns the folder.
    if std::fs::metadata(host.at("commands/up")).is_ok_and(|meta| std::os::unix::fs::MetadataExt::uid(&meta) == 0) {
        assert_eq!(ran(&verdict).out.tail, "up\n");
    }
}

#[test]
fn an_answer_that_is_cut_off_is_unknown() {
    let host = Host::new();
    let verb = migration(&host, 1, "echo one", Millis::secs(20));
    let mut whole = Output::default();
    crate::testing::really_with(host.script(&verb), |run| {
        whole = host.run(run);
        whole.clone()
    });
    assert!(read(&whole).is_ok());
    for cut in 0..whole.stdout.len() {
        let output = Output { stdout: whole.stdout[..cut].to_owned(), ..whole.clone() };
        assert_eq!(read(&output).unwrap_err().code, ErrorCode::OutcomeUnknown, "{cut}");
    }
    for bad in crate::testing::broken(&whole.stdout).into_iter().filter(|bad| !bad.succeeded()) {
        assert_eq!(read(&bad).unwrap_err().code, ErrorCode::OutcomeUnknown);
    }
}
