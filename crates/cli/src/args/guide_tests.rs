//! What the guide of services tells people to type can be typed, and says what the document says.

use super::Cli;

const GUIDE: &str = include_str!("../../../../docs/guide/services.md");

/// S3-89, S3-90, S3-92, S3-93, S3-98, S3-128 to S3-137, S3-151: procedures and habits are the guide's.
#[test]
fn s3_128_to_137_the_guide_tells_habits_procedures_and_commands_that_can_be_typed() {
    let typed = GUIDE.lines().filter_map(|line| line.strip_prefix("$ reveille "));
    let mut count = 0;
    for line in typed {
        let words = line.split(" #").next().unwrap_or_default().split_whitespace();
        let read = Cli::read(["reveille"].into_iter().chain(words));
        assert!(read.is_ok(), "`reveille {line}` cannot be typed: {}", read.err().map(|e| e.to_string()).unwrap_or_default());
        count += 1;
    }
    assert!(count >= 8, "the guide shows {count} commands");
    for told in [
        "journalctl -u UNIT",
        "systemctl list-dependencies UNIT",
        "ss -tlnp",
        "Dry run first",
        "one service before all",
        "migrations on staging before production",
        "Quiet hours, and a weekday",
        "whom to call",
        "write\n  down why",
        "run it by hand",
        "reveille services",
        "journalctl -u reveille.service -f",
        "| grep -i started",
    ] {
        assert!(GUIDE.contains(told), "the guide does not tell: {told}");
    }
    for line in recipe::manual_rollback(&model::ByHand::of("lilith-sso-api.service")) {
        assert!(GUIDE.contains(&line), "the guide's rollback by hand lacks: {line}");
    }
}
