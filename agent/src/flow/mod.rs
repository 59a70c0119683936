//! One flow: the files of one pattern, read in turn, to one stream.
//!
//! One task owns all state of a flow. Blocking work (listing, reading, saving) is done one piece at a
//! time on a blocking thread while the task goes on taking acknowledgements and saving positions.

mod begin;
mod hold;
mod look;
mod read;
pub(crate) use read::LONG;
mod ship;
mod tracked;

use crate::config::FlowConfig;
use crate::delivery::Destination;
use crate::limit::Limit;
use crate::positions::{Change, Positions, Stored};
use crate::rotation::Generation;
use crate::scan::Skip;
use crate::summary::Stats;
use runtime::{Chance, WallClock};
use ship::Done;
use std::collections::BTreeMap;
use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracked::Tracked;

/// Positions are saved at this pace while they move.
const SAVE_PERIOD: Duration = Duration::from_secs(1);
/// A save that failed is tried again after this.
const SAVE_RETRY: Duration = Duration::from_secs(2);
/// While draining, what fails is flushed again at this pace.
const DRAIN_STEP: Duration = Duration::from_millis(100);

/// What a flow is given.
#[derive(Debug)]
pub(crate) struct Parts {
    pub(crate) config: FlowConfig,
    pub(crate) stored: Stored,
    pub(crate) destination: Arc<dyn Destination>,
    pub(crate) positions: Positions,
    pub(crate) positions_ttl: Duration,
    /// One permit per KiB of file data in memory, over all flows.
    pub(crate) memory: Arc<Semaphore>,
    pub(crate) stats: Arc<Stats>,
    pub(crate) clock: Arc<dyn WallClock>,
    pub(crate) chance: Chance,
    /// No more is begun; what was read is delivered.
    pub(crate) stop: CancellationToken,
    /// The time for that is over.
    pub(crate) abort: CancellationToken,
}

/// The time for draining is over.
#[derive(Debug, Clone, Copy)]
struct Aborted;

/// What reading waits for, while everything else goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Blocked {
    /// The block before is not admitted yet.
    Gate,
    /// Memory for a block, in KiB.
    Memory(u32),
}

/// A flow at work.
#[derive(Debug)]
pub(crate) struct Flow {
    parts: Parts,
    id: String,
    files: BTreeMap<Generation, Tracked>,
    next: Generation,
    /// Generations to be deleted from the store with the next save.
    deleted: Vec<Generation>,
    /// One task per block that is on its way.
    inflight: JoinSet<()>,
    /// Acknowledgements from those tasks; as many as chunks are in memory, which is bounded.
    delivered: (UnboundedSender<Done>, UnboundedReceiver<Done>),
    /// One block at a time is handed over, so that the order of a file holds.
    gate: Arc<Semaphore>,
    /// What reading waits for.
    blocked: Option<Blocked>,
    /// The file that was read last.
    turn: Generation,
    save_at: Option<Instant>,
    /// When to list the directory next; `None` = at once.
    look_at: Option<Instant>,
    directory_modified: Option<std::time::SystemTime>,
    skipped: BTreeMap<PathBuf, Skip>,
    waiting: Limit,
    unreadable: Limit,
    unsaved: Limit,
}

impl Flow {
    pub(crate) fn new(parts: Parts) -> Self {
        Self {
            id: parts.config.id(),
            parts,
            files: BTreeMap::new(),
            next: 1,
            deleted: Vec::new(),
            inflight: JoinSet::new(),
            delivered: mpsc::unbounded_channel(),
            gate: Arc::new(Semaphore::new(1)),
            blocked: None,
            turn: 0,
            save_at: None,
            look_at: None,
            directory_modified: None,
            skipped: BTreeMap::new(),
            waiting: Limit::new(),
            unreadable: Limit::new(),
            unsaved: Limit::new(),
        }
    }

    /// Tails until it is told to stop, then drains until it is told to abort. Positions are saved last.
    pub(crate) async fn run(mut self) {
        let drained = match self.tail().await {
            Ok(()) => self.drain().await.is_ok(),
            Err(Aborted) => false,
        };
        self.inflight.abort_all();
        self.take_finished();
        self.save().await;
        self.measure();
        if !drained {
            tracing::warn!(
                flow = self.id,
                "stopped before all that was read was acknowledged; it is read again at the next start"
            );
        }
    }

    async fn tail(&mut self) -> Result<(), Aborted> {
        self.begin().await?;
        while !self.parts.stop.is_cancelled() {
            if self.look_is_due() {
                self.look().await?;
            }
            self.take_finished();
            let progressed = self.pass().await?;
            self.measure();
            if !progressed {
                self.pause(self.parts.config.poll).await?;
            }
        }
        Ok(())
    }

    /// Waits, unless told to stop, or until what reading waits for is there.
    async fn pause(&mut self, for_: Duration) -> Result<(), Aborted> {
        let stop = self.parts.stop.clone();
        let room = self.room();
        self.serving(async move {
            tokio::select! {
                biased;
                () = stop.cancelled() => {}
                () = room => {}
                () = tokio::time::sleep(for_) => {}
            }
        })
        .await
    }

    /// Resolves when reading may go on; never when it waits for nothing.
    fn room(&mut self) -> impl Future<Output = ()> + Send + 'static {
        let (gate, memory) = (Arc::clone(&self.gate), Arc::clone(&self.parts.memory));
        let blocked = self.blocked.take();
        async move {
            match blocked {
                Some(Blocked::Gate) => drop(gate.acquire().await),
                Some(Blocked::Memory(kib)) => drop(memory.acquire_many(kib).await),
                None => std::future::pending().await,
            }
        }
    }

    /// Delivers what was read. Files that are out of reach after a restart are read to their end first.
    async fn drain(&mut self) -> Result<(), Aborted> {
        self.read_unreachable().await?;
        while !self.inflight.is_empty() {
            let flushed = self.parts.destination.flush();
            self.serving(flushed).await?;
            self.take_finished();
            if !self.inflight.is_empty() {
                self.serving(tokio::time::sleep(DRAIN_STEP)).await?;
            }
        }
        Ok(())
    }

    /// Awaits something that does not borrow the flow, and takes acknowledgements and saves positions
    /// meanwhile. An error when the time for draining is over.
    async fn serving<T>(&mut self, work: impl Future<Output = T>) -> Result<T, Aborted> {
        enum Event<T> {
            Aborted,
            Done(Option<Done>),
            Save,
            Result(T),
        }
        let abort = self.parts.abort.clone();
        tokio::pin!(work);
        loop {
            let save_at = self.save_at;
            let event = tokio::select! {
                biased;
                () = abort.cancelled() => Event::Aborted,
                done = self.delivered.1.recv() => Event::Done(done),
                () = sleep_until(save_at), if save_at.is_some() => Event::Save,
                result = &mut work => Event::Result(result),
            };
            match event {
                Event::Aborted => return Err(Aborted),
                Event::Done(done) => {
                    done.into_iter().for_each(|done| self.acknowledge(done));
                    while self.inflight.try_join_next().is_some() {}
                }
                Event::Save => {
                    self.save().await;
                }
                Event::Result(result) => return Ok(result),
            }
        }
    }

    /// Runs blocking work on a blocking thread.
    async fn blocking<T: Send + 'static>(
        &mut self,
        work: impl FnOnce() -> std::io::Result<T> + Send + 'static,
    ) -> Result<std::io::Result<T>, Aborted> {
        let handle = tokio::task::spawn_blocking(work);
        let result = self.serving(handle).await?;
        Ok(result.unwrap_or_else(|panicked| Err(std::io::Error::other(panicked))))
    }

    fn take_finished(&mut self) {
        while self.inflight.try_join_next().is_some() {}
        while let Ok(done) = self.delivered.1.try_recv() {
            self.acknowledge(done);
        }
    }

    fn acknowledge(&mut self, done: Done) {
        if let Some(file) = self.files.get_mut(&done.file) {
            file.acks.delivered(done.start);
            self.save_at
                .get_or_insert_with(|| Instant::now() + SAVE_PERIOD);
        }
    }

    /// Saves every row that changed. True when all is saved; else it is tried again later.
    async fn save(&mut self) -> bool {
        self.save_at = None;
        let mut changes: Vec<Change> = self.deleted.iter().map(|id| Change::Delete(*id)).collect();
        let deleted = changes.len();
        let rows: Vec<_> = self.files.values().filter_map(Tracked::unsaved).collect();
        changes.extend(rows.iter().cloned().map(Change::Put));
        match self.parts.positions.save(&self.id, changes).await {
            Ok(()) => {
                self.deleted.drain(..deleted);
                for row in rows {
                    if let Some(file) = self.files.get_mut(&row.id) {
                        file.saved = Some(row);
                    }
                }
                if self.unsaved.clear() {
                    tracing::info!(flow = self.id, "positions are saved again");
                }
                true
            }
            Err(error) => {
                self.parts.stats.save_errors.add(1);
                if let Some(held) = self.unsaved.pass() {
                    tracing::error!(
                        flow = self.id,
                        error = &error as &dyn std::error::Error,
                        held_back = held,
                        "positions could not be saved; a crash now would send lines again"
                    );
                }
                self.save_at = Some(Instant::now() + SAVE_RETRY);
                false
            }
        }
    }

    /// Saves, again and again until it works: no byte is read of a file whose start is not stored.
    /// False when told to stop before it worked.
    async fn save_first(&mut self) -> Result<bool, Aborted> {
        loop {
            if self.save().await {
                return Ok(true);
            }
            if self.parts.stop.is_cancelled() {
                return Ok(false);
            }
            self.save_at = None;
            self.pause(SAVE_RETRY).await?;
        }
    }

    fn measure(&self) {
        let behind: u64 = self.files.values().map(Tracked::behind).sum();
        let files = self.files.values().filter(|f| f.gone.is_none()).count();
        #[expect(clippy::cast_precision_loss, reason = "a gauge is an estimate")]
        self.parts.stats.bytes_behind.set(behind as f64);
        #[expect(clippy::cast_precision_loss, reason = "a gauge is an estimate")]
        self.parts.stats.files.set(files as f64);
    }

    fn now_millis(&self) -> u64 {
        runtime::time::epoch_millis(self.parts.clock.now())
    }
}

async fn sleep_until(at: Option<Instant>) {
    if let Some(at) = at {
        tokio::time::sleep_until(at).await;
    }
}

#[cfg(test)]
mod harness;
#[cfg(test)]
mod simulation_tests;
#[cfg(test)]
mod story_tests;
