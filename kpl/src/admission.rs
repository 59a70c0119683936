//! Admission: how much may be outstanding, who waits, and what a flush waits for.
//!
//! A record is charged before it is taken and released when it is resolved. Callers wait in the order
//! of their coming. Each record belongs to the epoch in which its caller came; a flush ends an epoch
//! and waits until it and all before it are empty, callers that still wait included.

use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll, Waker};
use tokio::sync::Notify;

/// An amount of what is bounded.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Charge {
    pub(crate) bytes: usize,
    pub(crate) records: usize,
}

/// What was admitted: it must be released once it is resolved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Permit {
    pub(crate) charge: Charge,
    pub(crate) epoch: u64,
}

/// The producer takes no more records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct IntakeClosed;

#[derive(Debug)]
pub(crate) struct Admission {
    bound: Charge,
    state: Mutex<State>,
    /// The present epoch, readable without the lock.
    epoch: AtomicU64,
    /// Told whenever an epoch has emptied.
    emptied: Notify,
}

#[derive(Debug)]
struct State {
    closed: bool,
    used: Charge,
    admitted: u64,
    epoch: u64,
    /// Records of the present epoch, admitted or waiting.
    present: usize,
    /// Records of earlier epochs, admitted or waiting; none is 0.
    earlier: BTreeMap<u64, usize>,
    next_ticket: u64,
    waiting: BTreeMap<u64, Waiting>,
    granted: BTreeMap<u64, Permit>,
}

#[derive(Debug)]
struct Waiting {
    permit: Permit,
    waker: Waker,
}

impl Charge {
    fn plus(self, other: Self) -> Self {
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

impl State {
    fn admit(&mut self, permit: Permit) {
        self.used = self.used.plus(permit.charge);
        self.admitted += permit.charge.records as u64;
    }

    /// True when an epoch has emptied by it.
    fn leave(&mut self, permit: Permit) -> bool {
        if permit.epoch == self.epoch {
            self.present = self.present.saturating_sub(permit.charge.records);
            return false;
        }
        let Some(count) = self.earlier.get_mut(&permit.epoch) else {
            return false;
        };
        *count = count.saturating_sub(permit.charge.records);
        if *count > 0 {
            return false;
        }
        self.earlier.remove(&permit.epoch);
        true
    }

    /// Admits callers in their order, as far as the bound allows.
    fn serve(&mut self, bound: Charge, wake: &mut Vec<Waker>) {
        while let Some(first) = self.waiting.first_entry() {
            let permit = first.get().permit;
            if !self.used.plus(permit.charge).within(bound) {
                return;
            }
            let (ticket, waiting) = first.remove_entry();
            self.admit(permit);
            self.granted.insert(ticket, permit);
            wake.push(waiting.waker);
        }
    }
}

impl Admission {
    pub(crate) fn new(bound: Charge) -> Self {
        let state = State {
            closed: false,
            used: Charge::default(),
            admitted: 0,
            epoch: 1,
            present: 0,
            earlier: BTreeMap::new(),
            next_ticket: 0,
            waiting: BTreeMap::new(),
            granted: BTreeMap::new(),
        };
        Self {
            bound,
            state: Mutex::new(state),
            epoch: AtomicU64::new(1),
            emptied: Notify::new(),
        }
    }

    pub(crate) const fn bound(&self) -> Charge {
        self.bound
    }

    /// Waits for its turn, then for room. A charge above the bound counts as the whole bound.
    ///
    /// Cancel-safe: a dropped future leaves the queue and gives back what it was granted.
    pub(crate) fn acquire(&self, charge: Charge) -> Acquire<'_> {
        let charge = Charge {
            bytes: charge.bytes.min(self.bound.bytes),
            records: charge.records.min(self.bound.records),
        };
        Acquire {
            admission: self,
            charge,
            ticket: None,
        }
    }

    /// Admits at once or not at all; nobody who waits is overtaken.
    pub(crate) fn try_acquire(&self, charge: Charge) -> Result<Permit, NotNow> {
        let mut acquire = self.acquire(charge);
        let mut state = self.state.lock();
        if state.closed {
            return Err(NotNow::Closed);
        }
        let permit = acquire.admit(&mut state).ok_or(NotNow::Full)?;
        state.present += permit.charge.records;
        Ok(permit)
    }

    /// Gives back what was admitted.
    pub(crate) fn release(&self, permits: impl IntoIterator<Item = Permit>) {
        let mut wake = Vec::new();
        let mut emptied = false;
        {
            let mut state = self.state.lock();
            for permit in permits {
                state.used = state.used.minus(permit.charge);
                emptied |= state.leave(permit);
            }
            emptied |= state.used.records == 0;
            state.serve(self.bound, &mut wake);
        }
        self.tell(wake, emptied);
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
        let mut emptied = false;
        {
            let mut state = self.state.lock();
            state.closed = true;
            for waiting in std::mem::take(&mut state.waiting).into_values() {
                emptied |= state.leave(waiting.permit);
                wake.push(waiting.waker);
            }
        }
        self.tell(wake, emptied);
    }

    /// Ends the present epoch. Gives the last epoch that a barrier set now covers.
    pub(crate) fn end_epoch(&self) -> u64 {
        let mut state = self.state.lock();
        let ended = state.epoch;
        if state.present == 0 {
            return ended - 1;
        }
        let present = std::mem::take(&mut state.present);
        state.earlier.insert(ended, present);
        state.epoch += 1;
        self.epoch.store(state.epoch, Relaxed);
        ended
    }

    /// The present epoch. What is put for an earlier one is waited for by a flush.
    pub(crate) fn epoch(&self) -> u64 {
        self.epoch.load(Relaxed)
    }

    /// Waits until nothing of `epoch` and those before it is outstanding.
    pub(crate) async fn passed(&self, epoch: u64) {
        self.until(|state| {
            state
                .earlier
                .first_key_value()
                .is_none_or(|(first, _)| *first > epoch)
        })
        .await;
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
        self.state.lock().waiting.len()
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
    charge: Charge,
    ticket: Option<u64>,
}

/// Why nothing was admitted at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NotNow {
    /// There is no room, or others wait for it.
    Full,
    /// The producer takes no more records.
    Closed,
}

impl Acquire<'_> {
    /// Admits if there is room and nobody waits for it.
    fn admit(&mut self, state: &mut State) -> Option<Permit> {
        let permit = Permit {
            charge: self.charge,
            epoch: state.epoch,
        };
        let room = state.used.plus(permit.charge).within(self.admission.bound);
        if !room || !state.waiting.is_empty() {
            return None;
        }
        state.admit(permit);
        Some(permit)
    }
}

impl Future for Acquire<'_> {
    type Output = Result<Permit, IntakeClosed>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        let mut state = this.admission.state.lock();
        if let Some(ticket) = this.ticket {
            if let Some(permit) = state.granted.remove(&ticket) {
                this.ticket = None;
                return Poll::Ready(Ok(permit));
            }
            return match state.waiting.get_mut(&ticket) {
                Some(waiting) => {
                    waiting.waker.clone_from(cx.waker());
                    Poll::Pending
                }
                None => {
                    this.ticket = None;
                    Poll::Ready(Err(IntakeClosed))
                }
            };
        }
        if state.closed {
            return Poll::Ready(Err(IntakeClosed));
        }
        let epoch = state.epoch;
        state.present += this.charge.records;
        if let Some(permit) = this.admit(&mut state) {
            return Poll::Ready(Ok(permit));
        }
        let permit = Permit {
            charge: this.charge,
            epoch,
        };
        let ticket = state.next_ticket;
        state.next_ticket += 1;
        state.waiting.insert(
            ticket,
            Waiting {
                permit,
                waker: cx.waker().clone(),
            },
        );
        this.ticket = Some(ticket);
        Poll::Pending
    }
}

impl Drop for Acquire<'_> {
    fn drop(&mut self) {
        let Some(ticket) = self.ticket else { return };
        let mut wake = Vec::new();
        let mut emptied = false;
        {
            let mut state = self.admission.state.lock();
            if let Some(permit) = state.granted.remove(&ticket) {
                state.used = state.used.minus(permit.charge);
                state.admitted = state.admitted.saturating_sub(permit.charge.records as u64);
                emptied = state.leave(permit) || state.used.records == 0;
            } else if let Some(waiting) = state.waiting.remove(&ticket) {
                emptied = state.leave(waiting.permit);
            }
            // The one behind may fit where this one did not.
            state.serve(self.admission.bound, &mut wake);
        }
        self.admission.tell(wake, emptied);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;
    use futures::task::noop_waker;

    fn charge(bytes: usize, records: usize) -> Charge {
        Charge { bytes, records }
    }

    fn poll<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
        Pin::new(future).poll(&mut Context::from_waker(&noop_waker()))
    }

    fn granted(future: &mut Acquire<'_>) -> Option<Permit> {
        match poll(future) {
            Poll::Ready(Ok(permit)) => Some(permit),
            _ => None,
        }
    }

    #[test]
    fn bounded_by_bytes_and_by_records() {
        let admission = Admission::new(charge(100, 3));
        let a = granted(&mut admission.acquire(charge(60, 1))).unwrap();
        assert!(granted(&mut admission.acquire(charge(41, 1))).is_none());
        assert!(granted(&mut admission.acquire(charge(40, 2))).is_some());
        assert!(granted(&mut admission.acquire(charge(0, 1))).is_none());
        admission.release([a]);
        assert_eq!(admission.outstanding(), charge(40, 2));
        assert_eq!(admission.admitted(), 3);
    }

    #[test]
    fn first_come_first_served_even_if_a_later_one_would_fit() {
        let admission = Admission::new(charge(100, 9));
        let held = granted(&mut admission.acquire(charge(80, 1))).unwrap();
        let (mut large, mut small) = (
            admission.acquire(charge(90, 1)),
            admission.acquire(charge(5, 1)),
        );
        assert!(granted(&mut large).is_none() && granted(&mut small).is_none());
        assert_eq!(admission.waiting(), 2);
        admission.release([held]);
        assert!(granted(&mut large).is_some() && granted(&mut small).is_some());
    }

    #[test]
    fn a_dropped_caller_lets_the_next_one_pass_and_keeps_nothing() {
        let admission = Admission::new(charge(100, 9));
        let held = granted(&mut admission.acquire(charge(80, 1))).unwrap();
        let (mut large, mut small) = (
            admission.acquire(charge(90, 1)),
            admission.acquire(charge(5, 1)),
        );
        assert!(granted(&mut large).is_none() && granted(&mut small).is_none());
        drop(large);
        assert!(granted(&mut small).is_some());
        let mut granted_but_dropped = admission.acquire(charge(90, 1));
        assert!(granted(&mut granted_but_dropped).is_none());
        admission.release([held]);
        drop(granted_but_dropped);
        assert_eq!(admission.outstanding(), charge(5, 1));
        assert_eq!(admission.admitted(), 2);
    }

    #[test]
    fn closing_turns_the_waiting_away() {
        let admission = Admission::new(charge(10, 1));
        let _held = granted(&mut admission.acquire(charge(1, 1))).unwrap();
        let mut waits = admission.acquire(charge(1, 1));
        assert!(poll(&mut waits).is_pending());
        admission.close();
        assert_eq!(poll(&mut waits), Poll::Ready(Err(IntakeClosed)));
        assert_eq!(
            poll(&mut admission.acquire(charge(1, 1))),
            Poll::Ready(Err(IntakeClosed))
        );
        assert!(admission.is_closed());
    }

    #[test]
    fn a_barrier_covers_those_who_wait_and_no_later_ones() {
        let admission = Admission::new(charge(10, 1));
        assert!(
            admission
                .passed(admission.end_epoch())
                .now_or_never()
                .is_some()
        );
        let first = granted(&mut admission.acquire(charge(1, 1))).unwrap();
        let mut waits = admission.acquire(charge(1, 1));
        assert!(poll(&mut waits).is_pending());
        let barrier = admission.end_epoch();
        let mut later = admission.acquire(charge(1, 1));
        assert!(poll(&mut later).is_pending());
        let passed = || admission.passed(barrier).now_or_never().is_some();
        assert!(!passed());
        admission.release([first]);
        assert!(!passed());
        let second = granted(&mut waits).unwrap();
        assert!(second.epoch < admission.epoch());
        admission.release([second]);
        assert!(passed());
        assert!(granted(&mut later).is_some());
        assert!(admission.idle().now_or_never().is_none());
    }

    #[test]
    fn a_charge_above_the_bound_waits_for_all_of_it() {
        let admission = Admission::new(charge(10, 5));
        let all = granted(&mut admission.acquire(charge(99, 1))).unwrap();
        assert_eq!(all.charge, charge(10, 1));
        assert!(granted(&mut admission.acquire(charge(1, 1))).is_none());
    }
}
