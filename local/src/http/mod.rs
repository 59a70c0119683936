//! HTTP around the core: dates, and the server.

pub(crate) mod date;
pub(crate) mod server;
