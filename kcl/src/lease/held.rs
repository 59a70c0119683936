//! A lease that this worker holds: one task owns it and makes every write that concerns it, one after
//! the other, so that renewals and checkpoints never race for the row's counter.

use super::{Lease, LeaseStore, StoreError, Written};
use crate::checkpointer::CheckpointError;
use crate::position::Position;
use parking_lot::Mutex;
use runtime::metrics::Counter;
use std::collections::BTreeSet;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::{Instant, sleep_until, timeout_at};
use tokio_util::sync::{CancellationToken, DropGuard};

/// Commands that may wait for one lease's task.
const QUEUE: usize = 16;

/// Attempts at one checkpoint, or at giving a lease back, and the first pause between them.
const ATTEMPTS: u32 = 5;
const FIRST_DELAY: Duration = Duration::from_millis(50);

/// How a lease is kept.
#[derive(Debug, Clone)]
pub(crate) struct Keeping {
    pub(crate) store: Arc<dyn LeaseStore>,
    pub(crate) worker: String,
    pub(crate) failover: Duration,
    pub(crate) renew_interval: Duration,
    /// Bounds the requests of all leases together.
    pub(crate) permits: Arc<Semaphore>,
    pub(crate) lost_leases: Counter,
    pub(crate) failed_renewals: Counter,
}

enum Command {
    Checkpoint {
        position: Position,
        reply: oneshot::Sender<Result<(), CheckpointError>>,
    },
    SetChildren {
        children: BTreeSet<String>,
        reply: oneshot::Sender<Result<(), StoreError>>,
    },
    Release {
        reply: oneshot::Sender<()>,
    },
}

#[derive(Debug)]
struct Shared {
    key: String,
    /// Cancelled when this worker may no longer write to the lease.
    over: CancellationToken,
    /// Others may own the lease from then on.
    valid_until: Mutex<Instant>,
    checkpoint: Mutex<Position>,
    /// User payload delivered since the last renewal.
    delivered: AtomicU64,
}

/// The handle of a held lease. Clones are cheap.
#[derive(Debug, Clone)]
pub(crate) struct HeldLease {
    shared: Arc<Shared>,
    commands: mpsc::Sender<Command>,
}

/// A held lease in the hands of its one consumer. Dropping it gives the lease back.
#[derive(Debug)]
pub(crate) struct OwnedLease {
    pub(crate) held: HeldLease,
    /// The row as it was taken.
    pub(crate) lease: Lease,
    _in_use: DropGuard,
}

impl HeldLease {
    pub(crate) fn key(&self) -> &str {
        &self.shared.key
    }

    /// False once others may own the lease: it was lost, given back, or not renewed for too long.
    pub(crate) fn is_valid(&self) -> bool {
        !self.shared.over.is_cancelled() && Instant::now() < *self.shared.valid_until.lock()
    }

    /// Waits until this worker may no longer write to the lease.
    pub(crate) async fn over(&self) {
        self.shared.over.cancelled().await;
    }

    /// The last checkpoint that was written.
    pub(crate) fn checkpoint(&self) -> Position {
        self.shared.checkpoint.lock().clone()
    }

    pub(crate) fn add_delivered(&self, bytes: u64) {
        self.shared.delivered.fetch_add(bytes, Relaxed);
    }

    pub(crate) async fn write_checkpoint(&self, position: Position) -> Result<(), CheckpointError> {
        self.send(|reply| Command::Checkpoint { position, reply })
            .await
            .unwrap_or(Err(CheckpointError::LeaseLost))
    }

    /// `None`: the lease is over.
    pub(crate) async fn set_children(
        &self,
        children: BTreeSet<String>,
    ) -> Option<Result<(), StoreError>> {
        self.send(|reply| Command::SetChildren { children, reply })
            .await
    }

    /// Gives the lease back, so that others can take it at once.
    pub(crate) async fn release(&self) {
        let _ = self.send(|reply| Command::Release { reply }).await;
    }

    async fn send<T>(&self, command: impl FnOnce(oneshot::Sender<T>) -> Command) -> Option<T> {
        let (reply, answer) = oneshot::channel();
        self.commands.send(command(reply)).await.ok()?;
        answer.await.ok()
    }
}

/// Begins to keep a lease that was taken by a write that began at `taken`: its handle, and the task
/// that must be run for it.
pub(crate) fn keep(
    keeping: Keeping,
    lease: Lease,
    taken: Instant,
) -> (OwnedLease, impl Future<Output = ()> + Send + use<>) {
    let (commands, queue) = mpsc::channel(QUEUE);
    let in_use = CancellationToken::new();
    let valid_until = taken + keeping.failover;
    let shared = Arc::new(Shared {
        key: lease.key.clone(),
        over: CancellationToken::new(),
        valid_until: Mutex::new(valid_until),
        checkpoint: Mutex::new(lease.checkpoint.clone()),
        delivered: AtomicU64::new(0),
    });
    let keeper = Keeper {
        next_renewal: taken + keeping.renew_interval,
        measured: taken,
        throughput: lease.throughput_kbps,
        keeping,
        lease: lease.clone(),
        shared: Arc::clone(&shared),
        queue,
        valid_until,
        in_doubt: false,
        failures: 0,
        given_up: in_use.clone(),
    };
    let owned = OwnedLease {
        held: HeldLease { shared, commands },
        lease,
        _in_use: in_use.drop_guard(),
    };
    (owned, keeper.run())
}

/// What a refused write tells.
enum Verdict {
    /// An earlier write, or this one, took effect although its answer was lost.
    OwnEffect(Box<Lease>),
    Lost,
}

/// The lease is over; what for is in the log.
struct Over;

struct Keeper {
    keeping: Keeping,
    lease: Lease,
    shared: Arc<Shared>,
    queue: mpsc::Receiver<Command>,
    valid_until: Instant,
    next_renewal: Instant,
    /// A write failed in a way that leaves open whether it took effect.
    in_doubt: bool,
    failures: u32,
    measured: Instant,
    throughput: Option<f64>,
    /// Cancelled when the consumer is gone.
    given_up: CancellationToken,
}

impl Keeper {
    async fn run(mut self) {
        // However this ends, a panic included, the consumer is told.
        let _over = self.shared.over.clone().drop_guard();
        let ended = self.keep().await;
        self.shared.over.cancel();
        // Whoever waits for an answer gets "lost".
        self.queue.close();
        while self.queue.try_recv().is_ok() {}
        match ended {
            Ok(()) => {}
            // The shard stays taken on this worker until its consumer is gone: one consumer at a time.
            Err(Over) => self.given_up.cancelled().await,
        }
    }

    async fn keep(&mut self) -> Result<(), Over> {
        let given_up = self.given_up.clone();
        loop {
            if Instant::now() >= self.valid_until {
                return Err(self.lost("not renewed in time: others may own it"));
            }
            tokio::select! {
                biased;
                () = given_up.cancelled() => {
                    self.evict().await;
                    return Ok(());
                }
                () = sleep_until(self.next_renewal.min(self.valid_until)) => self.renew().await?,
                command = self.queue.recv() => match command {
                    Some(Command::Checkpoint { position, reply }) => {
                        let result = self.checkpoint(&position).await;
                        let over = matches!(result, Err(CheckpointError::LeaseLost));
                        let _ = reply.send(result);
                        if over {
                            return Err(Over);
                        }
                    }
                    Some(Command::SetChildren { children, reply }) => {
                        let _ = reply.send(self.set_children(children).await);
                    }
                    Some(Command::Release { reply }) => {
                        self.evict().await;
                        self.shared.over.cancel();
                        let _ = reply.send(());
                        return Err(Over);
                    }
                    // Every handle is gone, the consumer's among them.
                    None => {
                        self.evict().await;
                        return Ok(());
                    }
                },
            }
        }
    }

    fn lost(&self, reason: &str) -> Over {
        tracing::warn!(
            shard = self.lease.key,
            worker = self.keeping.worker,
            reason,
            "lease lost"
        );
        self.keeping.lost_leases.add(1);
        Over
    }

    /// A write that began at `start` took effect: others count the failover time from then at the
    /// earliest.
    fn wrote(&mut self, start: Instant) {
        self.lease.counter = self.lease.counter.saturating_add(1);
        self.in_doubt = false;
        self.failures = 0;
        self.next_renewal = start + self.keeping.renew_interval;
        self.valid_until = start + self.keeping.failover;
        *self.shared.valid_until.lock() = self.valid_until;
    }

    /// An earlier write of unknown time took effect: what the row holds counts, but not as a sign of
    /// life.
    fn adopt(&mut self, row: &Lease) {
        self.lease.counter = row.counter;
        self.in_doubt = false;
        self.at(row.checkpoint.clone());
    }

    fn at(&mut self, position: Position) {
        *self.shared.checkpoint.lock() = position.clone();
        self.lease.checkpoint = position;
    }

    /// All our writes are conditional on the counter we know and raise it by one: while the outcome of
    /// any is unknown, the row can only be one ahead, in our name. While none is, nobody but another
    /// can have moved it, not even in our name.
    fn judge(&self, row: Option<Box<Lease>>) -> Verdict {
        match row {
            Some(row)
                if self.in_doubt
                    && row.actual_owner() == Some(&*self.keeping.worker)
                    && row.checkpoint_owner.is_none()
                    && Some(row.counter) == self.lease.counter.checked_add(1) =>
            {
                Verdict::OwnEffect(row)
            }
            _ => Verdict::Lost,
        }
    }

    async fn renew(&mut self) -> Result<(), Over> {
        let throughput = self.measure();
        // The second round is for a row that turned out to be one write of ours ahead.
        for _ in 0..2 {
            let start = Instant::now();
            let keeping = self.keeping.clone();
            let (key, counter) = (self.lease.key.clone(), self.lease.counter);
            let write = async {
                let _permit = keeping.permits.acquire().await;
                keeping.store.renew(&key, counter, throughput).await
            };
            match timeout_at(self.valid_until, write).await {
                Ok(Ok(Written::Done(_))) => {
                    self.wrote(start);
                    return Ok(());
                }
                Ok(Ok(Written::Refused(row))) => match self.judge(row) {
                    Verdict::OwnEffect(row) => self.adopt(&row),
                    Verdict::Lost => return Err(self.lost("another worker wrote to it")),
                },
                Ok(Err(error)) => {
                    self.failed(&error);
                    return Ok(());
                }
                // The loop finds that the lease expired.
                Err(_) => return Ok(()),
            }
        }
        Ok(())
    }

    /// Tries again soon, at a growing distance, until the lease expires.
    fn failed(&mut self, error: &StoreError) {
        self.in_doubt |= error.may_have_taken_effect();
        self.failures = self.failures.saturating_add(1);
        self.keeping.failed_renewals.add(1);
        tracing::warn!(shard = self.lease.key, %error, "lease not renewed; trying again");
        let share = 16u32 >> self.failures.min(4);
        self.next_renewal = Instant::now() + self.keeping.renew_interval / share.max(1);
    }

    async fn checkpoint(&mut self, position: &Position) -> Result<(), CheckpointError> {
        let mut delay = FIRST_DELAY;
        for attempt in 1.. {
            if *position == self.lease.checkpoint {
                return Ok(());
            }
            if *position < self.lease.checkpoint {
                return Err(CheckpointError::OutOfRange {
                    position: position.clone(),
                    last: self.lease.checkpoint.clone(),
                    largest: None,
                });
            }
            let start = Instant::now();
            let keeping = self.keeping.clone();
            let lease = self.lease.clone();
            let write = async {
                let _permit = keeping.permits.acquire().await;
                keeping.store.checkpoint(&lease, position).await
            };
            let error = match timeout_at(self.valid_until, write).await {
                Ok(Ok(Written::Done(_))) => {
                    self.wrote(start);
                    self.at(position.clone());
                    return Ok(());
                }
                Ok(Ok(Written::Refused(row))) => match self.judge(row) {
                    Verdict::OwnEffect(row) => {
                        self.adopt(&row);
                        continue;
                    }
                    Verdict::Lost => {
                        self.lost("a checkpoint was refused: another worker wrote to it");
                        return Err(CheckpointError::LeaseLost);
                    }
                },
                Ok(Err(error)) => error,
                Err(_) => {
                    self.lost("not renewed in time: others may own it");
                    return Err(CheckpointError::LeaseLost);
                }
            };
            self.in_doubt |= error.may_have_taken_effect();
            // A renewal that is due goes before another attempt.
            let again = Instant::now() + delay;
            if attempt >= ATTEMPTS || !error.is_retryable() || again >= self.next_renewal {
                return Err(CheckpointError::from_store(error));
            }
            tracing::debug!(shard = self.lease.key, %error, "checkpoint not written; trying again");
            sleep_until(again).await;
            delay *= 2;
        }
        Err(CheckpointError::LeaseLost)
    }

    async fn set_children(&mut self, children: BTreeSet<String>) -> Result<(), StoreError> {
        self.keeping
            .store
            .set_children(&self.lease.key, &children)
            .await?;
        self.lease.children.extend(children);
        Ok(())
    }

    /// Conditional on the owner alone: a renewal whose outcome is unknown is no obstacle, and an attempt
    /// whose answer was lost makes the next one moot.
    async fn evict(&mut self) {
        let key = &self.lease.key;
        let mut delay = FIRST_DELAY;
        for attempt in 1..=ATTEMPTS {
            let evict = self.keeping.store.evict(key, &self.keeping.worker);
            match timeout_at(self.valid_until, evict).await {
                Ok(Ok(_)) => return tracing::debug!(shard = key, "lease given back"),
                Ok(Err(error)) => {
                    tracing::warn!(shard = key, %error, attempt, "lease not given back");
                }
                Err(_) => {
                    return tracing::warn!(shard = key, "lease not given back; it expired");
                }
            }
            sleep_until(Instant::now() + delay).await;
            delay *= 2;
        }
    }

    /// KiB of user payload per second: an exponential average over the renewals, as KCL has it.
    #[expect(clippy::cast_precision_loss, reason = "a measurement")]
    fn measure(&mut self) -> Option<f64> {
        let bytes = self.shared.delivered.swap(0, Relaxed);
        let seconds = self.measured.elapsed().as_secs_f64();
        if bytes > 0 && seconds > 0.0 {
            let rate = bytes as f64 / 1024.0 / seconds;
            self.throughput = Some(self.throughput.map_or(rate, |old| (old + rate) / 2.0));
        }
        self.measured = Instant::now();
        self.throughput
    }
}

#[cfg(test)]
mod tests;
