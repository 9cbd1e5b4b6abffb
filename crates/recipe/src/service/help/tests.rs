use super::*;
use crate::testing::{drive, said};

const SS: &str = "LISTEN 0      511          0.0.0.0:3001       0.0.0.0:*    users:((\"node\",pid=812,fd=18))\n\
                  LISTEN 0      128             [::]:22            [::]:*    users:((\"sshd\",pid=1,fd=3))\n\
                  LISTEN 0      128             [::]:13001         [::]:*\n";
const NEEDED: &str = "web.service\n  system.slice\n\u{25cf} db.service\n  network.target\n  gone.service\n";
const STATES: &str = "Id=db.service\nLoadState=loaded\nActiveState=failed\nSubState=failed\nResult=exit-code\n\n\
                      Id=gone.service\nLoadState=not-found\nActiveState=inactive\nSubState=dead\nResult=success\n\n\
                      Id=network.target\nLoadState=loaded\nActiveState=active\nSubState=active\n\n\
                      Id=system.slice\nLoadState=loaded\nActiveState=active\nSubState=active\n";
const ENV: &str = "LoadState=loaded\nEnvironment=NODE_ENV=production \"DB_URL=postgres://u:hunter2@db a=b\" TOKEN=x\n\
                   EnvironmentFiles=/etc/default/web (ignore_errors=no)\n";

fn help(answer: impl Fn(&str) -> Output) -> ServiceHelp {
    drive(service_help("web.service", Some(3001)), |line, _| (answer(line), Millis(1))).1
}

fn good(line: &str) -> Output {
    match line {
        l if l.starts_with("journalctl ") => said("2026-01-19T12:00:00+0000 h node[812]: listening\n"),
        l if l.starts_with("ss ") => said(SS),
        l if l.contains("list-dependencies") => said(NEEDED),
        l if l.contains("Environment") => said(ENV),
        l if l.starts_with("systemctl show") => said(STATES),
        l if l.starts_with("stat ") => said("2026-01-19 11:59:58.123456789 +0000\n"),
        l => panic!("{l}"),
    }
}

#[test]
fn s3_95_to_97_what_a_person_needs_is_read() {
    let help = help(good);
    assert_eq!(help.journal.known().map(Vec::len), Some(1));
    let listening = help.listening.unwrap();
    assert!(matches!(listening.known().map(Vec::as_slice), Some([one]) if one.contains("node")), "{listening:?}");
    assert_eq!(help.failed_dependencies.known().unwrap(), &["db.service: failed/failed", "gone.service: not-found"]);
    assert_eq!(help.environment.known().unwrap(), &["NODE_ENV", "DB_URL", "TOKEN"]);
    assert_eq!(help.environment_files.known().unwrap(), &["/etc/default/web"]);
    let backup = "/etc/systemd/system/web.service.backup of 2026-01-19 11:59:58".to_owned();
    assert_eq!(help.backup, Readable::Known(Some(backup)));
}

#[test]
fn a_value_of_the_environment_is_never_told() {
    let of = |line: &str| environment(&format!("LoadState=loaded\nEnvironment={line}\n"));
    assert!(!format!("{:?}", help(good)).contains("hunter2"));
    for odd in ["A=1 hunter2", "\"A=1", "A=1 \"B=hunter2", "hun ter2=", "=hunter2", "A=1 'B=\\' hunter2"] {
        let told = of(odd);
        assert!(!format!("{told:?}").contains("hunter2") && told.is_err(), "{odd}: {told:?}");
    }
    assert_eq!(of("$'A=1\\n hunter2=3' \"B=\\\"hunter2=x\\\"\"").unwrap(), ["A", "B"]);
    assert_eq!(of("").unwrap(), [""; 0]);
}

#[test]
fn each_part_fails_by_itself() {
    let missing = Output { exit: Some(127), stderr: "not found".into(), ..Output::default() };
    for tool in ["journalctl", "ss ", "list-dependencies", "Environment", "Id,Result", "stat "] {
        let help = help(|line| if line.contains(tool) { missing.clone() } else { good(line) });
        let unread = [
            help.journal.known().is_none(),
            help.listening.as_ref().is_some_and(|l| l.known().is_none()),
            help.failed_dependencies.known().is_none(),
            help.environment.known().is_none(),
            help.backup.known().is_none(),
        ];
        assert_eq!(unread.iter().filter(|yes| **yes).count(), 1, "{tool}: {help:?}");
    }
    let none = Output { exit: Some(1), stderr: "stat: cannot statx 'x': No such file or directory".into(), ..Output::default() };
    assert_eq!(help(|line| if line.starts_with("stat") { none.clone() } else { good(line) }).backup, Readable::Known(None));
    let nothing = drive(service_help("x y", None), |line, _| panic!("{line}")).1;
    assert!(nothing.journal.known().is_none() && nothing.backup.known().is_none());
}

#[test]
fn s3_85_a_rollback_by_hand_is_told_word_by_word() {
    let commands = manual_rollback(&ByHand::of("lilith-sso-api.service"));
    assert_eq!(
        commands,
        [
            "sudo systemctl stop lilith-sso-api.service",
            "sudo cp /etc/systemd/system/lilith-sso-api.service.backup /etc/systemd/system/lilith-sso-api.service",
            "sudo systemctl daemon-reload",
            "sudo systemctl start lilith-sso-api.service",
            "sudo systemctl status lilith-sso-api.service",
        ]
    );
}

/// S3's commands in their order, and between them what a run with a deploy has left.
#[test]
fn s3_85_after_a_deploy_the_old_tree_the_drop_ins_and_a_packaged_unit_are_named() {
    let key: OrchestrationId = "00000000-0000-0000-0000-000000000001".parse().unwrap();
    let deploy = model::Deploy {
        source: "/tmp/new".to_owned(),
        destination: "/srv/my api/".to_owned(),
        exclude: Vec::new(),
        keep: Vec::new(),
        unit_file: Some("api.service".to_owned()),
    };
    let ours = "/etc/systemd/system/api.service".to_owned();
    let with = |unit_file: &str| {
        manual_rollback(&ByHand {
            unit: "api.service".to_owned(),
            unit_file: Some(unit_file.to_owned()),
            deploy: Some((key, deploy.clone())),
        })
    };
    let commands = with(&ours);
    let plain = manual_rollback(&ByHand { unit_file: Some(ours), ..ByHand::of("api.service") });
    assert_eq!(plain, manual_rollback(&ByHand::of("api.service")));
    let kept: Vec<&String> = commands.iter().filter(|line| plain.contains(line)).collect();
    assert_eq!(kept, plain.iter().collect::<Vec<_>>());
    assert_eq!(commands.len(), plain.len() + 4);
    for (line, kind) in commands[1..4].iter().zip(["was a folder", "was a link", "was not there"]) {
        assert!(line.contains(&format!("'/srv/my api.reveille/{key}' '/srv/my api'  # if /srv/my api {kind}")), "{line}");
    }
    let drops = "/etc/systemd/system/api.service.d";
    let drop_ins = format!("sudo test -d {drops}.backup && sudo rm -rf {drops} && sudo cp -a {drops}.backup {drops}");
    assert_eq!(commands[5], drop_ins);
    // A package's own file is never written to.
    let packaged = with("/usr/lib/systemd/system/api.service");
    assert_eq!(packaged[4], "sudo rm -f /etc/systemd/system/api.service  # /usr/lib/systemd/system/api.service counts again");
    assert!(!packaged.iter().any(|line| line.contains("sudo cp /")), "{packaged:?}");
    // Where nothing was put over it there is nothing to take away.
    let untouched = manual_rollback(&ByHand {
        unit_file: Some("/usr/lib/systemd/system/api.service".to_owned()),
        ..ByHand::of("api.service")
    });
    assert_eq!(
        untouched,
        ["stop api.service", "daemon-reload", "start api.service", "status api.service"].map(|w| format!("sudo systemctl {w}"))
    );
    // One with a name of its own goes back to where it was.
    let alias = with("/etc/systemd/system/main.service");
    assert_eq!(alias[4], "sudo cp /etc/systemd/system/api.service.backup /etc/systemd/system/main.service");
}
