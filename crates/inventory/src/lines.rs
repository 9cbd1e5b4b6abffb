//! Where each line of a file begins.

use crate::{Place, Source};

/// Lines of one file.
pub(crate) struct Lines<'a> {
    file: &'a str,
    starts: Vec<usize>,
}

impl<'a> Lines<'a> {
    pub(crate) fn of(source: &'a Source) -> Self {
        let ends = source.text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(at, _)| at + 1);
        Self { file: &source.name, starts: std::iter::once(0).chain(ends).collect() }
    }

    /// The line of a byte, from 1.
    pub(crate) fn at(&self, byte: usize) -> u64 {
        u64::try_from(self.starts.partition_point(|start| *start <= byte)).unwrap_or(0)
    }

    pub(crate) fn place_of(&self, line: u64) -> Place {
        Place { file: self.file.to_owned(), line }
    }
}
