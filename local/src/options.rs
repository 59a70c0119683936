//! How an endpoint is set up.

pub use crate::limits::Limits;
use crate::signature::AccessKey;
use runtime::WallClock;
use std::sync::Arc;
use std::time::Duration;

/// Settings of an endpoint. Take the defaults and change what matters:
///
/// ```
/// use local::{Limits, LocalOptions};
/// let options = LocalOptions { limits: Limits::Off, ..LocalOptions::default() };
/// # assert_eq!(options.region, "us-east-1");
/// ```
#[derive(Debug, Clone)]
pub struct LocalOptions {
    /// Which of the service's limits apply. Default: all.
    pub limits: Limits,
    /// The account that ARNs and texts name. Default: `000000000000`.
    pub account: String,
    /// The region that ARNs name. Default: `us-east-1`.
    pub region: String,
    /// How long a stream stays CREATING, UPDATING or DELETING. Default: not at all.
    pub state_delay: Duration,
    /// The wall clock of timestamps, retention, iterators, limits and states. None (the default):
    /// one that starts at the machine's time and follows tokio's clock.
    pub clock: Option<Arc<dyn WallClock>>,
    /// Seeds request ids and the seal of tokens. Default: 0.
    pub seed: u64,
    /// How long a shard iterator lives. Default: 5 minutes.
    pub iterator_ttl: Duration,
    /// How many requests the journal keeps; older ones are dropped, and counted. Default: 65,536.
    pub journal: usize,
    /// The access keys that requests have to be signed with. Default: none, and signatures are not
    /// checked.
    pub verify_signatures: Vec<AccessKey>,
    /// The delivery streams of Firehose that exist. Default: none named, and any name exists.
    pub delivery_streams: Vec<String>,
    /// How many records of Firehose, data of CloudWatch and roles of STS are kept, each; older ones
    /// are dropped, and counted. Firehose keeps 256 MiB at most, CloudWatch 64 MiB. Default: 65,536.
    pub recorded: usize,
    /// The most bytes that the records of all streams may take (payloads, partition keys, and what it
    /// takes to keep them). When more come, the oldest of all streams are trimmed, as at the end of
    /// their retention, and a warning says so. None (the default): as many as retention keeps.
    pub max_bytes: Option<u64>,
}

impl Default for LocalOptions {
    fn default() -> Self {
        Self {
            limits: Limits::On,
            account: "000000000000".to_owned(),
            region: "us-east-1".to_owned(),
            state_delay: Duration::ZERO,
            clock: None,
            seed: 0,
            iterator_ttl: Duration::from_secs(300),
            journal: 65_536,
            verify_signatures: Vec::new(),
            delivery_streams: Vec::new(),
            recorded: 65_536,
            max_bytes: None,
        }
    }
}
