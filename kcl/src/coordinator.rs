//! Takes leases and keeps them, apart from reading and from processors: on a thread with its own
//! runtime and its own connections, so that nothing a processor does delays a renewal.

use crate::lease::held::{self, HeldLease, Keeping, OwnedLease};
use crate::lease::table_check::Refusal;
use crate::lease::{Lease, LeaseStore, StoreError, Written};
use crate::settings::Options;
use crate::taking::{self, Observations, Take, TakingRules, Why};
use futures::StreamExt;
use parking_lot::Mutex;
use runtime::{Chance, Metrics};
use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::{CancellationToken, DropGuard};

/// Where leases are renewed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum RenewalPlace {
    /// On a thread with a runtime and connections of its own: processors that block every worker thread
    /// lose no lease.
    #[default]
    OwnThread,
    /// On a task of the runtime that runs the scheduler: for tests on a paused clock.
    CallersRuntime,
}

/// The leases whose consumers have not ended, lost ones among them.
pub(crate) type Holdings = Arc<Mutex<BTreeMap<String, HeldLease>>>;

/// News for the scheduler.
#[derive(Debug)]
pub(crate) enum Event {
    /// A lease was taken and is being kept.
    Held(Box<OwnedLease>),
    /// The table turned out to be used by others in ways that this version does not take part in.
    Refused(Refusal),
}

#[derive(Debug)]
enum Command {
    TakeNow,
    /// Answered when no take is under way any more.
    StopTaking(oneshot::Sender<()>),
}

// The channels are not bounded by a number, but by what they carry: a lease is taken once until its
// consumer is gone, and a prompt comes once per finished shard.

/// The scheduler's end of a running coordinator. Dropping it stops the coordinator without a write.
#[derive(Debug)]
pub(crate) struct Coordinator {
    pub(crate) events: mpsc::UnboundedReceiver<Event>,
    /// The leases as last seen.
    pub(crate) view: watch::Receiver<Arc<Vec<Lease>>>,
    commands: mpsc::UnboundedSender<Command>,
    held: Holdings,
    ended: CancellationToken,
    _stop: DropGuard,
    _task: JoinSet<()>,
}

/// A handle to ask the coordinator.
#[derive(Debug, Clone)]
pub(crate) struct Prompt(mpsc::UnboundedSender<Command>);

impl Prompt {
    /// Looks at the table now: there may be something to take.
    pub(crate) fn take_now(&self) {
        let _ = self.0.send(Command::TakeNow);
    }
}

impl Coordinator {
    /// Starts taking and keeping leases.
    pub(crate) fn start(
        place: RenewalPlace,
        options: &Options,
        store: Arc<dyn LeaseStore>,
        chance: &Chance,
        metrics: &Metrics,
        held: Holdings,
    ) -> std::io::Result<Self> {
        let (events, received) = mpsc::unbounded_channel();
        let (commands, queue) = mpsc::unbounded_channel();
        let (seen, view) = watch::channel(Arc::new(Vec::new()));
        let stop = CancellationToken::new();
        let ended = CancellationToken::new();
        let worker = [("WorkerIdentifier", options.worker.as_str())];
        let taker = Taker {
            keeping: Keeping {
                store: Arc::clone(&store),
                worker: options.worker.clone(),
                failover: options.failover,
                renew_interval: options.renew_interval(),
                permits: Arc::new(Semaphore::new(options.renewals_at_once)),
                lost_leases: metrics.counter("LostLeases", &worker),
                failed_renewals: metrics.counter("FailedRenewals", &worker),
            },
            store,
            rules: TakingRules {
                failover: options.failover,
                max_leases: options.max_leases,
                max_steal: options.max_steal,
                priority: options.priority,
            },
            interval: options.take_interval,
            consistent: options.consistent_reads,
            at_once: options.renewals_at_once,
            chance: chance.fork(),
            metrics: metrics.clone(),
            events,
            seen,
            observations: Observations::default(),
            held: Arc::clone(&held),
            keepers: JoinSet::new(),
            keys: BTreeMap::new(),
        };
        let run = {
            let (stop, ended) = (stop.clone(), ended.clone().drop_guard());
            async move {
                let _ended = ended;
                taker.run(queue, stop).await;
            }
        };
        let mut task = JoinSet::new();
        match place {
            RenewalPlace::CallersRuntime => {
                task.spawn(run);
            }
            RenewalPlace::OwnThread => own_thread(run)?,
        }
        Ok(Self {
            events: received,
            view,
            commands,
            held,
            ended,
            _stop: stop.drop_guard(),
            _task: task,
        })
    }

    pub(crate) fn prompt(&self) -> Prompt {
        Prompt(self.commands.clone())
    }

    /// Takes no more leases; goes on keeping those it has. Leases that were taken until the answer came
    /// are in the events.
    pub(crate) fn stop_taking(&self) -> oneshot::Receiver<()> {
        let (reply, answer) = oneshot::channel();
        let _ = self.commands.send(Command::StopTaking(reply));
        answer
    }

    /// Waits until leases whose consumers are gone are given back.
    pub(crate) async fn drain(&self, at_most: Duration) {
        let drained = async {
            while !self.held.lock().is_empty() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let _ = tokio::time::timeout(at_most, drained).await;
    }

    /// Stops keeping leases, without a write, and waits until all tasks are gone.
    pub(crate) async fn stop(self) {
        let ended = self.ended.clone();
        drop(self);
        ended.cancelled().await;
    }
}

fn own_thread(run: impl Future<Output = ()> + Send + 'static) -> std::io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    std::thread::Builder::new()
        .name("kcl-leases".to_owned())
        .spawn(move || runtime.block_on(run))
        .map(drop)
}

struct Taker {
    keeping: Keeping,
    store: Arc<dyn LeaseStore>,
    rules: TakingRules,
    interval: Duration,
    consistent: bool,
    at_once: usize,
    chance: Chance,
    metrics: Metrics,
    events: mpsc::UnboundedSender<Event>,
    seen: watch::Sender<Arc<Vec<Lease>>>,
    observations: Observations,
    held: Holdings,
    keepers: JoinSet<()>,
    keys: BTreeMap<Id, String>,
}

impl Taker {
    async fn run(
        mut self,
        mut commands: mpsc::UnboundedReceiver<Command>,
        stop: CancellationToken,
    ) {
        let mut next = Some(Instant::now());
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                command = commands.recv() => match command {
                    Some(Command::TakeNow) => next = next.map(|_| Instant::now()),
                    Some(Command::StopTaking(reply)) => {
                        next = None;
                        let _ = reply.send(());
                    }
                    None => break,
                },
                Some(ended) = self.keepers.join_next_with_id() => self.released(ended),
                () = sleep_until(next.unwrap_or_else(Instant::now)), if next.is_some() => {
                    let begun = Instant::now();
                    tokio::select! {
                        biased;
                        () = stop.cancelled() => break,
                        () = self.take() => {}
                    }
                    // Workers that started together must not look at the table together for ever.
                    let spread = self.interval / 10;
                    let spread = spread.mul_f64(self.chance.unit());
                    next = Some(begun + self.interval + spread);
                }
            }
        }
        self.keepers.shutdown().await;
        self.held.lock().clear();
    }

    fn released(&mut self, ended: Result<(Id, ()), JoinError>) {
        let id = match ended {
            Ok((id, ())) => id,
            Err(error) => {
                tracing::error!(%error, "a lease's task failed; the lease is lost");
                error.id()
            }
        };
        if let Some(key) = self.keys.remove(&id) {
            self.held.lock().remove(&key);
        }
    }

    async fn take(&mut self) {
        let me = self.keeping.worker.clone();
        let begun = Instant::now();
        let list = match self.store.list(self.consistent).await {
            Ok(list) => list,
            Err(StoreError::Refused(refusal)) => {
                let _ = self.events.send(Event::Refused(refusal));
                return;
            }
            Err(error) => {
                tracing::warn!(%error, "lease table not read; trying again");
                return;
            }
        };
        for problem in &list.problems {
            tracing::error!(%problem, "row of the lease table left aside");
            self.metrics
                .counter("LeaseDeserializationFailureCount", &[])
                .add(1);
        }
        self.observations.update(&list.leases, begun);
        let plan = {
            let held = self.held.lock().clone();
            let is_held = |key: &str| held.contains_key(key);
            let now = Instant::now();
            let (rules, seen) = (&self.rules, &self.observations);
            taking::plan(&list.leases, seen, &me, &is_held, rules, now, &self.chance)
        };
        let worker = [("WorkerIdentifier", me.as_str())];
        let spillover = u32::try_from(plan.spillover).unwrap_or(u32::MAX);
        self.metrics
            .gauge("LeaseSpillover", &worker)
            .set(f64::from(spillover));
        let total = u32::try_from(list.leases.len()).unwrap_or(u32::MAX);
        self.metrics
            .gauge("TotalLeases", &worker)
            .set(f64::from(total));
        self.seen.send_replace(Arc::new(list.leases));

        // A scan that took long leaves counters behind that living owners have changed since.
        let stale = begun.elapsed() > self.keeping.renew_interval / 2;
        let store = Arc::clone(&self.store);
        let mut taking = futures::stream::iter(plan.takes)
            .map(|take| take_one(Arc::clone(&store), me.clone(), take, stale))
            .buffered(self.at_once.max(1));
        while let Some(taken) = taking.next().await {
            let Some((lease, why, at)) = taken else {
                continue;
            };
            tracing::info!(shard = lease.key, worker = me, ?why, checkpoint = %lease.checkpoint, "lease taken");
            self.metrics.counter("TakenLeases", &worker).add(1);
            if why == Why::Expired {
                self.metrics.counter("ExpiredLeases", &worker).add(1);
            }
            let key = lease.key.clone();
            let (owned, keeper) = held::keep(self.keeping.clone(), lease, at);
            self.held.lock().insert(key.clone(), owned.held.clone());
            let task = self.keepers.spawn(keeper);
            self.keys.insert(task.id(), key);
            let _ = self.events.send(Event::Held(Box::new(owned)));
        }
    }
}

/// Attempts at one take.
const TAKE_ATTEMPTS: usize = 3;

/// Takes one lease: the row as it is then, and when the write began.
async fn take_one(
    store: Arc<dyn LeaseStore>,
    me: String,
    take: Take,
    stale: bool,
) -> Option<(Lease, Why, Instant)> {
    let Take {
        lease: mut seen,
        why,
    } = take;
    if stale && why == Why::Stolen {
        let owner = seen.owner.clone();
        let now = store.get(&seen.key).await.ok().flatten();
        seen = now.filter(|lease| lease.owner == owner)?;
    }
    // The earliest write of ours that may have taken effect: others count from then.
    let mut in_doubt = None;
    for attempt in 1..=TAKE_ATTEMPTS {
        let begun = Instant::now();
        match store.take(&seen, &me).await {
            Ok(Written::Done(Some(lease))) => return Some((*lease, why, begun)),
            Ok(Written::Refused(Some(row))) => {
                let own = row.owner.as_deref() == Some(&me)
                    && Some(row.counter) == seen.counter.checked_add(1)
                    && row.checkpoint_owner.is_none();
                return in_doubt.filter(|_| own).map(|begun| (*row, why, begun));
            }
            Ok(Written::Done(None) | Written::Refused(None)) => return None,
            Err(error) => {
                tracing::warn!(shard = seen.key, %error, attempt, "lease not taken");
                if !error.is_retryable() {
                    return None;
                }
                if error.may_have_taken_effect() {
                    in_doubt.get_or_insert(begun);
                }
            }
        }
    }
    None
}
