//! What a rotation was: a pure function from the files that were tailed and the files that a scan sees
//! to what became of each.
//!
//! A tailed file is a *generation*: one content, wherever it lives. A rename moves a generation to
//! another path; a copy with truncation moves it to the copy, and another generation begins at the old
//! path. Its position moves with it, so nothing is lost and nothing is sent twice.

use crate::identity::{HEAD_BYTES, Head, Place};
use crate::scan::Seen;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

/// The number of a generation within its flow; never reused.
pub type Generation = u64;

/// A generation, as far as decisions need it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    /// Which one.
    pub id: Generation,
    /// Where it was last.
    pub path: PathBuf,
    /// Where it was last.
    pub place: Place,
    /// Its head, as far as it is known.
    pub head: Head,
    /// The end of what was read (after a restart: of what was delivered).
    pub offset: u64,
    /// Its size when it was last looked at.
    pub size: u64,
    /// Nothing of it was read yet: it may turn out to be a copy of another.
    pub fresh: bool,
    /// It repeats the start of this generation and is held back in wait for a truncation.
    pub held: Option<Generation>,
    /// It had vanished; its position is kept in case it comes back.
    pub gone: bool,
}

/// What became of a generation, or of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// It is where it was.
    Continues {
        /// Which one.
        id: Generation,
        /// The file, an index of the scan.
        seen: usize,
    },
    /// The same file has another name now.
    Renamed {
        /// Which one.
        id: Generation,
        /// The file, an index of the scan.
        seen: usize,
    },
    /// Its file was truncated (or removed) after it was copied: it lives on in the copy.
    Copied {
        /// Which one.
        id: Generation,
        /// The copy, an index of the scan.
        copy: usize,
    },
    /// Nothing of it was read, and its file was truncated or is gone: it stands whole in another file
    /// that is read by itself.
    Elsewhere {
        /// Which one.
        id: Generation,
    },
    /// Its content was cut off or replaced, and there is no copy.
    Truncated {
        /// Which one.
        id: Generation,
        /// Bytes that were seen and not read: lost.
        unread: u64,
    },
    /// Its file is not in the directory any more.
    Vanished {
        /// Which one.
        id: Generation,
    },
    /// A file that was not known begins, at its first byte.
    Created {
        /// The file, an index of the scan.
        seen: usize,
    },
}

/// Decides what became of every generation and which files are new. Decisions about generations come
/// first, in the order of `known`; then the new files, in the order of `seen`.
///
/// A copy can only be found among files whose head was read in this scan.
#[must_use]
pub fn decide(known: &[Known], seen: &[Seen]) -> Vec<Decision> {
    let at: BTreeMap<(u64, u64), usize> = seen
        .iter()
        .enumerate()
        .map(|(n, file)| (file.place.key(), n))
        .collect();
    let found = |k: &Known| {
        let n = *at.get(&k.place.key())?;
        let file = seen.get(n)?;
        k.place.is(&file.place).then_some((n, file))
    };
    let unchanged = |k: &Known| found(k).filter(|(_, file)| same_content(k, file));

    // Files that a generation with bytes already read lives in cannot be copies of another.
    let mut taken: BTreeSet<usize> = known
        .iter()
        .filter(|k| !k.fresh)
        .filter_map(|k| unchanged(k).map(|(n, _)| n))
        .collect();
    let mut decisions = Vec::new();
    let mut absorbed: BTreeSet<Generation> = BTreeSet::new();
    let mut kept: BTreeMap<Generation, Decision> = BTreeMap::new();

    for k in known.iter().filter(|k| !k.gone && k.held.is_none()) {
        if unchanged(k).is_some() {
            continue;
        }
        if let Some(copy) = copy_of(k, found(k).is_some(), known, seen, &taken) {
            taken.insert(copy);
            absorbed.extend(
                known
                    .iter()
                    .filter(|other| other.fresh && found(other).is_some_and(|(n, _)| n == copy))
                    .map(|other| other.id),
            );
            kept.insert(k.id, Decision::Copied { id: k.id, copy });
        }
    }

    let mut occupied: BTreeSet<usize> = taken;
    for k in known {
        if absorbed.contains(&k.id) {
            continue;
        }
        let decision = match (kept.remove(&k.id), unchanged(k), found(k)) {
            (Some(copied), _, _) => copied,
            (None, Some((n, file)), _) => {
                occupied.insert(n);
                if file.path == k.path {
                    Decision::Continues { id: k.id, seen: n }
                } else {
                    Decision::Renamed { id: k.id, seen: n }
                }
            }
            (None, None, _) if k.gone => continue,
            (None, None, _) if k.fresh && stands_elsewhere(k, seen) => {
                Decision::Elsewhere { id: k.id }
            }
            (None, None, Some(_)) => Decision::Truncated {
                id: k.id,
                unread: k.size.saturating_sub(k.offset),
            },
            (None, None, None) => Decision::Vanished { id: k.id },
        };
        decisions.push(decision);
    }
    decisions.extend(
        seen.iter()
            .enumerate()
            .filter(|(n, file)| file.matches && file.readable && !occupied.contains(n))
            .map(|(n, _)| Decision::Created { seen: n }),
    );
    decisions
}

/// True when the file at the generation's place still has the generation's content, as far as can be
/// seen. A head that this scan did not read is trusted: it is verified again with every block.
#[must_use]
pub fn same_content(k: &Known, file: &Seen) -> bool {
    file.size >= k.offset && file.head.as_ref().is_none_or(|start| k.head.matches(start))
}

/// True when another file begins with all that was seen of this one.
fn stands_elsewhere(k: &Known, seen: &[Seen]) -> bool {
    k.held.is_some()
        || seen.iter().any(|file| {
            let begins = file.head.as_ref().is_some_and(|s| k.head.matches(s));
            !k.head.is_empty() && begins && file.size >= k.size && !k.place.is(&file.place)
        })
}

/// The copy that a generation lives on in: the file that was held back for it, else the best by size,
/// age and name among those that begin with its head and that no one else lives in. Of a file that is
/// gone altogether (not `truncated`) only a held file is a copy: a new log often begins as the one
/// before it did.
fn copy_of(
    k: &Known,
    truncated: bool,
    known: &[Known],
    seen: &[Seen],
    taken: &BTreeSet<usize>,
) -> Option<usize> {
    if k.head.is_empty() {
        return None;
    }
    let holder = |file: &Seen| {
        known
            .iter()
            .any(|other| other.held == Some(k.id) && other.place.is(&file.place))
    };
    let whole = k.head.len >= HEAD_BYTES;
    seen.iter()
        .enumerate()
        .filter(|(n, file)| {
            let begins = file.head.as_ref().is_some_and(|s| k.head.matches(s));
            // A short head is weak evidence: it wants a file that holds all that was read.
            let enough = whole || file.size >= k.offset || holder(file);
            let wanted = truncated || holder(file);
            !taken.contains(n)
                && !k.place.is(&file.place)
                && file.readable
                && begins
                && enough
                && wanted
        })
        .max_by_key(|(_, file)| {
            (
                holder(file),
                file.size >= k.offset,
                file.modified,
                std::cmp::Reverse(&file.path),
            )
        })
        .map(|(n, _)| n)
}

#[cfg(test)]
#[path = "rotation_tests.rs"]
mod tests;
