//! Workers against the embedded endpoint, on a paused clock.

mod consume;
#[path = "../support/mod.rs"]
mod support;
