use std::collections::BTreeMap;

use model::{
    Ack, AckStatus, Action, BootIdentity, Command, CommandId, ErrorCode, Fence, Millis, OrchestrationId, TargetId, Timestamp,
};
use uuid::Uuid;

use super::*;

fn moment() -> Moment {
    let boot = BootIdentity::new("0d4f3a52-5c1d-4a39-8ad5-5e0f5f1f9a11", 42).unwrap();
    let time = Some(Timestamp::from_millis(1_736_937_000_007));
    Moment { boot, boottime: Millis(61_000), wall: time, controller: None }
}

fn records() -> Vec<Record> {
    let (host, id) = (TargetId(Uuid::from_u128(7)), CommandId(Uuid::from_u128(1)));
    let at = moment();
    let action = Action::Reboot { expect_boot: at.boot, begin_within: Millis::secs(120), ignore_inhibitors: false };
    let command = Command {
        id,
        target: host,
        subject: host,
        action,
        orchestration: OrchestrationId(Uuid::from_u128(2)),
        attempt: 1,
        fence: Fence { epoch: 1, position: 9 },
        issued_at: Timestamp::from_millis(1_736_937_000_007),
        expires_at: Timestamp::from_millis(1_736_937_240_007),
    };
    let expires_at = command.expires_at;
    let error = Some(model::AckError { code: ErrorCode::NotBegun, message: "line\nend".to_owned() });
    let status = AckStatus::Failed;
    let ack = Ack { command: id, status, error, boot: at.boot, observed: None, already: false, report: None };
    vec![
        Record::Header { version: LEDGER_VERSION },
        Record::Controller { key: "AAAA".to_owned() },
        Record::Limits {
            floor: Fence { epoch: 1, position: 3 },
            fences: BTreeMap::from([(host, Fence { epoch: 1, position: 4 })]),
            stamps: vec![at],
            boots: vec![(at.boot, Millis(61_000))],
        },
        Record::Claimed { command: Box::new(command), at },
        Record::Executing { command: id, at: Moment { controller: at.wall, wall: None, ..at } },
        Record::Ended { ack: Box::new(ack), expires_at, at },
    ]
}

/// Written by version 0.1.0; must load for ever.
#[test]
fn a_ledger_of_an_old_version_still_loads() {
    let sample = include_bytes!("../../samples/ledger/0.1.0.ledger");
    let mut expected = records();
    expected[0] = Record::Header { version: 1 };
    assert_eq!(decode(sample).unwrap(), Decoded { records: expected, torn: 0 });
}

/// Version 2: commands, and how they ended.
#[test]
fn a_ledger_of_version_2_loads_with_what_was_run() {
    let records = decode(include_bytes!("../../samples/ledger/2.ledger")).unwrap().records;
    let run = |record: &Record| match record {
        Record::Claimed { command, .. } => match &command.action {
            Action::Run { run, expect_boot, limit } if (*expect_boot, *limit) == (moment().boot, Millis::secs(60)) => {
                Some(run.clone())
            }
            _ => None,
        },
        _ => None,
    };
    let named = model::Run::Named { name: "rotate".to_owned() };
    let free = model::Run::Free { line: "uptime".to_owned(), by: "alice".to_owned() };
    assert_eq!(records.iter().filter_map(run).collect::<Vec<_>>(), [named, free]);
    assert_eq!((records.len(), &records[0]), (6, &Record::Header { version: 2 }));
    let Record::Ended { ack, .. } = &records[4] else { panic!("{:?}", records[4]) };
    assert!(matches!(&ack.observed, Some(model::Observed::Ran(ran)) if ran.exit == Some(3) && ran.out.tail == "ok\n"));
}

/// What a newer program wrote whole was acted upon: it is never cut off as a torn tail, and never damage.
#[test]
fn a_whole_record_of_a_newer_program_is_no_torn_tail() {
    let newer = |text: &str| {
        let sum = ring::digest::digest(&ring::digest::SHA256, text.as_bytes());
        let digest: String = sum.as_ref()[..8].iter().map(|byte| format!("{byte:02x}")).collect();
        format!("{:08x} {digest} {text}\n", text.len()).into_bytes()
    };
    let known = encode_all(&records());
    for text in [r#"{"record":"frozen","since":7}"#, r#"{"record":"claimed","command":{"action":{"kind":"defrost"}}}"#] {
        let last = [known.clone(), newer(text)].concat();
        assert!(matches!(decode(&last), Err(Corrupt::Unknown { offset, .. }) if offset == known.len()), "{text}");
        let within = [last.clone(), encode(&records()[5])].concat();
        assert_eq!(decode(&within), decode(&last));
        assert!(decode(&last).unwrap_err().to_string().contains("install the newer agent again"));
        // Cut in the middle it is what it always was.
        assert_eq!(decode(&last[..last.len() - 2]).unwrap().records, records());
        // And nothing of it is lost on the disk.
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ledger");
        std::fs::write(&path, &last).unwrap();
        assert!(FileLedger::open(folder.path()).unwrap().load().is_err());
        assert_eq!(std::fs::read(&path).unwrap(), last);
    }
}

#[test]
fn every_cut_drops_the_torn_record_and_nothing_else() {
    let bytes = encode_all(&records());
    let ends: Vec<usize> = bytes.iter().enumerate().filter(|(_, b)| **b == b'\n').map(|(i, _)| i + 1).collect();
    for cut in 0..=bytes.len() {
        let whole = ends.iter().filter(|end| **end <= cut).count();
        let decoded = decode(&bytes[..cut]).unwrap();
        assert_eq!(decoded.records, records()[..whole], "cut at {cut}");
        assert_eq!(decoded.torn, cut - ends[..whole].last().unwrap_or(&0));
    }
}

#[test]
fn damage_before_the_last_record_is_an_error_and_in_it_a_torn_tail() {
    let bytes = encode_all(&records());
    let last = encode_all(&records()[..records().len() - 1]).len();
    for at in 0..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[at] ^= 0x04;
        match decode(&damaged) {
            Err(Corrupt::Damaged { offset, .. }) => assert!(offset < last && at < last),
            Ok(decoded) => assert!(at >= last - 1 && decoded.torn > 0, "unseen at {at}"),
            Err(other) => panic!("{other}"),
        }
    }
    let zeros = [bytes.as_slice(), &[0; 4096]].concat();
    assert_eq!(decode(&zeros).unwrap(), Decoded { records: records(), torn: 4096 });
}

#[test]
fn a_newer_ledger_and_one_without_a_header_are_refused() {
    let newer = encode(&Record::Header { version: LEDGER_VERSION + 1 });
    assert_eq!(decode(&newer), Err(Corrupt::Newer(LEDGER_VERSION + 1)));
    assert!(matches!(decode(&encode_all(&records()[1..])), Err(Corrupt::Damaged { offset: 0, .. })));
    assert_eq!(decode(b"").unwrap().records, []);
}

#[test]
fn the_file_keeps_what_was_written_and_cuts_a_torn_tail() {
    use std::io::Write as _;
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger");
    {
        let mut ledger = FileLedger::open(folder.path()).unwrap();
        assert_eq!(ledger.load().unwrap(), []);
        ledger.replace(&records()[..2]).unwrap();
        for record in &records()[2..] {
            ledger.append(record).unwrap();
        }
        ledger.flush().unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(FileLedger::open(folder.path()).unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
    }
    std::fs::OpenOptions::new().append(true).open(&path).unwrap().write_all(b"0000012f 00").unwrap();
    {
        let mut ledger = FileLedger::open(folder.path()).unwrap();
        assert_eq!(ledger.load().unwrap(), records());
        ledger.append(&records()[4]).unwrap();
        ledger.flush().unwrap();
    }
    let mut ledger = FileLedger::open(folder.path()).unwrap();
    assert_eq!(ledger.load().unwrap().len(), records().len() + 1);
}

/// A real full disk: a file system of 64 KiB. Needs the right to mount; elsewhere the machine's tests stand alone.
#[test]
fn on_a_really_full_disk_a_failed_write_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let mount = |args: &[&str]| {
        let status =
            std::process::Command::new(args[0]).args(&args[1..]).arg(folder.path()).stderr(std::process::Stdio::null()).status();
        status.is_ok_and(|s| s.success())
    };
    if !mount(&["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs"]) {
        eprintln!("skipped: no right to mount a file system here");
        return;
    }
    let result = std::panic::catch_unwind(|| {
        let mut ledger = FileLedger::open(folder.path()).unwrap();
        assert_eq!(ledger.load().unwrap(), []);
        ledger.replace(&records()).unwrap();
        let mut written = records().len();
        let failed = loop {
            assert!(written < 1000, "the disk is never full");
            match ledger.append(&records()[3]).and_then(|()| ledger.flush()) {
                Ok(()) => written += 1,
                Err(failed) => break failed,
            }
        };
        assert!(failed.undone, "{failed}");
        let failed = ledger.replace(&records()).unwrap_err();
        assert!(failed.undone && failed.to_string().contains("disk"), "{failed}");
        drop(ledger);
        let mut ledger = FileLedger::open(folder.path()).unwrap();
        assert_eq!(ledger.load().unwrap().len(), written);
    });
    assert!(mount(&["umount"]));
    if let Err(panic) = result {
        std::panic::resume_unwind(panic);
    }
}
