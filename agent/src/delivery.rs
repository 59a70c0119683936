//! Where records go: a small seam over the producer, so that a flow can be tested without a stream.

use crate::config::PartitionKey;
use bytes::Bytes;
use futures::future::BoxFuture;
use runtime::Chance;
use std::fmt;
use std::time::Duration;

/// A record to be sent.
#[derive(Clone, PartialEq, Eq)]
pub struct Outgoing {
    /// Its partition key.
    pub key: String,
    /// Its data.
    pub data: Bytes,
}

impl fmt::Debug for Outgoing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outgoing")
            .field("key", &self.key)
            .field("bytes", &self.data.len())
            .finish()
    }
}

/// What became of a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It is stored.
    Delivered,
    /// It is not, or nobody knows; trying again may help, or may help once a person did something (a
    /// missing stream, access denied).
    Failed {
        /// Why.
        reason: String,
    },
    /// It can never be stored.
    Refused {
        /// Why.
        reason: String,
    },
    /// The destination is closed.
    Closed,
}

/// Resolves with one outcome per record, in their order.
pub type Outcomes = BoxFuture<'static, Vec<Outcome>>;

/// A stream that takes records.
pub trait Destination: Send + Sync + fmt::Debug {
    /// Connects before there is a record to send, so that what is wrong shows early. Resolves when it is
    /// connected; trouble is told in the log and tried again.
    fn connect(&self) -> BoxFuture<'static, ()>;

    /// Resolves when all records are admitted; waiting here is the back-pressure. Records of two calls
    /// are admitted in the order in which the calls were made, if the second is made after the first
    /// resolved.
    ///
    /// # Cancellation
    /// A dropped call may have admitted its records: they count as sent and not acknowledged.
    fn put_all(&self, records: Vec<Outgoing>) -> BoxFuture<'static, Outcomes>;

    /// Sends what waits for a batch to fill, and resolves when all that was admitted before has an
    /// outcome.
    fn flush(&self) -> BoxFuture<'static, ()>;

    /// Ends delivery; what has no outcome by the deadline gets [`Outcome::Closed`].
    fn close(&self, deadline: Duration) -> BoxFuture<'static, ()>;
}

/// The partition key of a record: for RANDOM the decimal text of a number from 0 to 1,000,000, as the
/// original draws it; for DETERMINISTIC the MD5 of the record in lower-case hex.
#[must_use]
pub fn partition_key(option: PartitionKey, data: &[u8], chance: &Chance) -> String {
    match option {
        PartitionKey::Random => (chance.unit() * 1_000_000.0).to_string(),
        PartitionKey::Deterministic => format!("{:x}", md5::compute(data)),
    }
}

/// No partition key is longer: the hex of an MD5.
pub const LONGEST_KEY: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deterministic_is_the_md5_of_the_record_its_newline_included() {
        let chance = Chance::seeded(1);
        let key = |data: &[u8]| partition_key(PartitionKey::Deterministic, data, &chance);
        // RFC 1321, A.5.
        assert_eq!(key(b""), "d41d8cd98f00b204e9800998ecf8427e");
        assert_eq!(key(b"message digest"), "f96b697d7cb7938d525a2f31aaf161d0");
        assert_eq!(key(b"same\n"), key(b"same\n"));
        assert_ne!(key(b"same\n"), key(b"same"));
    }

    #[test]
    fn random_keys_are_numbers_below_a_million_and_spread() {
        let chance = Chance::seeded(2);
        let keys: Vec<String> = (0..10_000)
            .map(|_| partition_key(PartitionKey::Random, b"x", &chance))
            .collect();
        for key in &keys {
            let number: f64 = key.parse().unwrap();
            assert!((0.0..1_000_000.0).contains(&number));
            assert!(!key.is_empty() && key.len() <= LONGEST_KEY, "{key}");
        }
        let low = keys
            .iter()
            .filter(|k| k.parse::<f64>().unwrap() < 500_000.0)
            .count();
        assert!((4_500..5_500).contains(&low), "{low}");
    }
}
