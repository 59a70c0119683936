//! Admission: how much may be outstanding, who waits, and what a flush waits for.
//!
//! A record is charged before it is taken and released when it is resolved: against the whole, and
//! against the share of its shard, so that one shard that takes nothing cannot fill the whole. Callers
//! wait in the order of their coming; who waits for a shard that is full is overtaken by who names
//! others. Each record belongs to the epoch in which its caller came; a flush ends an epoch and waits
//! until it and all before it are empty, callers that still wait included.

mod pool;
mod shares;
mod state;

use crate::sync::{AtomicU64, Mutex, Notify};
use crate::turns::Turns;
use pool::Member;
pub(crate) use pool::Pool;
use state::{Standing, State};
use std::borrow::Cow;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll, Waker};

/// An amount of what is bounded.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Charge {
    pub(crate) bytes: usize,
    pub(crate) records: usize,
}

/// Where a shard's share is counted.
pub(crate) type Seat = u32;

/// What a caller asks for.
#[derive(Debug, Clone)]
pub(crate) struct Demand {
    total: Charge,
    parts: Parts,
}

#[derive(Debug, Clone)]
enum Parts {
    One(Seat),
    Many(Vec<(Seat, Charge)>),
}

impl From<Demand> for Cow<'_, Demand> {
    fn from(demand: Demand) -> Self {
        Cow::Owned(demand)
    }
}

impl<'a> From<&'a Demand> for Cow<'a, Demand> {
    fn from(demand: &'a Demand) -> Self {
        Cow::Borrowed(demand)
    }
}

/// For nothing.
impl Default for Demand {
    fn default() -> Self {
        Self::one(Seat::MAX, Charge::default())
    }
}

impl Demand {
    /// For one shard.
    pub(crate) const fn one(seat: Seat, charge: Charge) -> Self {
        Self {
            total: charge,
            parts: Parts::One(seat),
        }
    }

    /// For several shards, each named once.
    #[cfg(test)]
    pub(crate) fn many(parts: impl IntoIterator<Item = (Seat, Charge)>) -> Self {
        let mut demand = Self::default();
        demand.refill(parts);
        demand
    }

    /// The same memory for several shards, each named once.
    pub(crate) fn refill(&mut self, parts: impl IntoIterator<Item = (Seat, Charge)>) {
        let mut many = match std::mem::replace(&mut self.parts, Parts::One(Seat::MAX)) {
            Parts::One(_) => Vec::new(),
            Parts::Many(many) => many,
        };
        many.clear();
        many.extend(parts);
        self.total = many
            .iter()
            .fold(Charge::default(), |sum, (_, part)| sum.plus(*part));
        self.parts = Parts::Many(many);
    }

    /// What is to be released once it was admitted in that epoch.
    pub(crate) fn permits(&self, epoch: u64) -> impl Iterator<Item = Permit> {
        let permit = move |(seat, charge)| Permit {
            charge,
            epoch,
            seat,
        };
        self.parts().map(permit)
    }

    fn parts(&self) -> impl Iterator<Item = (Seat, Charge)> {
        let (one, many) = match &self.parts {
            Parts::One(seat) => (Some((*seat, self.total)), &[][..]),
            Parts::Many(parts) => (None, &parts[..]),
        };
        one.into_iter().chain(many.iter().copied())
    }
}

/// What was admitted for one shard: it must be released once it is resolved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Permit {
    pub(crate) charge: Charge,
    pub(crate) epoch: u64,
    pub(crate) seat: Seat,
}

/// The producer takes no more records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct IntakeClosed;

/// Why nothing was admitted at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NotNow {
    /// There is no room, or others wait for it.
    Full,
    /// The producer takes no more records.
    Closed,
}

#[derive(Debug)]
pub(crate) struct Admission {
    bound: Charge,
    /// The percent of the whole that one shard may take, unless its equal share is more.
    percent: usize,
    state: Mutex<State>,
    /// The present epoch, readable without the lock.
    epoch: AtomicU64,
    /// Told whenever an epoch has emptied.
    emptied: Notify,
    /// Callers and senders take turns.
    pub(crate) turns: Turns,
}

impl Charge {
    pub(crate) const MOST: Self = Self {
        bytes: usize::MAX,
        records: usize::MAX,
    };

    pub(crate) const fn plus(self, other: Self) -> Self {
        Self {
            bytes: self.bytes.saturating_add(other.bytes),
            records: self.records.saturating_add(other.records),
        }
    }

    fn minus(self, other: Self) -> Self {
        Self {
            bytes: self.bytes.saturating_sub(other.bytes),
            records: self.records.saturating_sub(other.records),
        }
    }

    fn within(self, bound: Self) -> bool {
        self.bytes <= bound.bytes && self.records <= bound.records
    }
}

/// What one of so many shards may take: `percent` of the whole, or an equal share if that is more.
fn share_of(whole: usize, percent: usize, shards: usize) -> usize {
    let part = (whole / 100).saturating_mul(percent) + (whole % 100) * percent / 100;
    part.max(whole / shards.max(1)).max(1)
}

impl Admission {
    /// `percent` (1 to 100) of the whole is what one shard may take, unless its equal share is more.
    pub(crate) fn new(bound: Charge, percent: usize) -> Self {
        Self {
            bound,
            percent,
            state: Mutex::new(State::new(bound)),
            epoch: AtomicU64::new(1),
            emptied: Notify::new(),
            turns: Turns::default(),
        }
    }

    pub(crate) const fn bound(&self) -> Charge {
        self.bound
    }

    /// From now on what is admitted counts in a pool too. Nothing is admitted yet.
    fn join(&self, member: Member) {
        self.state.lock().member = Some(Arc::new(member));
    }

    /// The most that one of several demands that follow each other should ask for: no more than one shard
    /// may take.
    pub(crate) fn part(&self) -> Charge {
        let (member, share) = {
            let state = self.state.lock();
            (state.member.clone(), state.shares.bound())
        };
        let quarter = Charge {
            bytes: self.bound.bytes / 4,
            records: (self.bound.records / 4).max(1),
        };
        let part = member.map_or(quarter, |member| member.part());
        Charge {
            bytes: quarter.bytes.min(part.bytes).min(share.bytes),
            records: quarter.records.min(part.records).min(share.records).max(1),
        }
    }

    /// There may be room in the pool: serves who waits for it.
    fn serve(&self) {
        let mut wake = Vec::new();
        self.state.lock().serve(&mut wake);
        self.tell(wake, false);
    }

    /// Something was given back to the pool: serves other streams.
    fn serve_others(&self) {
        let member = self.state.lock().member.clone();
        let Some(member) = member else { return };
        for ledger in member.wanting() {
            ledger.admission.serve();
        }
    }

    /// So many shards are open.
    pub(crate) fn set_shards(&self, shards: usize) {
        let share = Charge {
            bytes: share_of(self.bound.bytes, self.percent, shards),
            records: share_of(self.bound.records, self.percent, shards),
        };
        let mut wake = Vec::new();
        {
            let mut state = self.state.lock();
            state.shares.set_bound(share);
            state.serve(&mut wake);
        }
        self.tell(wake, false);
    }

    /// A place to count a shard's share.
    pub(crate) fn open_seat(&self) -> Seat {
        self.state.lock().shares.open()
    }

    /// The shard is gone; its seat is given again when nothing is charged there any more.
    pub(crate) fn close_seat(&self, seat: Seat) {
        self.state.lock().shares.close(seat);
    }

    /// Waits for its turn, then for room. Resolves with the epoch of the records. No demand may be
    /// larger than the whole.
    ///
    /// Cancel-safe: a dropped future leaves the queue and gives back what it was granted.
    pub(crate) fn acquire<'a>(&'a self, demand: impl Into<Cow<'a, Demand>>) -> Acquire<'a> {
        Acquire {
            admission: self,
            demand: demand.into(),
            ticket: None,
        }
    }

    /// The same for a caller that first lets other tasks go on, if it is their turn. It has its place, and
    /// where there is room its admission, before that: a flush that comes meanwhile waits for it.
    pub(crate) async fn acquire_in_turn(&self, demand: &Demand) -> Result<u64, IntakeClosed> {
        let mut acquire = self.acquire(demand);
        if self.turns.take() {
            acquire.enqueue();
            tokio::task::yield_now().await;
        }
        acquire.await
    }

    /// Admits at once or not at all. Gives the epoch of the records.
    pub(crate) fn try_acquire(&self, demand: &Demand) -> Result<u64, NotNow> {
        let mut state = self.state.lock();
        if state.closed {
            return Err(NotNow::Closed);
        }
        self.admit_now(&mut state, demand).ok_or(NotNow::Full)
    }

    /// The same unless it is the turn of other tasks: then nothing is admitted, as if there were no room.
    pub(crate) fn try_acquire_in_turn(&self, demand: &Demand) -> Result<u64, NotNow> {
        if self.turns.is_due() {
            return Err(NotNow::Full);
        }
        self.try_acquire(demand)
    }

    fn admit_now(&self, state: &mut State, demand: &Demand) -> Option<u64> {
        let epoch = state.admit_now(demand)?;
        self.turns.admitted(demand.total.bytes);
        Some(epoch)
    }

    /// Gives back what was admitted.
    pub(crate) fn release(&self, permits: impl IntoIterator<Item = Permit>) {
        let mut wake = Vec::new();
        let mut emptied = false;
        {
            let mut state = self.state.lock();
            for permit in permits {
                emptied |= state.release(permit);
            }
            emptied |= state.used.records == 0;
            state.serve(&mut wake);
        }
        self.tell(wake, emptied);
        self.serve_others();
    }

    fn tell(&self, wake: Vec<Waker>, emptied: bool) {
        wake.into_iter().for_each(Waker::wake);
        if emptied {
            self.emptied.notify_waiters();
        }
    }

    /// No more admissions: who waits is turned away.
    pub(crate) fn close(&self) {
        let mut wake = Vec::new();
        let emptied = self.state.lock().close(&mut wake);
        self.tell(wake, emptied);
    }

    /// Ends the present epoch. Gives the last epoch that a barrier set now covers.
    pub(crate) fn end_epoch(&self) -> u64 {
        let mut state = self.state.lock();
        let ended = state.end_epoch();
        self.epoch.store(state.epoch, Relaxed);
        ended
    }

    /// The present epoch. What is put for an earlier one is waited for by a flush.
    pub(crate) fn epoch(&self) -> u64 {
        self.epoch.load(Relaxed)
    }

    /// Waits until nothing of `epoch` and those before it is outstanding.
    pub(crate) async fn passed(&self, epoch: u64) {
        self.until(|state| state.passed(epoch)).await;
    }

    /// Waits until nothing is outstanding. Callers that wait do not count.
    pub(crate) async fn idle(&self) {
        self.until(|state| state.used.records == 0).await;
    }

    async fn until(&self, reached: impl Fn(&State) -> bool) {
        loop {
            let emptied = self.emptied.notified();
            tokio::pin!(emptied);
            emptied.as_mut().enable();
            if reached(&self.state.lock()) {
                return;
            }
            emptied.await;
        }
    }

    pub(crate) fn outstanding(&self) -> Charge {
        self.state.lock().used
    }

    pub(crate) fn admitted(&self) -> u64 {
        self.state.lock().admitted
    }

    /// How many callers wait.
    pub(crate) fn waiting(&self) -> usize {
        self.state.lock().waiting()
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.state.lock().closed
    }
}

/// A caller's turn.
#[derive(Debug)]
#[must_use]
pub(crate) struct Acquire<'a> {
    admission: &'a Admission,
    demand: Cow<'a, Demand>,
    ticket: Option<u64>,
}

impl Acquire<'_> {
    /// Takes its place before it is polled.
    fn enqueue(&mut self) {
        let mut wake = Vec::new();
        {
            let mut state = self.admission.state.lock();
            if state.closed || self.ticket.is_some() {
                return;
            }
            let demand = self.demand.as_ref().clone();
            self.ticket = Some(state.enqueue(demand, Waker::noop().clone()));
            state.serve(&mut wake);
        }
        self.admission.tell(wake, false);
    }
}

impl Future for Acquire<'_> {
    type Output = Result<u64, IntakeClosed>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        let mut state = this.admission.state.lock();
        let Some(ticket) = this.ticket else {
            if state.closed {
                return Poll::Ready(Err(IntakeClosed));
            }
            if let Some(epoch) = this.admission.admit_now(&mut state, &this.demand) {
                return Poll::Ready(Ok(epoch));
            }
            this.ticket = Some(state.enqueue(this.demand.as_ref().clone(), cx.waker().clone()));
            return Poll::Pending;
        };
        match state.standing(ticket, cx.waker()) {
            Standing::Waiting => Poll::Pending,
            Standing::Admitted(epoch) => {
                this.ticket = None;
                Poll::Ready(Ok(epoch))
            }
            Standing::TurnedAway => {
                this.ticket = None;
                Poll::Ready(Err(IntakeClosed))
            }
        }
    }
}

impl Drop for Acquire<'_> {
    fn drop(&mut self) {
        let Some(ticket) = self.ticket else { return };
        let mut wake = Vec::new();
        let emptied = {
            let mut state = self.admission.state.lock();
            let emptied = state.abandon(ticket);
            // The one behind may fit where this one did not.
            state.serve(&mut wake);
            emptied
        };
        self.admission.tell(wake, emptied);
        self.admission.serve_others();
    }
}

#[cfg(test)]
mod tests;
