//! Lists a stream's shards and makes the leases that are missing.

use crate::lease::table_check::{Refusal, check_key, check_leases, legacy_tables};
use crate::lease::{Lease, LeaseStore, ShardInfo, StoreError};
use crate::position::InitialPosition;
use crate::settings::Options;
use crate::shard_sync::{SyncError, first_leases, missing_leases};
use aws::ErrorKind;
use aws::kinesis::{Client, ShardFilter};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::sleep;

/// Why leases were not set up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SetupError {
    /// The table is not one that this version may use.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The lease table could not be used.
    #[error("lease table {table:?}: {source}")]
    Table {
        /// The table.
        table: String,
        /// What happened.
        source: StoreError,
    },
    /// The shards could not be listed.
    #[error("shards of stream {stream:?}: {source}")]
    Shards {
        /// The stream.
        stream: String,
        /// What happened.
        source: aws::Error,
    },
    /// The list of shards is not one that leases can be made from.
    #[error("shards of stream {stream:?}: {source}")]
    Sync {
        /// The stream.
        stream: String,
        /// What is wrong with it.
        source: SyncError,
    },
}

/// Retries of a first list that does not cover the hash keys, and the pause between (KCL: the same).
const TILING_RETRIES: usize = 3;
const TILING_PAUSE: Duration = Duration::from_secs(1);

/// What is needed to set leases up.
#[derive(Debug, Clone)]
pub(crate) struct Setup {
    pub(crate) kinesis: Client,
    pub(crate) store: Arc<dyn LeaseStore>,
    pub(crate) stream: String,
    pub(crate) application: String,
    pub(crate) position: InitialPosition,
    pub(crate) options: Options,
}

impl Setup {
    fn table(&self, error: StoreError) -> SetupError {
        match error {
            StoreError::Refused(refusal) => SetupError::Refused(refusal),
            source => SetupError::Table {
                table: self.options.table.clone(),
                source,
            },
        }
    }

    /// Makes the table if there is none, tests it if there is one, and makes the missing leases.
    pub(crate) async fn run(&self) -> Result<(), SetupError> {
        for legacy in legacy_tables(&self.application) {
            if self
                .store
                .exists(&legacy)
                .await
                .map_err(|e| self.table(e))?
            {
                let table = self.options.table.clone();
                return Err(Refusal::LegacyTable { table, legacy }.into());
            }
        }
        match self.store.describe().await.map_err(|e| self.table(e))? {
            Some(table) => {
                check_key(&table)?;
                if !table.is_active {
                    self.store.create_table().await.map_err(|e| self.table(e))?;
                }
            }
            None => self.store.create_table().await.map_err(|e| self.table(e))?,
        }
        self.sync().await
    }

    /// Makes the leases that are missing. Leases are read before shards: a shard that comes into being
    /// between the two is a child, whose lease its parent's end makes.
    pub(crate) async fn sync(&self) -> Result<(), SetupError> {
        let list = self.store.list(true).await.map_err(|e| self.table(e))?;
        let missing = if list.leases.is_empty() && list.problems.is_empty() {
            self.first().await?
        } else {
            let shards = self.list(None).await?;
            check_leases(&self.options.table, &self.stream, &list.leases, &shards)?;
            self.fill_ranges(&list.leases, &shards).await?;
            // A row that cannot be read is a lease all the same: it is not made again.
            let keys: BTreeSet<&str> = list
                .leases
                .iter()
                .map(|l| l.key.as_str())
                .chain(list.problems.iter().map(|p| p.key.as_str()))
                .collect();
            let ignore = self.options.ignore_unexpected_children;
            missing_leases(&shards, &keys, self.position, ignore).map_err(|e| self.bad_list(e))?
        };
        for lease in missing {
            if self.store.create(&lease).await.map_err(|e| self.table(e))? {
                tracing::info!(shard = lease.key, checkpoint = %lease.checkpoint, "lease made");
            }
        }
        Ok(())
    }

    fn bad_list(&self, source: SyncError) -> SetupError {
        SetupError::Sync {
            stream: self.stream.clone(),
            source,
        }
    }

    async fn first(&self) -> Result<Vec<Lease>, SetupError> {
        let filter = match self.position {
            InitialPosition::Latest => ShardFilter::AtLatest,
            InitialPosition::TrimHorizon => ShardFilter::AtTrimHorizon,
            InitialPosition::AtTimestamp(time) => ShardFilter::AtTimestamp(time),
        };
        let mut tries = 0;
        loop {
            match first_leases(&self.list(Some(&filter)).await?, self.position) {
                Ok(leases) => return Ok(leases),
                Err(error) if tries == TILING_RETRIES => return Err(self.bad_list(error)),
                Err(error) => {
                    tracing::warn!(%error, "listing the shards again");
                    tries += 1;
                    sleep(TILING_PAUSE).await;
                }
            }
        }
    }

    /// Rows of writers before KCL 2.3 do not know their hash keys.
    async fn fill_ranges(&self, leases: &[Lease], shards: &[ShardInfo]) -> Result<(), SetupError> {
        for lease in leases
            .iter()
            .filter(|l| l.hash_range.is_none() && !l.is_finished())
        {
            let shard = shards.iter().find(|s| s.id == lease.key);
            if let Some(range) = shard.and_then(|s| s.hash_range) {
                let set = self.store.set_hash_range(&lease.key, range);
                set.await.map_err(|e| self.table(e))?;
            }
        }
        Ok(())
    }

    async fn list(&self, filter: Option<&ShardFilter>) -> Result<Vec<ShardInfo>, SetupError> {
        let mut tries = 0;
        loop {
            match self.kinesis.list_shards(&self.stream, filter).await {
                Ok(shards) => return Ok(shards.iter().map(ShardInfo::from_listed).collect()),
                Err(error) => {
                    let passing = error.is_retryable()
                        || matches!(error.kind(), ErrorKind::LimitExceeded | ErrorKind::InUse);
                    if !passing || tries == self.options.list_shards_retries {
                        let stream = self.stream.clone();
                        return Err(SetupError::Shards {
                            stream,
                            source: error,
                        });
                    }
                    tries += 1;
                    tracing::warn!(%error, "shards not listed; trying again");
                    sleep(self.options.list_shards_backoff).await;
                }
            }
        }
    }
}

impl SetupError {
    /// True when trying again later may help: nothing in the table or the settings is wrong.
    pub(crate) fn may_pass(&self) -> bool {
        match self {
            Self::Refused(_) => false,
            Self::Table { source, .. } => source.is_retryable() || is_control_plane(source.kind()),
            Self::Shards { source, .. } => source.is_retryable() || is_control_plane(source.kind()),
            Self::Sync { .. } => true,
        }
    }
}

fn is_control_plane(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::InUse | ErrorKind::LimitExceeded)
}
