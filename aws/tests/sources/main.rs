//! Where credentials come from: each source against answers as its service gives them, through the
//! whole of a call to Kinesis. Nothing of this touches the process' environment or the network.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test's helper may stop the test"
)]

mod chain;
mod container;
mod instance;
mod profiles;
mod roles;
mod sso;
mod world;
