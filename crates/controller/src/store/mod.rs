//! Everything durable: one SQLite file.
//!
//! One connection writes, in `BEGIN IMMEDIATE` transactions that are on disk when they return; a few others read. The
//! journals are the truth, each record chained to the one before by a checksum; the rest is computed from them or stands
//! beside them (accounts, tokens, devices, audit).

mod accounts;
mod append;
mod audit;
mod codec;
mod enrolment;
mod events;
mod lock;
mod open;
#[cfg(feature = "pause-points")]
mod pause;
mod read;
mod track;

pub use accounts::{AccountRow, NewTokenRow, ShownToken, TokenRow};
pub use append::{Change, SqliteStore};
pub use audit::{AuditFilter, AuditLine};
pub use codec::{BadJournal, sha256};
pub use enrolment::{ClaimRefused, Claimed, DeviceRow, NewEnrolmentRow};
pub use events::{EVENTS_KEPT, EventFilter, StoredEvent};
pub use lock::Holder;
pub use open::{Database, OpenError, OpenOptions};
pub use read::{OrchestrationFilter, Page};
pub use track::{TrackFilter, TrackPage};

/// Rows on a page when nothing else is asked for, and at most.
const PAGE: (u32, u32) = (50, 500);

fn page_size(limit: u32) -> i64 {
    i64::from(if limit == 0 { PAGE.0 } else { limit.min(PAGE.1) })
}
