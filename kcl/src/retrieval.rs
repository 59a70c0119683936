//! Reading shards.

mod pace;
pub(crate) mod polling;
