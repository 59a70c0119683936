//! The settings of a consumer, under the names that users of KCL know.

use aws::dynamodb::BillingMode;
use runtime::settings::Kind;
use runtime::{Registry, Setting, Settings};
use std::time::Duration;

const MAX_MILLIS: u64 = 7 * 24 * 3600 * 1000;

const fn millis(
    name: &'static str,
    min: u64,
    default: Option<&'static str>,
    meaning: &'static str,
) -> Setting {
    Setting {
        name,
        kind: Kind::Millis {
            min,
            max: MAX_MILLIS,
        },
        default,
        meaning,
    }
}

const fn integer(
    name: &'static str,
    min: u64,
    max: u64,
    default: Option<&'static str>,
    meaning: &'static str,
) -> Setting {
    Setting {
        name,
        kind: Kind::Integer { min, max },
        default,
        meaning,
    }
}

const fn switch(name: &'static str, default: &'static str, meaning: &'static str) -> Setting {
    Setting {
        name,
        kind: Kind::Bool,
        default: Some(default),
        meaning,
    }
}

/// Every setting of a worker.
///
#[doc = include_str!("../SETTINGS.md")]
pub const REGISTRY: Registry = Registry(&[
    Setting {
        name: "tableName",
        kind: Kind::Text,
        default: None,
        meaning: "The lease table. Unset: the application's name.",
    },
    Setting {
        name: "workerIdentifier",
        kind: Kind::Text,
        default: None,
        meaning: "This worker's name in the lease table; unique per process. A worker that comes back under its name resumes its leases at once. Unset: a random UUID.",
    },
    millis(
        "failoverTimeMillis",
        100,
        Some("10000"),
        "A lease that its owner has not renewed for so long may be taken by others; renewals are made three times as often. The same for all workers of an application.",
    ),
    millis(
        "epsilonMillis",
        0,
        Some("25"),
        "Slack of the timers that depend on the failover time.",
    ),
    millis(
        "leaseTakeIntervalMillis",
        50,
        None,
        "How often this worker looks at the lease table for leases to take. Unset: the failover time. (KCL: twice that.)",
    ),
    switch(
        "enablePriorityLeaseAssignment",
        "true",
        "Leases that nobody renewed for three failover times are taken beyond the fair share.",
    ),
    integer(
        "maxLeasesForWorker",
        1,
        2_147_483_647,
        Some("2147483647"),
        "This worker holds no more leases than that.",
    ),
    integer(
        "maxLeasesToStealAtOneTime",
        1,
        2_147_483_647,
        Some("1"),
        "No more leases than that are taken from a living worker in one look at the table.",
    ),
    integer(
        "maxLeaseRenewalThreads",
        1,
        10_000,
        Some("20"),
        "Requests for renewals and checkpoints at one time.",
    ),
    switch(
        "consistentReads",
        "false",
        "Looks at the lease table are strongly consistent. (Reads that a decision about one lease hangs on always are.)",
    ),
    millis(
        "dynamoDbRequestTimeout",
        100,
        Some("60000"),
        "The bound of a call to DynamoDB with all its attempts. An attempt takes a third of the failover time at the most.",
    ),
    Setting {
        name: "billingMode",
        kind: Kind::OneOf(&["PAY_PER_REQUEST", "PROVISIONED"]),
        default: Some("PAY_PER_REQUEST"),
        meaning: "How the lease table is paid for, when this worker makes it.",
    },
    integer(
        "initialLeaseTableReadCapacity",
        1,
        1_000_000,
        Some("10"),
        "Read capacity units of a provisioned lease table, when this worker makes it.",
    ),
    integer(
        "initialLeaseTableWriteCapacity",
        1,
        1_000_000,
        Some("10"),
        "Write capacity units of a provisioned lease table, when this worker makes it.",
    ),
    switch(
        "leaseTableDeletionProtectionEnabled",
        "false",
        "Protects the lease table against deletion, when this worker makes it.",
    ),
    millis(
        "shardSyncIntervalMillis",
        100,
        Some("60000"),
        "How long after the start the first audit of the leases comes.",
    ),
    millis(
        "leasesRecoveryAuditorExecutionFrequencyMillis",
        100,
        Some("120000"),
        "How often the leases are audited: whether they cover all hash keys.",
    ),
    integer(
        "leasesRecoveryAuditorInconsistencyConfidenceThreshold",
        1,
        1_000,
        Some("3"),
        "After so many audits in a row that see the same hole, the missing leases are made.",
    ),
    switch(
        "ignoreUnexpectedChildShards",
        "false",
        "Children of a shard that is still open are skipped when leases are made; otherwise nothing is made until the list of shards is consistent.",
    ),
    switch(
        "cleanupLeasesUponShardCompletion",
        "true",
        "Leases of finished shards are deleted once all their children are being read.",
    ),
    millis(
        "leaseCleanupIntervalMillis",
        100,
        Some("60000"),
        "How often leases of finished shards are looked at for deletion.",
    ),
    millis(
        "listShardsBackoffTimeInMillis",
        1,
        Some("1500"),
        "The pause after a refused ListShards.",
    ),
    integer(
        "maxListShardsRetryAttempts",
        0,
        1_000,
        Some("50"),
        "Retries of a refused ListShards.",
    ),
    integer(
        "maxInitializationAttempts",
        1,
        10_000,
        Some("20"),
        "Attempts at starting up before the worker gives up.",
    ),
    millis(
        "schedulerInitializationBackoffTimeMillis",
        1,
        Some("1000"),
        "The pause between them.",
    ),
    millis(
        "parentShardPollIntervalMillis",
        10,
        Some("10000"),
        "How often a shard that waits for its parents looks whether they are finished.",
    ),
    millis(
        "taskBackoffTimeMillis",
        1,
        Some("500"),
        "The first pause before a failed call of the processor is repeated; doubles up to 60 s.",
    ),
    integer(
        "maxRecords",
        1,
        10_000,
        Some("10000"),
        "Kinesis records asked for in one GetRecords.",
    ),
    millis(
        "idleTimeBetweenReadsInMillis",
        200,
        Some("1500"),
        "The pause between reads of a shard that is read to its tip. A shard that is behind is read as fast as the service's limits for a shard allow. (KCL pauses there, too.)",
    ),
    integer(
        "maxPendingProcessRecordsInput",
        1,
        100,
        Some("4"),
        "Responses of one shard that may wait for the processor. (KCL: 0 to 5; reading only on demand, 0, is not built.)",
    ),
    integer(
        "prefetchBytes",
        16 * 1024 * 1024,
        1024 * 1024 * 1024 * 1024,
        Some("134217728"),
        "Bytes of responses that all shards of the worker together hold, from before the call until they are processed. A call sets 12 MiB of it aside until its size is known. A shard that holds responses gets more only within an equal share; 12 MiB for each shard keep stuck processors from holding up the others.",
    ),
    millis(
        "kinesisRequestTimeout",
        100,
        Some("30000"),
        "The bound of an attempt at GetRecords.",
    ),
    switch(
        "callProcessRecordsEvenForEmptyRecordList",
        "false",
        "The processor is also called with empty batches.",
    ),
    Setting {
        name: "processorErrorPolicy",
        kind: Kind::OneOf(&["RETRY", "SKIP", "STOP"]),
        default: Some("RETRY"),
        meaning: "After a failed call of the processor: RETRY repeats the same batch; SKIP logs and counts the batch and goes on, as KCL does; STOP ends the worker with the error. After a panic, RETRY and SKIP make a new processor that begins at the last checkpoint.",
    },
    switch(
        "hashRangeFilter",
        "true",
        "Aggregates with a user record outside the shard's hash keys are dropped and counted, as KCL does: a producer sends them again after a reshard. Streams that distribute records themselves (AUTO) lose aggregates by it.",
    ),
    millis(
        "shutdownGraceMillis",
        0,
        Some("30000"),
        "How long a graceful shutdown waits for processors.",
    ),
]);

/// What a processor's failure leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorPolicy {
    /// The same batch again, with back-off.
    Retry,
    /// Logged, counted, and on to the next batch.
    Skip,
    /// The worker ends.
    Stop,
}

/// Checked settings, as the engine uses them.
#[derive(Debug, Clone)]
pub(crate) struct Options {
    pub(crate) table: String,
    pub(crate) worker: String,
    pub(crate) failover: Duration,
    pub(crate) epsilon: Duration,
    pub(crate) take_interval: Duration,
    pub(crate) priority: bool,
    pub(crate) max_leases: usize,
    pub(crate) max_steal: usize,
    pub(crate) renewals_at_once: usize,
    pub(crate) consistent_reads: bool,
    pub(crate) dynamodb_timeout: Duration,
    pub(crate) billing: BillingMode,
    pub(crate) deletion_protection: bool,
    pub(crate) first_audit: Duration,
    pub(crate) audit_interval: Duration,
    pub(crate) audit_confidence: u64,
    pub(crate) ignore_unexpected_children: bool,
    pub(crate) cleanup: bool,
    pub(crate) cleanup_interval: Duration,
    pub(crate) list_shards_backoff: Duration,
    pub(crate) list_shards_retries: u64,
    pub(crate) initialization_attempts: u64,
    pub(crate) initialization_backoff: Duration,
    pub(crate) parent_poll: Duration,
    pub(crate) task_backoff: Duration,
    pub(crate) max_records: u32,
    pub(crate) idle_time: Duration,
    pub(crate) max_pending: usize,
    pub(crate) prefetch_bytes: usize,
    pub(crate) kinesis_timeout: Duration,
    pub(crate) call_on_empty: bool,
    pub(crate) error_policy: ErrorPolicy,
    pub(crate) hash_range_filter: bool,
    pub(crate) shutdown_grace: Duration,
}

impl Options {
    /// Reads checked settings; `application` and `worker` stand in for unset names.
    pub(crate) fn from(settings: &Settings, application: &str, worker: String) -> Self {
        let duration = |name| settings.duration(name).unwrap_or_default();
        let integer = |name| settings.integer(name).unwrap_or_default();
        let size = |name| usize::try_from(integer(name)).unwrap_or(usize::MAX);
        let failover = duration("failoverTimeMillis");
        let epsilon = duration("epsilonMillis");
        Self {
            table: settings
                .text("tableName")
                .unwrap_or_else(|| application.to_owned()),
            worker: settings.text("workerIdentifier").unwrap_or(worker),
            failover,
            epsilon,
            take_interval: settings
                .duration("leaseTakeIntervalMillis")
                .unwrap_or(failover.saturating_add(epsilon)),
            priority: settings.bool("enablePriorityLeaseAssignment"),
            max_leases: size("maxLeasesForWorker"),
            max_steal: size("maxLeasesToStealAtOneTime"),
            renewals_at_once: size("maxLeaseRenewalThreads"),
            consistent_reads: settings.bool("consistentReads"),
            dynamodb_timeout: duration("dynamoDbRequestTimeout"),
            billing: match settings.text("billingMode").as_deref() {
                Some("PROVISIONED") => BillingMode::Provisioned {
                    read: integer("initialLeaseTableReadCapacity"),
                    write: integer("initialLeaseTableWriteCapacity"),
                },
                _ => BillingMode::PayPerRequest,
            },
            deletion_protection: settings.bool("leaseTableDeletionProtectionEnabled"),
            first_audit: duration("shardSyncIntervalMillis"),
            audit_interval: duration("leasesRecoveryAuditorExecutionFrequencyMillis"),
            audit_confidence: integer("leasesRecoveryAuditorInconsistencyConfidenceThreshold"),
            ignore_unexpected_children: settings.bool("ignoreUnexpectedChildShards"),
            cleanup: settings.bool("cleanupLeasesUponShardCompletion"),
            cleanup_interval: duration("leaseCleanupIntervalMillis"),
            list_shards_backoff: duration("listShardsBackoffTimeInMillis"),
            list_shards_retries: integer("maxListShardsRetryAttempts"),
            initialization_attempts: integer("maxInitializationAttempts"),
            initialization_backoff: duration("schedulerInitializationBackoffTimeMillis"),
            parent_poll: duration("parentShardPollIntervalMillis"),
            task_backoff: duration("taskBackoffTimeMillis"),
            max_records: u32::try_from(integer("maxRecords")).unwrap_or(10_000),
            idle_time: duration("idleTimeBetweenReadsInMillis"),
            max_pending: size("maxPendingProcessRecordsInput"),
            prefetch_bytes: size("prefetchBytes"),
            kinesis_timeout: duration("kinesisRequestTimeout"),
            call_on_empty: settings.bool("callProcessRecordsEvenForEmptyRecordList"),
            error_policy: match settings.text("processorErrorPolicy").as_deref() {
                Some("SKIP") => ErrorPolicy::Skip,
                Some("STOP") => ErrorPolicy::Stop,
                _ => ErrorPolicy::Retry,
            },
            hash_range_filter: settings.bool("hashRangeFilter"),
            shutdown_grace: duration("shutdownGraceMillis"),
        }
    }

    /// The period of renewals: a third of the failover time, less the slack (KCL: the same).
    pub(crate) fn renew_interval(&self) -> Duration {
        let third = self.failover / 3;
        third
            .checked_sub(self.epsilon)
            .unwrap_or(third)
            .max(Duration::from_millis(10))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_in_the_documentation_is_the_registry() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/SETTINGS.md");
        let table = REGISTRY.markdown();
        if std::env::var_os("KINESIS_WRITE_DOCS").is_some() {
            std::fs::write(path, &table).unwrap();
        }
        let written = std::fs::read_to_string(path).unwrap();
        assert!(
            written == table,
            "again with: KINESIS_WRITE_DOCS=1 cargo test -p kcl table_in"
        );
    }

    #[test]
    fn defaults_are_valid_and_those_of_the_original() {
        let settings = Settings::new(REGISTRY);
        for setting in REGISTRY.0 {
            // A default out of its own range shows as unset.
            let shown = match setting.kind {
                Kind::Bool => Some(settings.bool(setting.name).to_string()),
                Kind::Text | Kind::OneOf(_) => settings.text(setting.name),
                _ => settings.integer(setting.name).map(|n| n.to_string()),
            };
            assert_eq!(shown.as_deref(), setting.default, "{}", setting.name);
        }
        let options = Options::from(&settings, "app", "id".to_owned());
        assert_eq!((&*options.table, &*options.worker), ("app", "id"));
        assert_eq!(options.failover, Duration::from_secs(10));
        assert_eq!(
            options.renew_interval(),
            Duration::from_nanos(3_308_333_333)
        );
        assert_eq!(options.take_interval, Duration::from_millis(10_025));
        assert_eq!(options.idle_time, Duration::from_millis(1_500));
        assert_eq!(options.error_policy, ErrorPolicy::Retry);
    }
}
