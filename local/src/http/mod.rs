//! HTTP around the core: dates, the control path, TLS, and the server.

pub(crate) mod control_path;
pub(crate) mod date;
mod patience;
mod room;
pub(crate) mod server;
pub(crate) mod tls;
