//! Records <-> bytes: one line each, `LENGTH DIGEST JSON`.

use model::broken::{self, Rule};

use super::{LEDGER_VERSION, Record};

/// Length (8 hex digits), space, digest (16 hex digits), space.
const PREFIX: usize = 8 + 1 + 16 + 1;

/// What was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decoded {
    /// In order.
    pub records: Vec<Record>,
    /// Bytes of a torn last record, to be cut off before anything is appended.
    pub torn: usize,
}

/// Why a ledger cannot be believed. Nothing disruptive is done until a person has looked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Corrupt {
    /// A record that is not the last does not read.
    #[error("the ledger is damaged at byte {offset} ({why}); look at the file, then move it away to start anew")]
    Damaged {
        /// Where the record begins.
        offset: usize,
        /// In words.
        why: String,
    },
    /// Written by a newer program.
    #[error("the ledger has version {0}; this program reads up to {LEDGER_VERSION}: install the newer agent again")]
    Newer(u32),
    /// A record is whole, and says what this program does not know: a newer one wrote it, and what it says still holds.
    #[error("the ledger's record at byte {offset} is of a newer program ({why}): install the newer agent again")]
    Unknown {
        /// Where the record begins.
        offset: usize,
        /// In words.
        why: String,
    },
    /// The file cannot be read or opened at all.
    #[error("the ledger cannot be read: {0}")]
    Unreadable(String),
}

fn digest(json: &[u8]) -> String {
    let sum = ring::digest::digest(&ring::digest::SHA256, json);
    sum.as_ref()[..8].iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The line of one record.
pub fn encode(record: &Record) -> Vec<u8> {
    // Records are plain data with text keys, which JSON can always hold; an empty line would read as damage.
    let json = serde_json::to_vec(record).unwrap_or_default();
    let mut line = format!("{:08x} {} ", json.len(), digest(&json)).into_bytes();
    line.extend(json);
    line.push(b'\n');
    line
}

/// The lines of several.
pub fn encode_all(records: &[Record]) -> Vec<u8> {
    records.iter().flat_map(encode).collect()
}

/// Reads all records. A last record that is not whole was never acted upon, since acting waits for the flush: it is
/// dropped (G8).
///
/// # Errors
/// [`Corrupt`] when a record before the last does not read, or the ledger, or a whole record of it, is of a newer version.
pub fn decode(bytes: &[u8]) -> Result<Decoded, Corrupt> {
    let mut records = Vec::new();
    let mut offset = 0;
    while offset < bytes.len() {
        let rest = &bytes[offset..];
        let end = rest.iter().position(|b| *b == b'\n');
        let line = &rest[..end.unwrap_or(rest.len())];
        let read = if end.is_some() { whole(line) } else { Err("no line end".to_owned()) };
        let read = match read {
            // What was flushed whole was acted upon: it is no torn tail, whoever wrote it.
            Ok(json) => Ok(serde_json::from_slice(json).map_err(|error| Corrupt::Unknown { offset, why: error.to_string() })?),
            Err(why) => Err(why),
        };
        match read {
            Ok(Record::Header { version }) if version > LEDGER_VERSION => return Err(Corrupt::Newer(version)),
            Ok(record) => {
                if records.is_empty() != matches!(record, Record::Header { .. }) {
                    return Err(Corrupt::Damaged { offset, why: "the header is not in its place".to_owned() });
                }
                records.push(record);
                offset += line.len() + 1;
            }
            Err(why) => {
                let last = line.len() + 1 >= rest.len();
                if !last || broken::is(Rule::TornTailFatal) {
                    return Err(Corrupt::Damaged { offset, why });
                }
                return Ok(Decoded { records, torn: rest.len() });
            }
        }
    }
    Ok(Decoded { records, torn: 0 })
}

/// The JSON of a line that is as it was written.
fn whole(line: &[u8]) -> Result<&[u8], String> {
    let prefix = line.get(..PREFIX).and_then(|p| std::str::from_utf8(p).ok()).ok_or("no length and digest")?;
    let json = &line[PREFIX..];
    let length = usize::from_str_radix(&prefix[..8], 16).map_err(|_| "no length")?;
    if length != json.len() {
        return Err(format!("{} bytes, {length} expected", json.len()));
    }
    if prefix[8..] != format!(" {} ", digest(json)) {
        return Err("the digest does not fit".to_owned());
    }
    Ok(json)
}
