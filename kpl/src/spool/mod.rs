//! The spool: admitted records on disk until they are resolved, so that they outlive the process.
//!
//! A directory holds segments (`00000000000000000000.records`, named after the number of the first
//! record), the mark (`mark`: which records are resolved) and a lock. Records are numbered in the order
//! in which they were spooled. A segment all of whose records are resolved is removed.

mod done;
mod intake;
mod log;
mod segment;
mod writer;

pub(crate) use intake::{open, recover};
pub(crate) use writer::Spool;

use std::io;
use std::path::PathBuf;
use std::time::Duration;

/// When spooled records are flushed to the disk itself. SIGKILL loses nothing with any of them; power
/// loss does, as said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum SpoolSync {
    /// Before `put` says admitted; callers at the same time share a flush. Power loss loses nothing.
    Always,
    /// So long after the first record that is not flushed yet. Power loss loses the records of that
    /// time.
    Every(Duration),
    /// When the operating system likes.
    Never,
}

/// Where and how admitted records are kept until they are resolved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SpoolOptions {
    /// Made if it is not there.
    pub(crate) directory: PathBuf,
    /// Of the records on disk.
    pub(crate) max_bytes: u64,
    pub(crate) sync: SpoolSync,
    /// How often it is written down which records are resolved, while any are.
    pub(crate) mark_every: Duration,
}

impl SpoolOptions {
    /// Large enough that there are few, small enough that a bound is used well.
    fn segment_bytes(&self) -> u64 {
        (self.max_bytes / 16).clamp(64 << 10, 16 << 20)
    }
}

/// Why records cannot be spooled.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SpoolError {
    /// Another producer uses the directory.
    #[error("the spool {} is in use by another producer; give each its own directory", path.display())]
    InUse {
        /// The directory.
        path: PathBuf,
    },
    /// The directory holds records of another stream.
    #[error(
        "the spool {} holds records of the stream '{found}', not of '{wanted}'; give each stream its \
         own directory",
        path.display()
    )]
    OtherStream {
        /// The directory.
        path: PathBuf,
        /// The stream of the records in it.
        found: String,
        /// The stream of the producer.
        wanted: String,
    },
    /// The disk has no room for the record. Puts succeed again as soon as there is some; what was admitted
    /// before is kept.
    #[error(
        "no room for the spool at {}: {source}; make room there, give it another disk or a lower \
         SpoolMaxBytes; what was admitted is kept",
        path.display()
    )]
    Full {
        /// The file that could not grow.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// A file or the directory could not be read or written.
    #[error("the spool failed at {}: {source}", path.display())]
    Failed {
        /// The file or directory.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// The thread that writes has ended.
    #[error("the spool is closed")]
    Closed,
}

/// What was found damaged when a spool was opened. Nothing that `put` had acknowledged is among it,
/// unless the disk lost what it had confirmed.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SpoolDamage {
    /// The file.
    pub path: PathBuf,
    /// From here on it was not what had been written, and was cut off.
    pub offset: u64,
    /// How many bytes that were.
    pub bytes: u64,
}

#[cfg(test)]
mod tests;
