//! What reads bytes of strangers, under libFuzzer: the endpoint's decoders (JSON, CBOR, forms, gzip, the
//! text of faults, signatures, requests for event streams) and the reader of aggregates.
//!
//! ```text
//! cargo install cargo-fuzz
//! export ASAN_OPTIONS=detect_odr_violation=0 # SQLite's tables look doubled to it.
//! cargo +nightly fuzz run json -- -max_total_time=300 -dict=fuzz/dictionary
//! ```
//!
//! The targets are `json`, `cbor`, `subscribe`, `recorders`, `faults`, `signed` and `aggregation`. What each
//! takes, and what has to hold, stands in [`requests`] and [`aggregates`]; the tests `local/tests/corpus.rs`
//! and `aggregation/tests/corpus.rs` do the same with each file of `fuzz/corpus`, on stable, in `cargo
//! test`.
//!
//! Whatever is found becomes a file there, under a name that says what it was, with the commit that mends
//! it. What libFuzzer adds while it runs is not kept: give it a directory of its own in front
//! (`cargo +nightly fuzz run json /tmp/json fuzz/corpus/json`).

pub mod aggregates;
pub mod requests;
