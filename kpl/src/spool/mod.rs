//! The spool: admitted records on disk until they are resolved, so that they outlive the process.
//!
//! A directory holds segments (`00000000000000000000.records`, named after the number of the first
//! record), the mark (`mark`: which records are resolved) and a lock. Records are numbered in the order
//! in which they were spooled. A segment all of whose records are resolved is removed.

mod done;
mod log;
mod segment;
mod writer;

pub(crate) use log::{Log, Recovered};
pub(crate) use writer::{Spool, Spooled};

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
#[non_exhaustive]
pub struct SpoolOptions {
    /// The directory; made if it is not there. One producer at a time uses it.
    pub directory: PathBuf,
    /// The most bytes that the records on disk may take; `put` waits at the bound. Default: 1 GiB.
    pub max_bytes: u64,
    /// Default: [`SpoolSync::Always`].
    pub sync: SpoolSync,
    /// How often it is written down which records are resolved, while any are: after a crash, records
    /// that were resolved since are sent once more. Default: 1 second.
    pub mark_every: Duration,
}

impl SpoolOptions {
    /// The defaults, in a directory.
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        Self {
            directory: directory.into(),
            max_bytes: 1 << 30,
            sync: SpoolSync::Always,
            mark_every: Duration::from_secs(1),
        }
    }

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
    /// A file or the directory could not be read or written: a full disk, for instance.
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
