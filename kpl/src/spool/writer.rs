//! The task that owns the files: callers that come at the same time share a write and a flush.

use super::log::Log;
use super::{SpoolError, SpoolOptions, SpoolSync};
use crate::events::ProducerEvent;
use std::collections::VecDeque;
use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::{CancellationToken, DropGuard};

/// Requests taken at a time.
const REQUESTS: usize = 1024;

/// Bytes on their way to the disk. Callers behind them wait without a copy of their records.
const ON_THEIR_WAY: u32 = 16 << 20;

/// Where records are spooled. Clones share it.
#[derive(Debug, Clone)]
pub(crate) struct Spool {
    requests: mpsc::UnboundedSender<Request>,
    room: Arc<Semaphore>,
    /// Cancelled when what an earlier producer left is admitted again: new records come behind it.
    recovered: CancellationToken,
}

/// The outcome of an append: the number of the first record, the others follow.
pub(crate) type Appended = Result<u64, Arc<SpoolError>>;

/// Unbounded, for there is room for the first and the second stands for records that were admitted.
#[derive(Debug)]
enum Request {
    Append(Append),
    Resolved(Vec<Range<u64>>),
    /// Writes everything down and ends.
    Close,
}

#[derive(Debug)]
struct Append {
    records: Vec<u8>,
    count: u64,
    reply: oneshot::Sender<Appended>,
}

/// What a caller waits for. Dropped with an answer that nobody has seen, its records count as resolved.
struct Answer {
    answer: oneshot::Receiver<Appended>,
    count: u64,
    spool: Spool,
}

impl Future for Answer {
    type Output = Appended;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Appended> {
        let answer = ready!(Pin::new(&mut self.answer).poll(cx));
        Poll::Ready(answer.unwrap_or_else(|_| Err(Arc::new(SpoolError::Closed))))
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        // From here on the writer is told that nobody waits, and does it itself.
        self.answer.close();
        if let Ok(Ok(first)) = self.answer.try_recv() {
            let numbers = first..first.saturating_add(self.count);
            self.spool.resolved(vec![numbers]);
        }
    }
}

impl Spool {
    /// The handle, and the task that has to run for it. `told` is told what the disk does.
    pub(crate) fn new(
        log: Log,
        options: SpoolOptions,
        told: impl Fn(ProducerEvent) + Send,
    ) -> (Self, impl Future<Output = ()> + Send) {
        let (sender, requests) = mpsc::unbounded_channel();
        let writer = Writer {
            log: Some(log),
            options,
            requests,
            waiting: VecDeque::new(),
            full: false,
            sync_at: None,
            mark_at: None,
            told,
        };
        let spool = Self {
            requests: sender,
            room: Arc::new(Semaphore::new(ON_THEIR_WAY as usize)),
            recovered: CancellationToken::new(),
        };
        (spool, writer.run())
    }

    /// New records wait until this is dropped.
    pub(crate) fn recovering(&self) -> DropGuard {
        self.recovered.clone().drop_guard()
    }

    /// Waits until what an earlier producer left is admitted again.
    pub(crate) async fn recovered(&self) {
        self.recovered.cancelled().await;
    }

    /// Spools so many records, which take `size` bytes in the format of a segment and are put into it
    /// by `encode`. Waits while there is no room for them. Callers are served in their order.
    ///
    /// # Cancellation
    /// A future that is dropped has spooled nothing, or what counts as resolved.
    pub(crate) async fn append(
        &self,
        size: usize,
        count: u64,
        encode: impl FnOnce() -> Vec<u8> + Send,
    ) -> Appended {
        let size = u32::try_from(size)
            .unwrap_or(ON_THEIR_WAY)
            .min(ON_THEIR_WAY);
        let closed = || Err(Arc::new(SpoolError::Closed));
        let Ok(_room) = self.room.acquire_many(size).await else {
            return closed();
        };
        let (reply, answer) = oneshot::channel();
        let records = encode();
        self.tell(Request::Append(Append {
            records,
            count,
            reply,
        }));
        let spool = self.clone();
        let answer = Answer {
            answer,
            count,
            spool,
        };
        answer.await
    }

    fn tell(&self, request: Request) {
        // Once the task has ended, what is told is dropped: callers are answered as closed.
        drop(self.requests.send(request));
    }

    /// These records were delivered, or have failed for good and their caller was told.
    pub(crate) fn resolved(&self, numbers: Vec<Range<u64>>) {
        if !numbers.is_empty() {
            self.tell(Request::Resolved(numbers));
        }
    }

    /// Lets the task end once everything before is written down.
    pub(crate) fn close(&self) {
        self.tell(Request::Close);
    }
}

struct Writer<T> {
    /// Away while a blocking thread works on it.
    log: Option<Log>,
    options: SpoolOptions,
    requests: mpsc::UnboundedReceiver<Request>,
    /// For which there was no room, in the order of their coming.
    waiting: VecDeque<Append>,
    /// It was told that the spool is full, and has not become much emptier since.
    full: bool,
    sync_at: Option<Instant>,
    mark_at: Option<Instant>,
    told: T,
}

/// What is done at once on a blocking thread.
#[derive(Default)]
struct Work {
    resolved: Vec<Range<u64>>,
    appends: VecDeque<Append>,
    sync: bool,
    mark: bool,
}

impl<T: Fn(ProducerEvent) + Send> Writer<T> {
    async fn run(mut self) {
        let mut requests = Vec::new();
        let mut open = true;
        while open {
            let wake = self.sync_at.into_iter().chain(self.mark_at).min();
            tokio::select! {
                biased;
                received = self.requests.recv_many(&mut requests, REQUESTS) => open = received > 0,
                () = sleep_until(wake.unwrap_or_else(Instant::now)), if wake.is_some() => {}
            }
            let mut work = Work::default();
            for request in requests.drain(..) {
                match request {
                    Request::Append(append) => self.waiting.push_back(append),
                    Request::Resolved(numbers) => work.resolved.extend(numbers),
                    Request::Close => open = false,
                }
            }
            let now = Instant::now();
            work.sync = !open || self.sync_at.is_some_and(|at| at <= now);
            work.mark = !open || self.mark_at.is_some_and(|at| at <= now);
            work.appends = std::mem::take(&mut self.waiting);
            if !self.work(work).await {
                return;
            }
        }
    }

    /// False when the runtime takes no more work.
    async fn work(&mut self, work: Work) -> bool {
        let Some(mut log) = self.log.take() else {
            return false;
        };
        let sync = self.options.sync;
        let (synced, marked) = (work.sync, work.mark);
        let done = tokio::task::spawn_blocking(move || {
            let done = work.carry_out(&mut log, sync);
            (log, done)
        });
        let Ok((log, done)) = done.await else {
            return false;
        };
        let bytes = log.bytes();
        self.full &= bytes > self.options.max_bytes / 4 * 3;
        if !done.waiting.is_empty() && !std::mem::replace(&mut self.full, true) {
            (self.told)(ProducerEvent::SpoolFull { bytes });
        }
        if let Some(error) = done.failed {
            let message = error.to_string();
            (self.told)(ProducerEvent::SpoolFailed { message });
        }
        self.waiting = done.waiting;
        let now = Instant::now();
        if let SpoolSync::Every(delay) = sync {
            let before = self.sync_at.filter(|_| !synced);
            self.sync_at = due(before, log.is_unsynced(), now, delay);
        }
        let before = self.mark_at.filter(|_| !marked);
        self.mark_at = due(before, log.is_unmarked(), now, self.options.mark_every);
        self.log = Some(log);
        true
    }
}

/// When something is to be done, if it is `needed`: when that was said `before`, also where that has come
/// while the disk was busy.
fn due(before: Option<Instant>, needed: bool, now: Instant, every: Duration) -> Option<Instant> {
    needed.then(|| before.unwrap_or_else(|| now + every))
}

/// What became of it.
struct Worked {
    /// For which there is no room.
    waiting: VecDeque<Append>,
    /// Why some were refused.
    failed: Option<Arc<SpoolError>>,
}

impl Work {
    fn carry_out(mut self, log: &mut Log, sync: SpoolSync) -> Worked {
        let resolved = !self.resolved.is_empty();
        for numbers in self.resolved {
            log.resolve(numbers);
        }
        let short = |log: &Log, append: &Append| {
            !log.has_room(u64::try_from(append.records.len()).unwrap_or(u64::MAX))
        };
        // Segments may go only once it is written down that their records are resolved.
        let needs_room = resolved && self.appends.front().is_some_and(|first| short(log, first));
        if self.mark || needs_room {
            log.mark().unwrap_or_else(|error| report(&error));
        }
        let mut written = Vec::new();
        while let Some(append) = self.appends.pop_front() {
            if short(log, &append) {
                self.appends.push_front(append);
                break;
            }
            let outcome = log.append(&append.records, append.count);
            written.push((append.reply, append.count, outcome.map_err(Arc::new)));
        }
        let synced = if self.sync || sync == SpoolSync::Always {
            log.sync().map_err(Arc::new)
        } else {
            Ok(())
        };
        if let Err(error) = &synced {
            report(error);
        }
        let mut failed = None;
        for (reply, count, outcome) in written {
            let admitted = match (&synced, sync) {
                (Err(error), SpoolSync::Always) => Err(Arc::clone(error)),
                _ => outcome.clone(),
            };
            failed = failed.or_else(|| admitted.as_ref().err().cloned());
            let refused = admitted.is_err();
            let refused = reply.send(admitted).is_err() || refused;
            if let Ok(first) = outcome
                && refused
            {
                // Written, but never admitted: it must not be sent after a crash.
                log.resolve(first..first.saturating_add(count));
            }
        }
        Worked {
            waiting: self.appends,
            failed,
        }
    }
}

/// Says that the disk failed where no caller waits for the answer: records are sent twice after a
/// crash rather than not at all.
fn report(error: &SpoolError) {
    tracing::warn!(%error, "the spool could not be brought up to date; it is tried again");
}
