//! What the unit tests use. Outside of an exploration: the product's own primitives. Inside: the
//! same behind a gate of shuttle's, which blocks and lets others go on as the explorer wants it.

use shuttle::current::try_get_current_task;
use shuttle::sync::{Mutex as Gate, MutexGuard as Passed, PoisonError};
use std::ops::{Deref, DerefMut};
use std::sync::atomic::Ordering;
use tokio::sync::futures::Notified;

#[derive(Debug, Default)]
pub(crate) struct Mutex<T> {
    gate: Gate<()>,
    value: parking_lot::Mutex<T>,
}

/// The value's lock goes before the gate's.
#[derive(Debug)]
pub(crate) struct MutexGuard<'a, T> {
    value: parking_lot::MutexGuard<'a, T>,
    _passed: Option<Passed<'a, ()>>,
}

impl<T> Mutex<T> {
    pub(crate) const fn new(value: T) -> Self {
        Self {
            gate: Gate::new(()),
            value: parking_lot::Mutex::new(value),
        }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        let explored = try_get_current_task().is_some();
        let pass = || self.gate.lock().unwrap_or_else(PoisonError::into_inner);
        let _passed = explored.then(pass);
        MutexGuard {
            value: self.value.lock(),
            _passed,
        }
    }
}

impl<T> Deref for MutexGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.value
    }
}

#[derive(Debug)]
pub(crate) struct AtomicU64(std::sync::atomic::AtomicU64);

impl AtomicU64 {
    pub(crate) const fn new(value: u64) -> Self {
        Self(std::sync::atomic::AtomicU64::new(value))
    }

    pub(crate) fn load(&self, order: Ordering) -> u64 {
        others();
        self.0.load(order)
    }

    pub(crate) fn store(&self, value: u64, order: Ordering) {
        others();
        self.0.store(value, order);
    }
}

#[derive(Debug, Default)]
pub(crate) struct Notify(tokio::sync::Notify);

impl Notify {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    pub(crate) fn notified(&self) -> Notified<'_> {
        others();
        self.0.notified()
    }

    pub(crate) fn notify_waiters(&self) {
        others();
        self.0.notify_waiters();
    }
}

/// Others may go on here.
fn others() {
    if try_get_current_task().is_some() {
        shuttle::thread::sleep(std::time::Duration::ZERO);
    }
}
