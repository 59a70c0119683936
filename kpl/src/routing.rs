//! How records find their shard: what is known of the stream's record distribution strategy, and what
//! follows from it for the form in which records are sent.

use crate::settings::RECORD_LIMIT;
use aws::kinesis::StreamSummary;

/// The name that stands for the shards of a stream that distributes records itself.
pub(crate) const ANY_SHARD: &str = "";

/// The largest record that any stream can be set to take.
pub(crate) const LARGEST_RECORD: usize = 10 * 1024 * 1024;

/// A stream's record distribution strategy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Strategy {
    /// The hash keys decide.
    UserPartitionKey,
    /// The service decides: partition keys are optional, and aggregates are not supported.
    Auto,
}

impl Strategy {
    /// What a description says. Provisioned streams have no such member; `None` is a strategy that this
    /// version does not know.
    pub(crate) fn of(summary: &StreamSummary) -> Option<Self> {
        match summary.record_distribution_strategy.as_deref() {
            None | Some("USER_PARTITION_KEY") => Some(Self::UserPartitionKey),
            Some("AUTO") => Some(Self::Auto),
            Some(_) => None,
        }
    }
}

/// The largest record, data and partition key, that a stream takes by its description.
pub(crate) fn record_limit(summary: &StreamSummary) -> usize {
    let kib = summary.max_record_size_in_kib.unwrap_or(0);
    let bytes = usize::try_from(kib).unwrap_or(usize::MAX);
    bytes
        .saturating_mul(1024)
        .clamp(RECORD_LIMIT, LARGEST_RECORD)
}

/// How records are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Routing {
    /// The strategy is not known yet: nothing is sent.
    Held,
    /// By hash key, packed into aggregates if aggregation is on.
    Packed,
    /// By hash key, each record alone: the strategy cannot be had, and this form is right with both.
    Single,
    /// As `Single` while the strategy is asked for, because something contradicts what was known. Records
    /// without a partition key wait.
    Doubted,
    /// Each record alone, to whichever shard the service chooses, without a hash key.
    Auto,
}

impl From<Strategy> for Routing {
    fn from(strategy: Strategy) -> Self {
        match strategy {
            Strategy::UserPartitionKey => Self::Packed,
            Strategy::Auto => Self::Auto,
        }
    }
}

/// What becomes of a record without a partition key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Keyless {
    Sent,
    Waits,
    Refused,
}

impl Routing {
    /// One lane for all shards.
    pub(crate) const fn is_one_lane(self) -> bool {
        matches!(self, Self::Held | Self::Auto)
    }

    pub(crate) const fn keyless(self) -> Keyless {
        match self {
            Self::Auto => Keyless::Sent,
            Self::Held | Self::Doubted => Keyless::Waits,
            Self::Packed | Self::Single => Keyless::Refused,
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use aws::kinesis::StreamStatus;

    pub(crate) fn summary(strategy: Option<&str>, kib: Option<u64>) -> StreamSummary {
        StreamSummary {
            stream_name: "orders".to_owned(),
            stream_arn: String::new(),
            stream_status: StreamStatus::Active,
            retention_period_hours: 24,
            stream_creation_timestamp: None,
            open_shard_count: 1,
            max_record_size_in_kib: kib,
            record_distribution_strategy: strategy.map(str::to_owned),
        }
    }

    #[test]
    fn an_absent_strategy_is_that_of_partition_keys() {
        let table = [
            (None, Some(Strategy::UserPartitionKey)),
            (Some("USER_PARTITION_KEY"), Some(Strategy::UserPartitionKey)),
            (Some("AUTO"), Some(Strategy::Auto)),
            (Some("auto"), None),
            (Some("ROUND_ROBIN"), None),
        ];
        for (text, strategy) in table {
            assert_eq!(Strategy::of(&summary(text, None)), strategy, "{text:?}");
        }
    }

    #[test]
    fn the_record_limit_is_the_streams_within_the_services() {
        let table = [
            (None, 1024),
            (Some(0), 1024),
            (Some(2_048), 2_048),
            (Some(10_240), 10_240),
            (Some(u64::MAX), 10_240),
        ];
        for (kib, expected) in table {
            assert_eq!(record_limit(&summary(None, kib)), expected * 1024);
        }
    }
}
