//! What stands around the core: rules of faults, the control path, signatures, TLS, recorders, what
//! dynoxide lacks, and the bound on memory.

#[cfg(test)]
mod client;
#[cfg(test)]
mod control_path;
#[cfg(test)]
#[path = "../support/http2.rs"]
mod http2;
#[cfg(test)]
mod memory;
#[cfg(test)]
mod partitions;
#[cfg(test)]
mod recorders;
#[cfg(test)]
mod rules;
#[cfg(test)]
mod signatures;
#[cfg(test)]
mod store;
#[cfg(test)]
mod tls;
