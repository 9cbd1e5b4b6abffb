use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use uuid::Uuid;

use super::*;
use crate::testing::{broken, drive, really, really_with, recorded, run, said, shells};

const BLOCKED: &str = include_str!("../../../recorded/systemd/reboot-blocked.txt");
const STAT: &str = include_str!("../../../recorded/systemd/proc-1-stat.txt");
const BOOT_1: &str = "acc35e4d-d43e-4d08-b999-d55965f1cce1";
const BOOT_2: &str = "bcc35e4d-d43e-4d08-b999-d55965f1cce1";

/// A far end in a folder: its `/proc`, `/run`, `/var` and tools.
struct Far {
    folder: tempfile::TempDir,
    shell: Vec<String>,
}

impl Far {
    fn new(shell: &[String]) -> Self {
        let far = Self { folder: tempfile::tempdir().unwrap(), shell: shell.to_vec() };
        for name in ["run", "var", "bin", "systemd", "proc/1", "proc/sys/kernel/random"] {
            std::fs::create_dir_all(far.at(name)).unwrap();
        }
        far.boot(BOOT_1);
        std::fs::write(far.at("proc/1/stat"), recorded(STAT).stdout).unwrap();
        let answers = "case $1 in --help) echo '  --check-inhibitors=MODE';; is-system-running) echo running;; esac";
        far.tool("systemctl", answers);
        let bus = "case $* in *Preparing*) echo '{\"type\":\"b\",\"data\":false}';; \
                   *) echo '{\"type\":\"(st)\",\"data\":[\"\",18446744073709551615]}';; esac";
        far.tool("busctl", bus);
        far
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn boot(&self, id: &str) {
        std::fs::write(self.at("proc/sys/kernel/random/boot_id"), format!("{id}\n")).unwrap();
    }

    /// A tool that notes what it was asked for.
    fn tool(&self, name: &str, script: &str) {
        let path = self.at("bin").join(name);
        let asked = self.at("asked");
        std::fs::write(&path, format!("#!/bin/sh\necho \"{name} $*\" >> {}\n{script}\n", asked.display())).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn order(&self, command: u128) -> Order {
        let text = |name: &str| self.at(name).display().to_string();
        let places =
            Places { run: text("run/reveille"), claims: text("var/claims"), proc: text("proc"), systemd: text("systemd") };
        Order {
            command: CommandId(Uuid::from_u128(command)),
            expect: BootIdentity::new(BOOT_1, 53).unwrap(),
            power_off: false,
            ignore_inhibitors: false,
            places,
        }
    }

    fn path(&self) -> String {
        self.at("bin").display().to_string()
    }

    fn give(&self, order: &Order) -> Answer {
        really(order.give(), &self.shell, &self.path())
    }

    fn close(&self, order: &Order) -> Closed {
        really(order.close(ErrorCode::NotBegun, "nothing came of it"), &self.shell, &self.path())
    }

    /// How often the host was told to go down.
    fn orders(&self) -> Vec<String> {
        let asked = std::fs::read_to_string(self.at("asked")).unwrap_or_default();
        let down = |l: &&str| ["systemctl reboot", "systemctl poweroff", "shutdown ", "reboot "].iter().any(|w| l.starts_with(w));
        asked.lines().filter(down).map(|l| l.trim_end().to_owned()).collect()
    }
}

fn everywhere(test: impl Fn(&Far)) {
    let shells = shells();
    assert!(!shells.is_empty());
    for shell in shells {
        test(&Far::new(&shell));
    }
}

fn code(answer: &Answer) -> ErrorCode {
    match answer {
        Answer::Failed { code, .. } => *code,
        other => panic!("{other:?}"),
    }
}

#[test]
fn g2_an_order_is_given_once_and_a_repeat_finds_the_claim() {
    everywhere(|far| {
        let order = far.order(1);
        assert_eq!(far.give(&order), Answer::Ordered);
        assert_eq!(far.orders(), ["systemctl reboot --check-inhibitors=yes --no-ask-password"]);
        assert_eq!(far.give(&order), Answer::Open);
        far.boot(BOOT_2);
        let boot = BootIdentity::new(BOOT_2, 53).unwrap();
        assert_eq!(far.give(&order), Answer::Ended { boot }, "after the boot the claim is still known");
        std::fs::remove_dir_all(far.at("run/reveille")).unwrap();
        assert_eq!(far.give(&order), Answer::Ended { boot });
        assert_eq!(code(&far.give(&far.order(2))), ErrorCode::BootDiffers);
        assert_eq!(far.orders().len(), 1);
        assert!(!far.at("var/claims").join(far.order(2).command.to_string()).exists());
    });
}

#[test]
fn g2_of_claims_at_the_same_time_exactly_one_orders() {
    everywhere(|far| {
        // The same command many times, and others beside it.
        let orders: Vec<Order> = (0..24).map(|n| far.order(if n % 2 == 0 { 1 } else { n })).collect();
        let answers: Vec<Answer> = std::thread::scope(|scope| {
            let runs: Vec<_> = orders.iter().map(|order| scope.spawn(|| far.give(order))).collect();
            runs.into_iter().map(|run| run.join().unwrap()).collect()
        });
        assert_eq!(far.orders().len(), 1, "{answers:?}");
        assert_eq!(answers.iter().filter(|a| **a == Answer::Ordered).count(), 1, "{answers:?}");
        for answer in &answers {
            assert!(matches!(answer, Answer::Ordered | Answer::Open) || code(answer) == ErrorCode::Refused, "{answer:?}");
        }
    });
}

#[test]
fn an_inhibitor_makes_it_refuse_and_another_command_may_try_again() {
    everywhere(|far| {
        let blocked = recorded(BLOCKED).stderr.replace('"', "\\\"").replace('\'', "");
        let help = "--help) echo '  --check-inhibitors=MODE'; exit;;";
        far.tool("systemctl", &format!("case $* in {help} *check-inhibitors=no*) exit 0;; esac\necho \"{blocked}\" >&2; exit 1"));
        let order = far.order(1);
        let answer = far.give(&order);
        let Answer::Failed { code: ErrorCode::Refused, message } = &answer else { panic!("{answer:?}") };
        assert!(message.contains("Operation inhibited by \"backup job\""), "{message}");
        let again = far.give(&order);
        assert_eq!(code(&again), ErrorCode::Refused);
        assert!(matches!(&again, Answer::Failed { message, .. } if message.contains("backup job")), "{again:?}");
        assert_eq!(far.orders().len(), 1, "a repeat asks for nothing");
        let forced = Order { ignore_inhibitors: true, power_off: true, ..far.order(2) };
        assert_eq!(far.give(&forced), Answer::Ordered);
        assert_eq!(far.orders()[1], "systemctl poweroff --check-inhibitors=no --no-ask-password");
    });
}

#[test]
fn before_systemd_248_the_inhibitors_are_looked_at_by_us() {
    everywhere(|far| {
        far.tool("systemctl", "exit 0");
        far.tool("loginctl", "exit 0");
        far.tool("systemd-inhibit", "echo 'backup 0 root 232 systemd-inhibit shutdown copying block'");
        assert_eq!(code(&far.give(&far.order(1))), ErrorCode::Refused);
        far.tool("systemd-inhibit", "echo 'no bus' >&2; exit 1");
        assert_eq!(code(&far.give(&far.order(2))), ErrorCode::Refused, "what cannot be asked blocks");
        assert!(far.orders().is_empty());
        far.tool("systemd-inhibit", "echo 'unattended 0 root 232 python3 shutdown stopping delay'");
        assert_eq!(far.give(&far.order(3)), Answer::Ordered);
        assert_eq!(far.orders(), ["systemctl reboot --no-ask-password"]);
    });
}

#[test]
fn a_login_by_sudo_is_not_stopped_by_itself_but_by_others() {
    everywhere(|far| {
        far.tool("systemd-inhibit", "exit 0");
        let sessions = |list: &str| {
            let show = "*show-session*' 3 '*) echo Type=tty; echo TTY=; echo Class=user;; \
                        *show-session*) echo TTY=pts/0; echo Type=tty; echo Class=user;;";
            far.tool("loginctl", &format!("case $* in *list-sessions*) printf '{list}';; {show} esac"));
        };
        let give = |order: &Order| {
            really_with(order.give(), |invocation| {
                let mut invocation = invocation.clone();
                invocation.env.push(("SUDO_UID".to_owned(), "1000".to_owned()));
                run(&invocation, &far.shell, &far.path())
            })
        };
        sessions("3 1000 alice - pts/0\\n4 1001 bob - pts/1\\n");
        let answer = give(&far.order(1));
        assert!(
            matches!(&answer, Answer::Failed { code: ErrorCode::Refused, message } if message.contains("user bob is logged in"))
        );
        assert!(far.orders().is_empty());
        // A colleague who came in by the same name, and sits at a terminal.
        sessions("3 1000 alice -\\n4 1000 alice - pts/1\\n");
        let answer = give(&far.order(2));
        assert!(
            matches!(&answer, Answer::Failed { code: ErrorCode::Refused, message } if message.contains("alice")),
            "{answer:?}"
        );
        sessions("3 1000 alice -\\n5 0 root - pts/2\\n");
        assert_eq!(give(&far.order(3)), Answer::Ordered);
        assert_eq!(far.orders(), ["systemctl reboot --check-inhibitors=no --no-ask-password"]);
    });
}

#[test]
fn without_systemd_shutdown_or_reboot_is_taken() {
    everywhere(|far| {
        std::fs::remove_dir(far.at("systemd")).unwrap();
        far.tool("shutdown", "exit 0");
        assert_eq!(far.give(&far.order(1)), Answer::Ordered);
        assert_eq!(far.orders(), ["shutdown -r now"]);
    });
}

#[test]
fn a_doubtful_no_is_believed_only_when_nothing_is_pending() {
    everywhere(|far| {
        let state = |word: &str| {
            let help = "--help) echo '  --check-inhibitors=MODE';;";
            far.tool(
                "systemctl",
                &format!("case $1 in {help} is-system-running) echo {word};; list-jobs) ;; *) echo lost >&2; exit 4;; esac"),
            );
        };
        state("stopping");
        assert_eq!(far.give(&far.order(1)), Answer::Ordered);
        assert_eq!(far.give(&far.order(1)), Answer::Open);
        assert_eq!(far.close(&far.order(1)), Closed::Closed);
        state("running");
        let answer = far.give(&far.order(2));
        assert!(
            matches!(&answer, Answer::Failed { code: ErrorCode::ToolFailed, message } if message.contains("lost")),
            "{answer:?}"
        );
        assert_eq!(far.give(&far.order(2)), answer);
    });
}

#[test]
fn a_closed_claim_orders_nothing_any_more() {
    everywhere(|far| {
        let order = far.order(1);
        assert_eq!(far.close(&order), Closed::NeverClaimed);
        // Closed before its script came to the order: a script that was slow finds that out.
        assert_eq!(code(&far.give(&order)), ErrorCode::Expired);
        assert!(far.orders().is_empty());
        assert_eq!(far.close(&order), Closed::NeverClaimed);
        assert_eq!(far.give(&far.order(2)), Answer::Ordered, "the way is free for another command");
        assert_eq!(far.close(&far.order(2)), Closed::Closed);
        assert_eq!(code(&far.give(&far.order(2))), ErrorCode::NotBegun);
        far.boot(BOOT_2);
        assert_eq!(code(&far.give(&far.order(2))), ErrorCode::NotBegun, "what was told stays told");
    });
}

#[test]
fn g1_after_absent_a_late_copy_of_the_claim_orders_nothing() {
    everywhere(|far| {
        let order = far.order(1);
        assert_eq!(really(order.look(), &far.shell, &far.path()), Answer::Absent);
        assert_eq!(code(&far.give(&order)), ErrorCode::Expired, "a copy that hung on the far end");
        assert_eq!(really(order.look(), &far.shell, &far.path()), Answer::Absent);
        assert!(far.orders().is_empty());
        assert_eq!(far.give(&far.order(2)), Answer::Ordered, "another command goes");
        assert_eq!(really(far.order(2).look(), &far.shell, &far.path()), Answer::Open);
        // Where it cannot be seen to, it is not said either.
        let order = far.order(3);
        std::fs::remove_dir_all(far.at("run")).unwrap();
        std::fs::write(far.at("run"), "").unwrap();
        assert_eq!(code(&really(order.look(), &far.shell, &far.path())), ErrorCode::LedgerFailed);
    });
}

#[test]
fn g1_a_claim_whose_order_is_still_being_given_is_not_closed() {
    everywhere(|far| {
        // It hangs until it is let go.
        let help = "--help) echo '  --check-inhibitors=MODE';; is-system-running) echo running;;";
        let hang = format!("while [ ! -e {} ]; do sleep 0.05; done", far.at("let").display());
        far.tool("systemctl", &format!("case $1 in {help} reboot) {hang};; esac"));
        let order = far.order(1);
        std::thread::scope(|scope| {
            let giving = scope.spawn(|| far.give(&order));
            while far.orders().is_empty() {
                std::thread::sleep(std::time::Duration::from_millis(20));
            }
            let closed = far.close(&order);
            std::fs::write(far.at("let"), "").unwrap();
            assert!(matches!(&closed, Closed::Unclear(why) if why.contains("still being given")), "{closed:?}");
            assert_eq!(giving.join().unwrap(), Answer::Ordered);
        });
        assert_eq!(far.close(&order), Closed::Closed);
    });
}

#[test]
fn a_question_about_inhibitors_that_hangs_decides_nothing() {
    everywhere(|far| {
        far.tool("systemctl", "exit 0");
        far.tool("loginctl", "exit 0");
        let hang = format!(
            "echo asked > {0}; while [ ! -e {1} ]; do sleep 0.05; done",
            far.at("hangs").display(),
            far.at("let").display()
        );
        far.tool("systemd-inhibit", &hang);
        let order = far.order(1);
        std::thread::scope(|scope| {
            let giving = scope.spawn(|| far.give(&order));
            while !far.at("hangs").exists() {
                std::thread::sleep(std::time::Duration::from_millis(20));
            }
            assert_eq!(far.close(&order), Closed::Closed);
            std::fs::write(far.at("let"), "").unwrap();
            assert_eq!(code(&giving.join().unwrap()), ErrorCode::NotBegun);
        });
        assert!(far.orders().is_empty());
    });
}

#[test]
fn pain_1_a_claim_that_nobody_closed_says_since_when_and_lets_others_through_after_half_an_hour() {
    everywhere(|far| {
        assert_eq!(far.give(&far.order(1)), Answer::Ordered);
        let answer = far.give(&far.order(2));
        let Answer::Failed { code: ErrorCode::Refused, message } = &answer else { panic!("{answer:?}") };
        assert!(message.contains("still open on this host since 20") && message.contains("rm /"), "{message}");
        let locks: Vec<_> = std::fs::read_dir(far.at("run/reveille")).unwrap().map(|e| e.unwrap().path()).collect();
        let lock = locks.iter().find(|path| path.to_string_lossy().contains("/open-")).unwrap();
        let old = std::time::SystemTime::now() - std::time::Duration::from_secs(45 * 60);
        std::fs::File::options().write(true).open(lock).unwrap().set_modified(old).unwrap();
        // Not while the host goes down.
        far.tool("systemctl", "case $1 in --help) echo '  --check-inhibitors=MODE';; is-system-running) echo stopping;; esac");
        assert_eq!(code(&far.give(&far.order(3))), ErrorCode::Refused);
        far.tool("systemctl", "case $1 in --help) echo '  --check-inhibitors=MODE';; is-system-running) echo running;; esac");
        assert_eq!(far.give(&far.order(4)), Answer::Ordered);
        assert_eq!(code(&far.give(&far.order(1))), ErrorCode::NotBegun, "the old one is over");
        assert_eq!(far.orders().len(), 2);
    });
}

#[test]
fn g2_a_claim_that_hangs_before_its_order_gives_none_once_another_was_let_through() {
    everywhere(|far| {
        assert_eq!(far.give(&far.order(1)), Answer::Ordered);
        // As if its script had stopped between lock and order.
        let run = far.at("run/reveille");
        let of = |end: &str| {
            let files = std::fs::read_dir(&run).unwrap().map(|e| e.unwrap().path());
            files.filter(|path| path.to_string_lossy().contains(end)).collect::<Vec<_>>()
        };
        let go = of(".go").pop().unwrap();
        std::fs::remove_file(&go).unwrap();
        let lock = of("/open-").pop().unwrap();
        let old = std::time::SystemTime::now() - std::time::Duration::from_secs(45 * 60);
        std::fs::File::options().write(true).open(lock).unwrap().set_modified(old).unwrap();
        assert_eq!(far.give(&far.order(2)), Answer::Ordered);
        assert_eq!(std::fs::read_to_string(&go).unwrap(), "closed\n", "it finds its order closed when it wakes");
    });
}

/// A file system with no room at all, where this user may make one; else a folder that nobody may write.
fn full(far: &Far, name: &str, room: bool) -> Option<Mounted> {
    let path = far.at(name);
    let size = if room { "size=16k,nr_inodes=64" } else { "size=4k,nr_inodes=2" };
    let mounted = std::process::Command::new("mount").args(["-t", "tmpfs", "-o", size, "tmpfs"]).arg(&path).status();
    mounted.is_ok_and(|status| status.success()).then_some(Mounted(path))
}

struct Mounted(PathBuf);

impl Drop for Mounted {
    fn drop(&mut self) {
        drop(std::process::Command::new("umount").arg(&self.0).status());
    }
}

fn fill(folder: &Path) {
    let dust = folder.join("dust");
    let mut text = vec![b'x'; 4096];
    while std::fs::write(&dust, &text).is_ok() {
        text.extend([b'x'; 4096]);
    }
}

#[test]
fn on_a_full_disk_nothing_is_done() {
    everywhere(|far| {
        for full_one in ["var", "run"] {
            // No folder, no file, no content: each is a way to have no room.
            for way in ["folder", "content"] {
                let order = far.order(1);
                let mounted = full(far, full_one, way == "content");
                if mounted.is_some() {
                    let inner = far.at(if full_one == "var" { "var/claims" } else { "run/reveille" });
                    if way == "content" {
                        std::fs::create_dir_all(&inner).unwrap();
                        fill(&far.at(full_one));
                    } else {
                        // Both inodes are taken.
                        drop(std::fs::write(far.at(full_one).join("dust"), b""));
                    }
                } else {
                    // Without the right to mount: a file stands in the place of the folder.
                    drop(std::fs::remove_dir(far.at(full_one)));
                    std::fs::write(far.at(full_one), b"").unwrap();
                }
                let answer = far.give(&order);
                assert_eq!(code(&answer), ErrorCode::LedgerFailed, "{full_one} {way}: {answer:?}");
                let Answer::Failed { message, .. } = &answer else { unreachable!() };
                let place = far.at(full_one).display().to_string();
                assert!(message.contains(&place) && !message.contains("REVEILLE"), "it says where and why: {message}");
                assert!(far.orders().is_empty());
                if mounted.is_none() {
                    std::fs::remove_file(far.at(full_one)).unwrap();
                    std::fs::create_dir(far.at(full_one)).unwrap();
                }
            }
        }
        assert_eq!(far.give(&far.order(1)), Answer::Ordered, "with room again the same command goes");
    });
}

#[test]
fn what_cannot_be_read_is_no_boot_and_no_claim() {
    everywhere(|far| {
        for bad in ["", "acc35e4d", "Connection closed by remote host!!!!!!"] {
            far.boot(bad);
            assert_eq!(code(&far.give(&far.order(1))), ErrorCode::ToolFailed, "{bad:?}");
        }
        far.boot(BOOT_1);
        std::fs::write(far.at("proc/1/stat"), "1 (systemd) S 0 1").unwrap();
        assert_eq!(code(&far.give(&far.order(1))), ErrorCode::ToolFailed);
        std::fs::write(far.at("proc/1/stat"), recorded(STAT).stdout.replace("(systemd)", "(a) b * 9 9)")).unwrap();
        std::fs::create_dir_all(far.at("var/claims")).unwrap();
        let claim = far.at("var/claims").join(far.order(1).command.to_string());
        std::fs::write(&claim, "").unwrap();
        assert_eq!(code(&far.give(&far.order(1))), ErrorCode::OutcomeUnknown, "an empty claim says nothing");
        assert!(far.orders().is_empty());
        assert_eq!(far.give(&far.order(2)), Answer::Ordered, "an odd name of process 1");
    });
}

#[test]
fn an_answer_that_is_broken_or_cut_off_is_unclear_and_asking_again_is_safe() {
    everywhere(|far| {
        let order = far.order(1);
        let mut first = None;
        let unclear = really_with(order.give(), |invocation| {
            let whole = run(invocation, &far.shell, &far.path());
            first = Some(whole.stdout.clone());
            Output { exit: None, stdout: String::new(), ..whole }
        });
        assert!(matches!(unclear, Answer::Unclear(_)));
        assert_eq!(far.give(&order), Answer::Open);
        assert_eq!(far.orders().len(), 1);
        let good = first.unwrap();
        for cut in 0..good.len() {
            for output in [said(&good[..cut]), Output { exit: None, stdout: good[..cut].into(), ..Output::default() }] {
                let (_, answer) = drive(order.give(), |_, _| (output.clone(), Millis(1)));
                assert!(matches!(answer, Answer::Unclear(_) | Answer::Ordered), "{cut}: {answer:?}");
            }
        }
    });
    let order = Far::new(&["sh".to_owned()]).order(1);
    let ended = format!("REVEILLE claim=ended boot={BOOT_2}/53 with=- .\n");
    let read = |output: &Output| drive(order.give(), |_, _| (output.clone(), Millis(1))).1;
    assert_eq!(read(&said(&ended)), Answer::Ended { boot: BootIdentity::new(BOOT_2, 53).unwrap() });
    for cut in 0..ended.len() {
        assert!(matches!(read(&said(&ended[..cut])), Answer::Unclear(_)), "{cut}");
    }
    for bad in broken(&ended) {
        assert!(matches!(read(&bad), Answer::Unclear(_)), "{bad:?}");
    }
    // Ended on the boot that was to be ended, open on another: no.
    assert!(matches!(read(&said(&ended.replace(BOOT_2, BOOT_1))), Answer::Unclear(_)));
    assert!(matches!(read(&said(&ended.replace("ended", "open"))), Answer::Unclear(_)));
}
