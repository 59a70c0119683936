//! HTTP around the core: dates, the control path, TLS, and the server.

pub(crate) mod control_path;
pub(crate) mod date;
mod patience;
pub(crate) mod server;
pub(crate) mod tls;
