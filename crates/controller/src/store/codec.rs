//! Records as text, chained by checksums.

use engine::{JOURNAL_VERSION, JournalId, Record};
use ring::digest::{Context, SHA256, digest};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// SHA-256.
pub fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest(&SHA256, bytes).as_ref());
    hash
}

/// What is wrong with a journal.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("record {position}: {reason}")]
pub struct BadJournal {
    /// The first bad record, from 0.
    pub position: u64,
    /// What.
    pub reason: String,
}

/// The checksum that stands before the first record.
pub(super) const NOTHING: [u8; 32] = [0; 32];

/// One row of a journal.
pub(super) struct Row {
    pub(super) position: u64,
    pub(super) version: u64,
    pub(super) record: String,
    pub(super) checksum: Vec<u8>,
}

/// Where a journal ends.
pub(super) struct Head {
    pub(super) records: u64,
    pub(super) checksum: Vec<u8>,
}

/// The name under which the rows of a journal stand.
pub(super) fn name(journal: JournalId) -> String {
    match journal {
        JournalId::Fleet => "fleet".to_owned(),
        JournalId::Orchestration(id) => id.to_string(),
    }
}

pub(super) fn encode<E: Serialize>(record: &Record<E>) -> Result<String, serde_json::Error> {
    serde_json::to_string(record)
}

pub(super) fn chain(before: &[u8], version: u64, record: &str) -> [u8; 32] {
    let mut context = Context::new(&SHA256);
    context.update(before);
    context.update(&version.to_le_bytes());
    context.update(record.as_bytes());
    let mut hash = [0; 32];
    hash.copy_from_slice(context.finish().as_ref());
    hash
}

/// Reads a whole journal. `rows` are in order of position.
///
/// # Errors
/// A gap, a checksum that does not fit, a record that cannot be read or is of a newer version, a lost tail.
pub(super) fn decode<E: DeserializeOwned>(rows: &[Row], head: Option<&Head>) -> Result<Vec<Record<E>>, BadJournal> {
    decode_from(rows, head, 0)
}

/// The same from a position on. `rows` begin with the one before it, whose checksum is believed.
///
/// # Errors
/// As [`decode`].
pub(super) fn decode_from<E: DeserializeOwned>(
    rows: &[Row],
    head: Option<&Head>,
    from: u64,
) -> Result<Vec<Record<E>>, BadJournal> {
    let (count, last) = head.map_or((0, NOTHING.as_slice()), |head| (head.records, head.checksum.as_slice()));
    if from > count {
        // Nobody was ever given such a position.
        return Ok(Vec::new());
    }
    let (mut before, rows) = match rows.split_first().filter(|_| from > 0) {
        Some((first, rest)) => (first.checksum.clone(), rest),
        None => (NOTHING.to_vec(), rows),
    };
    let mut records = Vec::with_capacity(rows.len());
    for (row, position) in rows.iter().zip(from..) {
        let bad = |reason: String| BadJournal { position, reason };
        if row.position != position {
            return Err(bad(format!("missing; the next one that is there is {}", row.position)));
        }
        before = chain(&before, row.version, &row.record).to_vec();
        if row.checksum != before {
            return Err(bad("the checksum does not fit: the database was damaged or changed by hand".to_owned()));
        }
        if row.version > u64::from(JOURNAL_VERSION) {
            return Err(bad(format!(
                "written in version {} by a newer program; this one reads up to {JOURNAL_VERSION}",
                row.version
            )));
        }
        records.push(serde_json::from_str(&row.record).map_err(|error| bad(format!("cannot be read: {error}")))?);
    }
    let end = from + records.len() as u64;
    if count != end || last != before {
        return Err(BadJournal { position: end, reason: format!("the journal should hold {count} records: its end is lost") });
    }
    Ok(records)
}
