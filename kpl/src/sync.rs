//! The locks, the number and the bell at which callers and the engine meet. In the unit tests they are the
//! same ones, but within an exploration of interleavings each use of them is a place where another
//! thread may go on.

#[cfg(test)]
mod explored;

#[cfg(test)]
pub(crate) use explored::{AtomicU64, Mutex, MutexGuard, Notify};
#[cfg(not(test))]
pub(crate) use parking_lot::{Mutex, MutexGuard};
#[cfg(not(test))]
pub(crate) use std::sync::atomic::AtomicU64;
#[cfg(not(test))]
pub(crate) use tokio::sync::Notify;
