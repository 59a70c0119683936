//! Whether a table is one that this version may share: pure tests, each with its reason.

use super::row::{self, Entity, Row};
use super::{Lease, ShardInfo, TableInfo};
use aws::dynamodb::Item;
use std::collections::BTreeMap;

/// Why a lease table is refused. Writing to it would disturb those who use it, or read the wrong
/// stream.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// The table's key is another.
    #[error(
        "table {table:?} has the key {key:?}, not \"leaseKey\" (S): it is no lease table; choose \
         another application name or set tableName"
    )]
    Key {
        /// The table.
        table: String,
        /// Its key's attributes.
        key: Vec<String>,
    },
    /// A leader assigns the leases: workers of KCL 3 share the table.
    #[error(
        "table {table:?} has a leader (row {row:?}): workers of KCL 3 assign its leases, which this \
         version does not take part in; use an application name of its own"
    )]
    Leader {
        /// The table.
        table: String,
        /// The row's key.
        row: String,
    },
    /// The table is, or was, part of a migration between versions of KCL.
    #[error(
        "table {table:?} has a migration row ({row:?}): workers of KCL 3 use it, which this version \
         does not take part in; use an application name of its own"
    )]
    Migration {
        /// The table.
        table: String,
        /// The row's key.
        row: String,
    },
    /// Workers of KCL 3 report their load in the table.
    #[error(
        "table {table:?} has a worker's metrics (row {row:?}): workers of KCL 3 use it, which this \
         version does not take part in; use an application name of its own"
    )]
    WorkerMetrics {
        /// The table.
        table: String,
        /// The row's key.
        row: String,
    },
    /// A table of KCL 3.0 to 3.4 stands beside it.
    #[error(
        "table {legacy:?} exists beside {table:?}: workers of KCL 3.0 to 3.4 use this application \
         name, which this version does not take part in; use another, or delete that table if \
         nobody does any more"
    )]
    LegacyTable {
        /// The lease table.
        table: String,
        /// The other.
        legacy: String,
    },
    /// The leases belong to an application that reads several streams.
    #[error(
        "table {table:?} has leases of an application that reads several streams (row {row:?}); \
         use an application name of its own"
    )]
    MultiStream {
        /// The table.
        table: String,
        /// The row's key.
        row: String,
    },
    /// The leases belong to another stream, or to one of that name that was deleted since.
    #[error(
        "table {table:?} has a lease of {shard:?}, which stream {stream:?} never had ({reason}): the \
         leases are another stream's, or the stream was deleted and made anew; use another \
         application name, or delete the table to begin from the initial position"
    )]
    ForeignShard {
        /// The table.
        table: String,
        /// The stream.
        stream: String,
        /// The lease's key.
        shard: String,
        /// How it shows.
        reason: String,
    },
}

/// Names of the tables that KCL 3.0 to 3.4 keep beside the lease table.
#[must_use]
pub fn legacy_tables(application: &str) -> [String; 2] {
    [
        format!("{application}-CoordinatorState"),
        format!("{application}-WorkerMetricStats"),
    ]
}

/// Tests the table's key.
///
/// # Errors
/// [`Refusal::Key`].
pub fn check_key(table: &TableInfo) -> Result<(), Refusal> {
    match table.key.as_slice() {
        [(name, kind)] if name == row::KEY && kind == "S" => Ok(()),
        key => Err(Refusal::Key {
            table: table.name.clone(),
            key: key
                .iter()
                .map(|(name, kind)| format!("{name} ({kind})"))
                .collect(),
        }),
    }
}

/// Tests one row's kind. Rows that cannot be read pass: they are reported where leases are read.
///
/// # Errors
/// [`Refusal::Leader`], [`Refusal::Migration`], [`Refusal::WorkerMetrics`], [`Refusal::MultiStream`].
pub fn check_row(table: &str, item: &Item) -> Result<(), Refusal> {
    let table = table.to_owned();
    match row::read(item) {
        Ok(Row::Other { key, entity }) => match entity {
            Entity::Leader => Err(Refusal::Leader { table, row: key }),
            Entity::ClientVersionMigration | Entity::TableMigration => {
                Err(Refusal::Migration { table, row: key })
            }
            Entity::WorkerMetrics => Err(Refusal::WorkerMetrics { table, row: key }),
            Entity::Stream => Err(Refusal::MultiStream { table, row: key }),
        },
        Ok(Row::Lease(lease)) if row::is_multi_stream(item) => Err(Refusal::MultiStream {
            table,
            row: lease.key,
        }),
        Ok(Row::Lease(_)) | Err(_) => Ok(()),
    }
}

/// Tests the leases against the stream's shards, which must have been listed after the leases.
///
/// A shard that is not listed may have existed: shards are forgotten when their records are. But
/// shards are numbered in the order of their making, so that one with a number above all listed ones
/// never was; and a listed shard's hash keys never change.
///
/// # Errors
/// [`Refusal::ForeignShard`].
pub fn check_leases(
    table: &str,
    stream: &str,
    leases: &[Lease],
    shards: &[ShardInfo],
) -> Result<(), Refusal> {
    let listed: BTreeMap<&str, &ShardInfo> = shards.iter().map(|s| (s.id.as_str(), s)).collect();
    let newest = shards.iter().filter_map(|s| number(&s.id)).max();
    let foreign = |lease: &Lease, reason: String| Refusal::ForeignShard {
        table: table.to_owned(),
        stream: stream.to_owned(),
        shard: lease.key.clone(),
        reason,
    };
    for lease in leases {
        match listed.get(lease.key.as_str()) {
            Some(shard) => match (lease.hash_range, shard.hash_range) {
                (Some(ours), Some(theirs)) if ours != theirs => {
                    let reason = format!("its hash keys are {theirs}, the lease's {ours}");
                    return Err(foreign(lease, reason));
                }
                _ => {}
            },
            None => match (number(&lease.key), newest) {
                (None, _) => return Err(foreign(lease, "that is no shard's id".to_owned())),
                (Some(n), Some(newest)) if n > newest => {
                    let reason = format!("its newest shard has the number {newest}");
                    return Err(foreign(lease, reason));
                }
                _ => {}
            },
        }
    }
    Ok(())
}

fn number(shard: &str) -> Option<u64> {
    shard.strip_prefix("shardId-")?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::position::Position;
    use aggregation::{HashKey, HashRange};
    use aws::dynamodb::AttributeValue;

    fn item(attributes: &[(&str, &str)]) -> Item {
        attributes
            .iter()
            .map(|(k, v)| ((*k).to_owned(), AttributeValue::s(*v)))
            .collect()
    }

    #[test]
    fn rows_of_others_are_refused_with_their_names() {
        let table = [
            (
                item(&[("leaseKey", "Leader"), ("entityType", "LEADER")]),
                "has a leader (row \"Leader\")",
            ),
            (
                item(&[
                    ("leaseKey", "Migration3.0"),
                    ("entityType", "CLIENT_VERSION_MIGRATION"),
                ]),
                "migration row (\"Migration3.0\")",
            ),
            (
                item(&[("leaseKey", "Migration3.0")]),
                "migration row (\"Migration3.0\")",
            ),
            (
                item(&[
                    ("leaseKey", "TableMigration3.5"),
                    ("entityType", "TABLE_MIGRATION"),
                ]),
                "migration row (\"TableMigration3.5\")",
            ),
            (
                item(&[("leaseKey", "w1"), ("entityType", "WORKER_METRIC_STATS")]),
                "a worker's metrics (row \"w1\")",
            ),
            (
                item(&[("leaseKey", "1:s:2"), ("entityType", "STREAM")]),
                "several streams",
            ),
        ];
        for (item, expected) in table {
            let refusal = check_row("orders", &item).unwrap_err().to_string();
            assert!(
                refusal.contains(expected) && refusal.contains("\"orders\""),
                "{refusal}"
            );
        }
        let mut lease = row::new_item(&Lease::new("1:s:2:shardId-000000000000", Position::LATEST));
        assert_eq!(check_row("orders", &lease), Ok(()));
        lease.insert("streamName".to_owned(), AttributeValue::s("1:s:2"));
        assert!(matches!(
            check_row("orders", &lease),
            Err(Refusal::MultiStream { .. })
        ));
    }

    #[test]
    fn the_key_must_be_the_lease_key() {
        let info = |key: &[(&str, &str)]| TableInfo {
            name: "orders".to_owned(),
            is_active: true,
            key: key
                .iter()
                .map(|(n, k)| ((*n).to_owned(), (*k).to_owned()))
                .collect(),
        };
        assert_eq!(check_key(&info(&[("leaseKey", "S")])), Ok(()));
        for key in [
            &[("key", "S")][..],
            &[("leaseKey", "N")],
            &[("leaseKey", "S"), ("sort", "S")],
            &[],
        ] {
            assert!(
                matches!(check_key(&info(key)), Err(Refusal::Key { .. })),
                "{key:?}"
            );
        }
    }

    #[test]
    fn leases_of_shards_that_the_stream_never_had() {
        let range = |a, b| HashRange::new(HashKey::new(a), HashKey::new(b)).ok();
        let shards = [
            ShardInfo::new("shardId-000000000004", &[], range(0, 99)),
            ShardInfo::new("shardId-000000000005", &[], range(100, u128::MAX)),
        ];
        let lease = |n: &str, r| {
            let mut lease = Lease::new(n, Position::TRIM_HORIZON);
            lease.hash_range = r;
            lease
        };
        let good = [
            lease("shardId-000000000004", range(0, 99)),
            lease("shardId-000000000005", None),
            lease("shardId-000000000001", range(0, 7)),
        ];
        assert_eq!(check_leases("t", "s", &good, &shards), Ok(()));
        let bad = [
            (
                lease("shardId-000000000006", None),
                "newest shard has the number 5",
            ),
            (
                lease("shardId-000000000004", range(0, 100)),
                "its hash keys are 0-99",
            ),
            (lease("orders", None), "no shard's id"),
        ];
        for (lease, expected) in bad {
            let refusal = check_leases("t", "s", &[lease], &shards)
                .unwrap_err()
                .to_string();
            assert!(refusal.contains(expected), "{refusal}");
        }
    }

    #[test]
    fn legacy_tables_are_named_after_the_application() {
        assert_eq!(
            legacy_tables("app"),
            ["app-CoordinatorState", "app-WorkerMetricStats"]
        );
    }
}
