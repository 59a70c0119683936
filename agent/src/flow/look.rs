//! Listing the directory and doing what a rotation asks for.

use super::tracked::Tracked;
use super::{Aborted, Flow};
use crate::rotation::{Decision, Generation, Known, decide};
use crate::scan::{Request, Scan, Seen, Skip, scan};
use crate::tail;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::time::Instant;

/// No more descriptors than these are held by a flow, except for files with unread bytes.
pub(super) const MAX_OPEN: usize = 512;
/// No more positions of files that are gone are kept by a flow.
const MAX_GONE: usize = 1000;

impl Flow {
    pub(super) async fn list(&mut self, all_heads: bool) -> Result<io::Result<Scan>, Aborted> {
        let request = Request {
            directory: self.parts.config.directory.clone(),
            glob: self.parts.config.glob.clone(),
            known: self
                .files
                .values()
                .map(|file| (file.place.key(), file.sight()))
                .collect(),
            all_heads,
        };
        self.blocking(move || scan(&request)).await
    }

    pub(super) fn look_is_due(&self) -> bool {
        self.look_at.is_none_or(|at| Instant::now() >= at)
    }

    /// Lists the directory and applies what is decided. When it looks as if something was truncated, it
    /// is listed once more before that is believed: the copy was made before the truncation, so the
    /// second listing has it, where the first may have missed it.
    pub(super) async fn look(&mut self) -> Result<(), Aborted> {
        self.look_at = Some(Instant::now() + self.parts.config.rescan);
        let mut listed = self.list(false).await?;
        let mut decisions = Vec::new();
        if let Ok(scan) = &listed {
            decisions = decide(&self.known(), &scan.files);
            let cut =
                |d: &Decision| matches!(d, Decision::Truncated { .. } | Decision::Copied { .. });
            if decisions.iter().any(cut) {
                listed = self.list(true).await?;
                if let Ok(scan) = &listed {
                    decisions = decide(&self.known(), &scan.files);
                }
            }
        }
        match listed {
            Ok(scan) => {
                if self.waiting.clear() {
                    tracing::info!(flow = self.id, "the directory is there now");
                }
                self.apply(decisions, scan).await
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.tell_waiting();
                Ok(())
            }
            Err(error) => {
                self.tell_unlisted(&error);
                Ok(())
            }
        }
    }

    fn known(&self) -> Vec<Known> {
        self.files.values().map(Tracked::known).collect()
    }

    async fn apply(&mut self, decisions: Vec<Decision>, scan: Scan) -> Result<(), Aborted> {
        let mut changed = false;
        let mut created = BTreeSet::new();
        let mut new: Vec<&Seen> = Vec::new();
        for decision in decisions {
            changed |= !matches!(decision, Decision::Continues { .. });
            match decision {
                Decision::Continues { id, seen } => {
                    if let (Some(file), Some(seen)) =
                        (self.files.get_mut(&id), scan.files.get(seen))
                    {
                        file.found_at(seen);
                    }
                }
                Decision::Renamed { id, seen } => {
                    if let (Some(file), Some(seen)) =
                        (self.files.get_mut(&id), scan.files.get(seen))
                    {
                        tracing::info!(flow = self.id, from = %file.path.display(),
                            to = %seen.path.display(), "file renamed");
                        file.found_at(seen);
                        file.moved = true;
                        file.grown = Instant::now();
                    }
                }
                Decision::Copied { id, copy } => self.move_to_copy(id, copy, &scan),
                Decision::Elsewhere { id } => {
                    if self
                        .files
                        .remove(&id)
                        .is_some_and(|file| file.saved.is_some())
                    {
                        self.deleted.push(id);
                    }
                }
                Decision::Truncated { id, unread } => self.give_up(id, unread),
                Decision::Vanished { id } => self.vanish(id),
                Decision::Created { seen } => new.extend(scan.files.get(seen)),
            }
        }
        // Older content goes first.
        new.sort_by_key(|seen| seen.modified);
        for seen in new {
            let id = self.take_id();
            tracing::info!(flow = self.id, path = %seen.path.display(), "new file");
            self.files.insert(id, Tracked::new(id, seen, 0));
            created.insert(id);
        }
        self.forget_gone();
        self.tell_skipped(scan.skipped);
        self.open_files(&created).await?;
        if changed {
            self.save_first().await?;
        }
        Ok(())
    }

    fn move_to_copy(&mut self, id: Generation, copy: usize, scan: &Scan) {
        let Some(seen) = scan.files.get(copy) else {
            return;
        };
        let absorbed: Vec<Generation> = self
            .files
            .values()
            .filter(|other| other.id != id && other.fresh && other.place.is(&seen.place))
            .map(|other| other.id)
            .collect();
        let mut descriptor = None;
        for other in absorbed {
            if let Some(other) = self.files.remove(&other) {
                descriptor = other.file.or(descriptor);
                if other.saved.is_some() {
                    self.deleted.push(other.id);
                }
            }
        }
        let Some(file) = self.files.get_mut(&id) else {
            return;
        };
        tracing::info!(flow = self.id, path = %file.path.display(), copy = %seen.path.display(),
            unread = seen.size.saturating_sub(file.offset()),
            "file truncated after it was copied; the rest is read from the copy");
        file.found_at(seen);
        file.file = descriptor;
        file.moved = true;
        file.grown = Instant::now();
        file.stalled = None;
        file.limit = (seen.size < file.offset()).then_some(seen.size);
    }

    fn give_up(&mut self, id: Generation, unread: u64) {
        let Some(file) = self.files.remove(&id) else {
            return;
        };
        if file.saved.is_some() {
            self.deleted.push(id);
        }
        self.parts.stats.files_truncated.add(1);
        self.parts.stats.bytes_lost.add(unread);
        tracing::warn!(flow = self.id, path = %file.path.display(), unread_bytes = unread,
            "file truncated or overwritten, and no copy of it is there; it is read from its start");
    }

    fn vanish(&mut self, id: Generation) {
        let now = self.now_millis();
        let Some(file) = self.files.get_mut(&id).filter(|file| !file.vanished) else {
            return;
        };
        file.vanished = true;
        file.moved = true;
        file.grown = Instant::now();
        if file.file.is_some() {
            tracing::info!(flow = self.id, path = %file.path.display(),
                "file left the directory; its open descriptor is read to the end");
            return;
        }
        file.gone = Some(now);
        let unread = file.own.saturating_sub(file.offset());
        if unread > 0 {
            self.parts.stats.bytes_lost.add(unread);
            tracing::warn!(flow = self.id, path = %file.path.display(), unread_bytes = unread,
                "file is gone before it was read to its end");
        }
    }

    /// Drops positions of files that are gone for too long, and the oldest of too many.
    fn forget_gone(&mut self) {
        let ttl = u64::try_from(self.parts.positions_ttl.as_millis()).unwrap_or(u64::MAX);
        let now = self.now_millis();
        let mut gone: Vec<(u64, Generation)> = self
            .files
            .values()
            .filter_map(|file| file.gone.map(|at| (at, file.id)))
            .collect();
        gone.sort_unstable();
        let surplus = gone.len().saturating_sub(MAX_GONE);
        for (n, (at, id)) in gone.into_iter().enumerate() {
            if n < surplus || now.saturating_sub(at) > ttl {
                self.files.remove(&id);
                self.deleted.push(id);
            }
        }
    }

    /// Opens new files and those with unread bytes, as far as descriptors are allowed.
    async fn open_files(&mut self, created: &BTreeSet<Generation>) -> Result<(), Aborted> {
        let open = self.files.values().filter(|f| f.file.is_some()).count();
        let wanted: Vec<_> = self
            .files
            .values()
            .filter(|file| file.file.is_none() && file.gone.is_none() && !file.vanished)
            .filter(|file| file.size > file.offset() || created.contains(&file.id))
            .take(MAX_OPEN.saturating_sub(open))
            .map(|file| (file.id, file.path.clone(), file.place))
            .collect();
        if wanted.is_empty() {
            return Ok(());
        }
        let opened = self
            .blocking(move || {
                Ok(wanted
                    .into_iter()
                    .map(|(id, path, place)| {
                        let result = tail::open(&path, &place);
                        (id, path, result)
                    })
                    .collect::<Vec<_>>())
            })
            .await?;
        for (id, path, result) in opened.unwrap_or_default() {
            match result {
                Ok(Some(descriptor)) => {
                    if let Some(file) = self.files.get_mut(&id) {
                        file.file = Some(Arc::new(descriptor));
                    }
                }
                // It moved since it was listed: the next listing finds it. A new file is new again then.
                Ok(None) => {
                    if created.contains(&id) {
                        self.files.remove(&id);
                    }
                    self.look_at = Some(Instant::now() + self.parts.config.poll);
                }
                Err(error) => self.tell_unreadable(&path, &error),
            }
        }
        Ok(())
    }

    pub(super) fn tell_waiting(&mut self) {
        if let Some(held_back) = self.waiting.pass() {
            tracing::warn!(flow = self.id, held_back,
                directory = %self.parts.config.directory.display(),
                "the directory does not exist; waiting for it");
        }
    }

    pub(super) fn tell_unlisted(&mut self, error: &io::Error) {
        self.parts.stats.read_errors.add(1);
        if let Some(held_back) = self.waiting.pass() {
            tracing::error!(flow = self.id, %error, held_back,
                directory = %self.parts.config.directory.display(),
                "the directory cannot be listed; trying again");
        }
    }

    pub(super) fn tell_unreadable(&mut self, path: &Path, error: &io::Error) {
        self.parts.stats.read_errors.add(1);
        if let Some(held_back) = self.unreadable.pass() {
            tracing::error!(flow = self.id, path = %path.display(), %error, held_back,
                "the file cannot be read; trying again");
        }
    }

    /// Warns once of each name that fits the pattern and is not tailed.
    pub(super) fn tell_skipped(&mut self, skipped: BTreeMap<PathBuf, Skip>) {
        for (path, skip) in &skipped {
            if *skip == Skip::Unreadable {
                self.parts.stats.read_errors.add(1);
            }
            if self.skipped.get(path) != Some(skip) {
                tracing::warn!(flow = self.id, path = %path.display(), reason = %skip, "not tailed");
            }
        }
        self.skipped = skipped;
    }
}
