//! Stories across the crates, against the embedded endpoint. The examples of the project's README run
//! here as doctests.
#![doc = include_str!("../README.md")]
