//! Which of the service's limits apply.

use std::time::Duration;

/// Which of the service's limits apply, each with a switch of its own. [`Limits::On`] (the default)
/// has all of them; [`Limits::Off`] none of the rates and counts.
///
/// ```
/// use local::Limits;
/// let limits = Limits { shard_writes: false, ..Limits::On };
/// # assert!(limits.shard_reads && limits != Limits::Off);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// 1 MiB and 1,000 records written per shard and second.
    pub shard_writes: bool,
    /// 2 MiB and five GetRecords calls per shard and second, and five GetShardIterator calls.
    pub shard_reads: bool,
    /// 2 MiB per second, and one SubscribeToShard call per second, for each consumer and shard.
    pub fan_out: bool,
    /// Calls per second of the control plane, by operation, per account or per stream; and one call
    /// with `DryRun` per stream and second.
    pub calls: bool,
    /// 500 entries and 10 MiB per PutRecords.
    pub request_size: bool,
    /// The largest record (payload and partition key) that a stream is set to. What no stream can be
    /// set to take (10 MiB) is refused all the same.
    pub record_size: bool,
    /// 20 consumers per stream, five of them CREATING.
    pub consumers: bool,
    /// What an account may have and change: five streams CREATING, 20,000 open shards, 50 on-demand
    /// streams; per stream and 24 hours ten UpdateShardCount, two UpdateStreamMode, 25
    /// StartStreamEncryption and 25 StopStreamEncryption.
    pub quotas: bool,
    /// How long a shard that is not written to saves its allowance up: the size of the buckets of
    /// bytes and records, as time. The service does not tell; our reading is one second.
    pub burst: Duration,
    /// A record above what a full bucket holds is taken when the bucket is full, up to so many bytes;
    /// the debt is repaid at 1 MiB per second before the next record. Our reading of the service's
    /// large records: 10 MiB.
    pub borrow: u64,
}

#[expect(
    non_upper_case_globals,
    reason = "two well-known values, named as the variants that they were"
)]
impl Limits {
    /// All limits, as on AWS.
    pub const On: Self = Self {
        shard_writes: true,
        shard_reads: true,
        fan_out: true,
        calls: true,
        request_size: true,
        record_size: true,
        consumers: true,
        quotas: true,
        burst: Duration::from_secs(1),
        borrow: 10 << 20,
    };

    /// No limit of rates, counts and quotas, for measuring and for tests that are about something
    /// else. The bounds of a request and of a record stay: a client that breaks them is wrong.
    pub const Off: Self = Self {
        shard_writes: false,
        shard_reads: false,
        fan_out: false,
        calls: false,
        consumers: false,
        quotas: false,
        ..Self::On
    };
}

impl Default for Limits {
    fn default() -> Self {
        Self::On
    }
}
