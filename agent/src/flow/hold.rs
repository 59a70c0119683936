//! Whether a new file is a copy of another: then it is held back until the other is truncated.

use super::tracked::Hold;
use super::{Aborted, Flow};
use crate::identity::{HEAD_BYTES, Head, Place};
use crate::rotation::Generation;
use crate::tail;
use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::time::Instant;

/// Another file that a new one may repeat.
#[derive(Debug)]
struct Candidate {
    id: Generation,
    head: Head,
    offset: u64,
    path: PathBuf,
    place: Place,
    file: Option<Arc<File>>,
}

/// Whether a new file is a copy.
#[derive(Debug, PartialEq, Eq)]
enum Copy {
    /// Of nothing.
    Not,
    /// Of this one, as far as it goes.
    Of(Generation),
    /// It begins as one that changed since the directory was listed: look again first.
    Unsettled,
}

impl Flow {
    /// Whether a file of which nothing was read may be read. One that repeats the start of another is
    /// held back: it is the copy of a file that is about to be truncated, and what was read there is
    /// not to be sent again. If the truncation does not come, it is a file of its own.
    pub(super) async fn may_begin(&mut self, id: Generation) -> Result<bool, Aborted> {
        let Some(file) = self.files.get(&id) else {
            return Ok(false);
        };
        let same = |hold: &Hold| {
            hold.size == file.size && self.files.get(&hold.of).is_some_and(|of| of.gone.is_none())
        };
        if let Some(hold) = file.hold.filter(same) {
            if hold.since.elapsed() < self.parts.config.copy_hold {
                return Ok(false);
            }
            tracing::warn!(flow = self.id, path = %file.path.display(),
                "file repeats the start of another that was not truncated; it is sent as a file of its own");
        } else {
            match self.copy_of(id).await? {
                Copy::Not => {}
                Copy::Unsettled => {
                    self.look_at = None;
                    return Ok(false);
                }
                Copy::Of(of) => {
                    if let Some(file) = self.files.get_mut(&id) {
                        if file.hold.is_none() {
                            tracing::info!(flow = self.id, path = %file.path.display(),
                                "file repeats the start of another; held back as its copy");
                        }
                        file.hold = Some(Hold {
                            of,
                            size: file.size,
                            since: Instant::now(),
                        });
                    }
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }

    async fn copy_of(&mut self, id: Generation) -> Result<Copy, Aborted> {
        let Some(file) = self.files.get(&id) else {
            return Ok(Copy::Not);
        };
        let Some(descriptor) = file.file.clone() else {
            return Ok(Copy::Unsettled);
        };
        let candidates: Vec<Candidate> = self
            .files
            .values()
            .rev()
            .filter(|other| other.id != id && !other.fresh && other.gone.is_none())
            .filter(|other| !other.head.is_empty() && other.limit.is_none())
            .map(|other| Candidate {
                id: other.id,
                head: other.head,
                offset: other.offset(),
                path: other.path.clone(),
                place: other.place,
                file: other.file.clone(),
            })
            .collect();
        if candidates.is_empty() {
            return Ok(Copy::Not);
        }
        let found = self
            .blocking(move || find_original(&descriptor, &candidates))
            .await?;
        Ok(found.unwrap_or_else(|error| {
            let path = self
                .files
                .get(&id)
                .map(|file| file.path.clone())
                .unwrap_or_default();
            self.tell_unreadable(&path, &error);
            Copy::Unsettled
        }))
    }
}

fn find_original(copy: &File, candidates: &[Candidate]) -> io::Result<Copy> {
    let start = head_bytes(copy)?;
    for candidate in candidates {
        // A copy that is still short is compared with the file itself.
        if start.len() >= candidate.head.len && !candidate.head.matches(&start) {
            continue;
        }
        let opened;
        let original = match &candidate.file {
            Some(file) => file.as_ref(),
            None => match tail::open(&candidate.path, &candidate.place) {
                Ok(Some(file)) => {
                    opened = file;
                    &opened
                }
                Ok(None) => return Ok(Copy::Unsettled),
                Err(_) => continue,
            },
        };
        let intact = original.metadata()?.len() >= candidate.offset
            && candidate.head.matches(&head_bytes(original)?);
        if !intact {
            return Ok(Copy::Unsettled);
        }
        if tail::repeats(copy, original)? {
            return Ok(Copy::Of(candidate.id));
        }
        // It may have been truncated while it was compared.
        if !candidate.head.matches(&head_bytes(original)?) {
            return Ok(Copy::Unsettled);
        }
    }
    Ok(Copy::Not)
}

fn head_bytes(file: &File) -> io::Result<Vec<u8>> {
    let mut start = vec![0; HEAD_BYTES];
    let got = crate::scan::read_fully(file, &mut start, 0)?;
    start.truncate(got);
    Ok(start)
}
