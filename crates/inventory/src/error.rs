//! Why an inventory cannot be read.

use crate::{AddressError, Place};

/// Every one names the place, and says what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InventoryError {
    /// The file is not understood.
    #[error("{place}: {detail}")]
    Syntax {
        /// Where.
        place: Place,
        /// What is wrong and what is allowed.
        detail: String,
    },
    /// An inventory program.
    #[error("{file} is a program: run it, and give a file with the hosts that it lists")]
    Script {
        /// Which.
        file: String,
    },
    /// What `ansible-inventory --list` prints.
    #[error("{file} is Ansible's list for its own programs: take that of `ansible-inventory --list --yaml`")]
    List {
        /// Which.
        file: String,
    },
    /// More than can be meant.
    #[error("{file} is larger than 64 MiB: that is no inventory")]
    TooLarge {
        /// Which.
        file: String,
    },
    /// More hosts than are taken.
    #[error("{place}: more than 250000 hosts; split the inventory")]
    TooMany {
        /// Where the first one too many stands.
        place: Place,
    },
    /// An address is none.
    #[error("{place}: host {host}: {error}")]
    Address {
        /// Where.
        place: Place,
        /// Which host.
        host: String,
        /// Why.
        error: AddressError,
    },
    /// A host name is none.
    #[error("{place}: {host:?} is no host name: use 1 to 255 letters, digits, `.`, `-`, `_`, beginning with a letter or digit")]
    Name {
        /// Where.
        place: Place,
        /// As written.
        host: String,
    },
    /// A label is none.
    #[error(
        "{place}: host {host}: {key:?} = {value:?} is no label: keys are of letters, digits, `.`, `_`, `-`, `/`, values hold no blanks, commas or `*`, and neither is empty"
    )]
    Label {
        /// Where.
        place: Place,
        /// Which host.
        host: String,
        /// Its key.
        key: String,
        /// Its value.
        value: String,
    },
    /// One machine would be rebooted twice.
    #[error(
        "{one} ({first}) and {other} ({second}) are both reached at {address}: one host must not stand under two names; take one of them out, or give its own address"
    )]
    Twice {
        /// The first name.
        one: Box<str>,
        /// Where.
        first: Place,
        /// The second name.
        other: Box<str>,
        /// Where.
        second: Place,
        /// What both have.
        address: Box<str>,
    },
    /// Two files contradict each other.
    #[error("{second}: {what} is said otherwise in {first}; keep one of them")]
    Contradiction {
        /// What.
        what: String,
        /// Where first.
        first: String,
        /// Where then.
        second: String,
    },
}
