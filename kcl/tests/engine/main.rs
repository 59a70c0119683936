//! Workers against the embedded endpoint, on a paused clock.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "these are tests through and through"
)]

mod bad_input;
mod consume;
mod faults;
mod processors;
#[path = "../support/mod.rs"]
mod support;
