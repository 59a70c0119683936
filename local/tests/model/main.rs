//! The endpoint against a plain sequential model: every answer of one caller, what is left after many,
//! and a reader at the tip of a shard.
//!
//! `KINESIS_SEEDS=N` runs N seeds in place of the usual number, `KINESIS_SEED=n` one;
//! `KINESIS_RECORDS=N` lets so many records pass the reader at the tip.

#[cfg(test)]
mod client;
#[cfg(test)]
mod ledger;
#[cfg(test)]
mod plain;
#[cfg(test)]
mod seeds;
#[cfg(test)]
mod sequential;
#[cfg(test)]
mod shards;
#[cfg(test)]
mod threads;
#[cfg(test)]
mod tip;
