//! Workers against the embedded endpoint, on a paused clock.

mod bad_input;
mod consume;
mod faults;
mod processors;
#[path = "../support/mod.rs"]
mod support;
