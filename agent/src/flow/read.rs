//! One pass over the open files: a block of each that has more, its lines on their way.

use super::look::MAX_OPEN;
use super::ship::{Chunk, Way, ship_block};
use super::{Aborted, Blocked, Flow};
use crate::config::PartitionKey;
use crate::delivery::{Outgoing, partition_key};
use crate::rotation::Generation;
use crate::split::{self, Line, RECORD_LIMIT};
use crate::tail::{self, BLOCK, Read};
use bytes::Bytes;
use runtime::RetryPolicy;
use std::fs::File;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

/// How long a file that left its name is waited for: a writer may hold it still, and may finish its
/// last line.
const LINGER: Duration = Duration::from_secs(60);
/// The most that is read at once: a whole record and a block.
pub(crate) const LONG: usize = RECORD_LIMIT + BLOCK;

/// What a block holds until it is handed over: the turn, and memory.
#[derive(Debug)]
struct Room {
    gate: OwnedSemaphorePermit,
    memory: Arc<OwnedSemaphorePermit>,
}

impl Flow {
    /// True when something was read.
    pub(super) async fn pass(&mut self) -> Result<bool, Aborted> {
        self.take_sizes().await?;
        self.settle_moved().await?;
        let mut ready: Vec<Generation> = self
            .files
            .values()
            .filter(|file| file.file.is_some() && file.gone.is_none())
            .filter(|file| file.size > file.offset() || file.limit.is_some())
            .filter(|file| file.stalled != Some(file.size))
            .map(|file| file.id)
            .collect();
        // Each in turn, so that a large file does not keep the others waiting.
        ready.sort_by_key(|id| (*id <= self.turn, *id));
        let mut progressed = false;
        self.blocked = None;
        for id in ready {
            if self.parts.stop.is_cancelled() || self.blocked.is_some() {
                break;
            }
            if self.read_file(id).await? {
                progressed = true;
                self.turn = id;
            }
        }
        Ok(progressed)
    }

    /// Looks at the sizes of all open files, and whether names changed in the directory.
    async fn take_sizes(&mut self) -> Result<(), Aborted> {
        let directory = self.parts.config.directory.clone();
        let open: Vec<(Generation, Arc<File>)> = self
            .files
            .values()
            .filter_map(|file| Some((file.id, Arc::clone(file.file.as_ref()?))))
            .collect();
        let sizes = self
            .blocking(move || {
                let modified = std::fs::metadata(directory).and_then(|m| m.modified()).ok();
                let sizes: Vec<_> = open
                    .into_iter()
                    .filter_map(|(id, file)| Some((id, file.metadata().ok()?.len())))
                    .collect();
                Ok((modified, sizes))
            })
            .await?;
        let Ok((modified, sizes)) = sizes else {
            return Ok(());
        };
        if modified != self.directory_modified {
            self.directory_modified = modified;
            self.look_at = None;
        }
        let now = self.now_millis();
        for (id, size) in sizes {
            let Some(file) = self.files.get_mut(&id) else {
                continue;
            };
            if size > file.size {
                file.grown = Instant::now();
            }
            let cut = size < file.known().offset;
            if cut && file.vanished {
                file.file = None;
                file.gone = Some(now);
                self.parts.stats.files_truncated.add(1);
                tracing::warn!(flow = self.id, path = %file.path.display(),
                    "a file that left the directory was truncated");
            } else if cut {
                self.look_at = None;
            } else {
                file.size = size;
            }
        }
        Ok(())
    }

    /// Files that left their name: what has no newline is sent after a while, then the descriptor is
    /// closed. Descriptors of idle files are closed as well.
    async fn settle_moved(&mut self) -> Result<(), Aborted> {
        let many = self.files.values().filter(|f| f.file.is_some()).count() > MAX_OPEN / 2;
        let quiet: Vec<Generation> = self
            .files
            .values()
            .filter(|file| file.file.is_some() && file.hold.is_none() && file.limit.is_none())
            .filter(|file| file.grown.elapsed() >= LINGER || (many && !file.moved))
            .map(|file| file.id)
            .collect();
        for id in quiet {
            self.settle(id).await?;
        }
        Ok(())
    }

    async fn settle(&mut self, id: Generation) -> Result<(), Aborted> {
        let Some(file) = self.files.get(&id) else {
            return Ok(());
        };
        let unread = file.size > file.offset();
        if unread && file.moved && file.stalled == Some(file.size) {
            return self.send_partial(id).await;
        }
        let now = self.now_millis();
        let Some(file) = self.files.get_mut(&id).filter(|_| !unread) else {
            return Ok(());
        };
        if !file.vanished {
            file.file = None;
        } else if file.acks.is_settled() {
            file.file = None;
            file.gone = Some(now);
            self.save_at.get_or_insert_with(Instant::now);
        }
        Ok(())
    }

    /// Before the end of the process: files that no later start can find.
    pub(super) async fn read_unreachable(&mut self) -> Result<(), Aborted> {
        let vanished: Vec<Generation> = self
            .files
            .values()
            .filter(|file| file.vanished && file.file.is_some())
            .map(|file| file.id)
            .collect();
        self.take_sizes().await?;
        for id in vanished {
            self.blocked = None;
            while self.read_file(id).await? || self.make_room().await? {}
            self.send_partial(id).await?;
            while self.make_room().await? {
                self.send_partial(id).await?;
            }
        }
        Ok(())
    }

    /// Waits for what reading waits for; false when it waits for nothing.
    async fn make_room(&mut self) -> Result<bool, Aborted> {
        if self.blocked.is_none() {
            return Ok(false);
        }
        let room = self.room();
        self.serving(room).await?;
        Ok(true)
    }

    /// Reads one block of a file and sends its lines. True when that brought the file forward.
    async fn read_file(&mut self, id: Generation) -> Result<bool, Aborted> {
        let Some(file) = self.files.get_mut(&id) else {
            return Ok(false);
        };
        if let Some(limit) = file.limit {
            // The copy is shorter than what was read: nothing more is read until all that is settled.
            if !file.acks.is_settled() {
                return Ok(false);
            }
            file.acks = crate::acks::Acks::starting_at(limit);
            file.limit = None;
            file.searched = None;
        }
        if file.fresh && !self.may_begin(id).await? {
            return Ok(false);
        }
        let Some(file) = self.files.get(&id) else {
            return Ok(false);
        };
        if let Some(from) = file.searched {
            return self.search(id, from).await;
        }
        let most = if file.long { LONG } else { BLOCK };
        let want =
            usize::try_from(file.size.saturating_sub(file.offset())).map_or(most, |n| n.min(most));
        let offset = file.offset();
        let Some((block, room)) = self.block(id, offset, want).await? else {
            return Ok(false);
        };
        let lines = split::lines(&block, offset);
        let Some(file) = self.files.get_mut(&id) else {
            return Ok(false);
        };
        if lines.is_empty() {
            let read_to = offset + block.len() as u64;
            if block.len() < BLOCK {
                file.stalled = Some(read_to);
                return Ok(false);
            }
            if block.len() >= LONG {
                file.searched = Some(read_to);
            } else if file.long {
                file.stalled = Some(read_to);
                return Ok(false);
            }
            file.long = true;
            return Ok(true);
        }
        file.long = false;
        self.send(id, &lines, room);
        Ok(true)
    }

    /// A block of the file, and the room it takes. `None` when it cannot be had now.
    async fn block(
        &mut self,
        id: Generation,
        at: u64,
        want: usize,
    ) -> Result<Option<(Bytes, Room)>, Aborted> {
        let Ok(gate) = Arc::clone(&self.gate).try_acquire_owned() else {
            self.blocked = Some(Blocked::Gate);
            return Ok(None);
        };
        let kib = u32::try_from(want.div_ceil(1024)).unwrap_or(u32::MAX);
        let Ok(memory) = Arc::clone(&self.parts.memory).try_acquire_many_owned(kib) else {
            self.blocked = Some(Blocked::Memory(kib));
            return Ok(None);
        };
        let Some(file) = self.files.get(&id) else {
            return Ok(None);
        };
        let Some(descriptor) = file.file.clone() else {
            return Ok(None);
        };
        let (head, path) = (file.head, file.path.clone());
        let read = self
            .blocking(move || tail::read(&descriptor, at, want, &head))
            .await?;
        match read {
            Ok(Read::Data { block, head }) => {
                if let Some(file) = self.files.get_mut(&id) {
                    file.head = head;
                    file.fresh = false;
                    file.hold = None;
                    file.own = file.size.max(at + block.len() as u64);
                }
                let memory = Arc::new(memory);
                Ok(Some((block, Room { gate, memory })))
            }
            Ok(Read::Replaced) => {
                self.look_at = None;
                if let Some(file) = self.files.get_mut(&id) {
                    // Unlike any file's, so that the next listing reads the head.
                    file.modified = i64::MIN;
                }
                Ok(None)
            }
            Err(error) => {
                self.tell_unreadable(&path, &error);
                Ok(None)
            }
        }
    }

    /// Looks for the end of a line that is longer than a record; then the record is what fits of it.
    async fn search(&mut self, id: Generation, from: u64) -> Result<bool, Aborted> {
        let Some(file) = self.files.get(&id) else {
            return Ok(false);
        };
        let Some(descriptor) = file.file.clone() else {
            return Ok(false);
        };
        let (offset, path) = (file.offset(), file.path.clone());
        let found = match self
            .blocking(move || tail::find_newline(&descriptor, from))
            .await?
        {
            Ok(found) => found,
            Err(error) => {
                self.tell_unreadable(&path, &error);
                return Ok(false);
            }
        };
        match found {
            Err(searched) => {
                if let Some(file) = self.files.get_mut(&id) {
                    file.searched = Some(searched);
                    file.stalled = Some(searched);
                }
                Ok(searched > from)
            }
            Ok(newline) => {
                if let Some(file) = self.files.get_mut(&id) {
                    file.searched = Some(newline);
                }
                // One byte more than any record may have, so that it is cut.
                let block = self.block(id, offset, RECORD_LIMIT + 1).await?;
                let Some((data, room)) = block else {
                    return Ok(false);
                };
                if let Some(file) = self.files.get_mut(&id) {
                    file.searched = None;
                    file.long = false;
                }
                let range = offset..newline + 1;
                self.send(id, &[Line { range, data }], room);
                Ok(true)
            }
        }
    }

    /// Sends the last line of a file without its newline.
    async fn send_partial(&mut self, id: Generation) -> Result<(), Aborted> {
        let Some(file) = self.files.get(&id) else {
            return Ok(());
        };
        let (offset, end) = (file.offset(), file.size);
        if end <= offset {
            return Ok(());
        }
        let want =
            usize::try_from(end - offset).map_or(RECORD_LIMIT + 1, |n| n.min(RECORD_LIMIT + 1));
        let Some((data, room)) = self.block(id, offset, want).await? else {
            return Ok(());
        };
        if data.len() < want {
            return Ok(());
        }
        if let Some(file) = self.files.get_mut(&id) {
            file.searched = None;
            file.long = false;
            tracing::info!(flow = self.id, path = %file.path.display(), bytes = end - offset,
                "the last line has no newline and is sent as it is");
        }
        self.parts.stats.partial_lines.add(1);
        let range = offset..end;
        self.send(id, &[Line { range, data }], room);
        Ok(())
    }

    /// Hands lines over to a task that sends them and watches over them from then on.
    fn send(&mut self, id: Generation, lines: &[Line], room: Room) {
        let mut chunks = Vec::new();
        for part in lines.chunks(self.parts.config.max_buffer_records.max(1)) {
            let records: Vec<Outgoing> =
                part.iter().map(|line| self.outgoing(&line.data)).collect();
            let start = part.last().and_then(|last| {
                let file = self.files.get_mut(&id)?;
                file.acks.send(last.range.end)
            });
            chunks.extend(start.map(|start| Chunk {
                file: id,
                start,
                records,
                memory: Arc::clone(&room.memory),
            }));
        }
        let config = &self.parts.config;
        let first = config.retry_first.max(Duration::from_millis(1));
        let way = Way {
            destination: Arc::clone(&self.parts.destination),
            retry: RetryPolicy::unbounded(first, config.retry_longest.max(first)),
            chance: self.parts.chance.clone(),
            stats: Arc::clone(&self.parts.stats),
        };
        let delivered = self.delivered.0.clone();
        self.inflight
            .spawn(ship_block(chunks, room.gate, way, delivered));
    }

    /// The record of a line: its key, and as much of it as fits beside the key.
    fn outgoing(&self, line: &Bytes) -> Outgoing {
        let config = &self.parts.config;
        let fit = |key_len: usize| {
            let record = split::cut(line, RECORD_LIMIT - key_len, &config.terminator)?;
            self.parts.stats.records_truncated.add(1);
            let held = self.parts.stats.cuts.lock().pass();
            if let Some(held_back) = held {
                let limit = RECORD_LIMIT - key_len;
                tracing::warn!(flow = self.id, limit, held_back, "a line was cut");
            }
            Some(record)
        };
        match config.partition_key {
            PartitionKey::Random => {
                let key = partition_key(config.partition_key, line, &self.parts.chance);
                let data = fit(key.len()).unwrap_or_else(|| line.clone());
                Outgoing { key, data }
            }
            PartitionKey::Deterministic => {
                let data = fit(crate::delivery::LONGEST_KEY).unwrap_or_else(|| line.clone());
                let key = partition_key(config.partition_key, &data, &self.parts.chance);
                Outgoing { key, data }
            }
        }
    }
}
