//! The KPL aggregated-record format, and the 128-bit hash keys that route records to shards.
//!
//! One Kinesis record can carry many *user records*: a key table, a table of explicit hash keys and
//! the records themselves as a protobuf message, between four magic bytes and the message's MD5.
//! This crate writes that format to the byte as the Amazon Kinesis Producer Library does
//! ([`Aggregate`]) and reads it as the Amazon Kinesis Client Library does ([`deaggregate`]).
//! It knows bytes and nothing else: no runtime, no network, no AWS. It can be used alone, for
//! instance in a Lambda function that a Kinesis stream triggers:
//!
//! ```
//! use aggregation::{Deaggregated, deaggregate};
//! use bytes::Bytes;
//!
//! /// Handles one Kinesis record of the event, `data` being its decoded payload.
//! fn handle(partition_key: &str, data: Bytes) -> Vec<(String, Bytes)> {
//!     match deaggregate(&data, None) {
//!         // Not an aggregate: the record is the user record.
//!         Deaggregated::PassThrough => vec![(partition_key.to_owned(), data)],
//!         Deaggregated::Records(records) => {
//!             if let Some(loss) = records.loss() {
//!                 eprintln!("user records lost: {loss}");
//!             }
//!             // Payloads are views of `data`, not copies.
//!             records.map(|record| (record.partition_key.to_string(), record.data)).collect()
//!         }
//!     }
//! }
//!
//! let payload = Bytes::from_static(b"\xf3\x89\x9a\xc2\x0a\x01a\x0a\x01b\x1a\x05\x08\x00\x1a\x01x\
//!     \x1a\x06\x08\x01\x1a\x02yz\x6f\xe1\xbc\x14\x07\xaa\xbc\x41\xe3\xe0\xc8\x8f\x3f\x66\x8b\xaf");
//! let records = handle("a", payload);
//! assert_eq!(records[0], ("a".to_owned(), Bytes::from_static(b"x")));
//! assert_eq!(records[1], ("b".to_owned(), Bytes::from_static(b"yz")));
//!
//! let records = handle("plain", Bytes::from_static(b"no aggregate"));
//! assert_eq!(records, [("plain".to_owned(), Bytes::from_static(b"no aggregate"))]);
//! ```
//!
//! Writing:
//!
//! ```
//! use aggregation::{Aggregate, UserRecordRef};
//!
//! let mut aggregate = Aggregate::new();
//! for (partition_key, data) in [("a", b"x".as_slice()), ("b", b"yz")] {
//!     let record = UserRecordRef { partition_key, explicit_hash_key: None, data, tags: &[] };
//!     let size = aggregate.size_with(&record);
//!     assert!(size <= 51_200);
//!     aggregate.push(&record);
//!     assert_eq!(aggregate.size(), size);
//! }
//! let finished = aggregate.finish();
//! assert_eq!(finished.len(), 41);
//! assert_eq!(&finished.to_bytes()[..4], b"\xf3\x89\x9a\xc2");
//! ```

mod body;
#[cfg(feature = "compression")]
mod compress;
mod decode;
mod encode;
mod finished;
mod glue;
mod hash;
mod identity;
mod keys;
mod loss;
mod md5;
mod range;
mod text;
mod window;
mod wire;

#[cfg(feature = "compression")]
pub use self::compress::{
    CompressError, Compression, ExpandError, compress, expand, is_compressed,
};
pub use self::decode::{
    Deaggregated, ExplicitHashKey, Records, Tag, UserRecord, deaggregate, is_aggregate,
    looks_like_aggregate,
};
pub use self::encode::{Aggregate, UserRecordRef};
pub use self::finished::{AggregateMemory, AggregatedRecord, AggregatedRecords, FinishedAggregate};
pub use self::glue::{GLUE_HEADER_SIZE, GlueCompression, GlueHeader};
pub use self::hash::{HashKey, HashKeyError, hash_keys};
pub use self::identity::{IDENTITY_TAG, IdentityReader, IdentityText, IdentityWriter, RecordId};
pub use self::loss::Loss;
pub use self::md5::{md5_many, md5_one};
pub use self::range::{HashRange, HashRangeError};
pub use self::text::Utf8Bytes;
pub use self::window::{Sighting, Window, WindowBounds};
pub use self::wire::{AGGREGATE_PARTITION_KEY, ENVELOPE_SIZE, MAGIC};
