//! The stream and the lease table: made, watched, resharded, and deleted again.

use crate::Failure;
use crate::counting;
use crate::messages::Place;
use crate::roles::KEY;
use aws::dynamodb::{self, AttributeValue, Scan};
use aws::kinesis::{self, Shard, ShardFilter, StreamStatus};
use aws::{Config, Credentials, ErrorKind};
use std::collections::BTreeMap;
use std::time::Duration;

/// What the example made, and nothing else.
pub struct Resources {
    kinesis: kinesis::Client,
    dynamodb: dynamodb::Client,
    /// The stream.
    pub stream: String,
    /// The application, which is the lease table's name.
    pub application: String,
    /// True once this process has asked for the stream.
    made_stream: bool,
}

/// The configuration for a place.
pub fn config(place: &Place) -> Result<(Config, counting::Requests), Failure> {
    let (transport, requests) = counting::transport()?;
    let mut builder = Config::builder().transport(transport);
    if let Some(region) = &place.region {
        builder = builder.region(region);
    }
    if let Some(endpoint) = &place.endpoint {
        builder = builder.endpoint_url(endpoint);
    }
    if place.embedded {
        builder = builder.credentials(Credentials::new(KEY.0, KEY.1, None));
    }
    Ok((builder.load()?, requests))
}

impl Resources {
    /// Names, and clients to make them with.
    pub fn new(place: &Place, stream: String, application: String) -> Result<Self, Failure> {
        let (config, _) = config(place)?;
        Ok(Self {
            kinesis: kinesis::Client::new(&config),
            dynamodb: dynamodb::Client::new(&config),
            stream,
            application,
            made_stream: false,
        })
    }

    /// Makes the stream; one of that name must not exist.
    pub async fn create(&mut self, shards: u32) -> Result<(), Failure> {
        // Asked for is as good as made: a Ctrl-C may come before the answer.
        self.made_stream = true;
        if let Err(error) = self.kinesis.create_stream(&self.stream, shards).await {
            self.made_stream = error.kind() != ErrorKind::InUse;
            return Err(error.into());
        }
        while !self.is_active().await? {
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        Ok(())
    }

    async fn is_active(&self) -> Result<bool, Failure> {
        let summary = self.kinesis.describe_stream_summary(&self.stream).await?;
        Ok(summary.stream_status == StreamStatus::Active)
    }

    async fn open_shards(&self) -> Result<Vec<Shard>, Failure> {
        let mut shards = self
            .kinesis
            .list_shards(&self.stream, Some(&ShardFilter::AtLatest))
            .await?;
        shards.retain(Shard::is_open);
        shards.sort_by_key(|shard| range(shard).0);
        Ok(shards)
    }

    /// Splits the widest shard in the middle; `None` while the stream cannot be changed.
    pub async fn split(&self) -> Result<Option<String>, Failure> {
        if !self.is_active().await? {
            return Ok(None);
        }
        let shards = self.open_shards().await?;
        let widest = shards.iter().max_by_key(|shard| {
            let (start, end) = range(shard);
            end - start
        });
        let shard = widest.ok_or("the stream has no open shard")?;
        let (start, end) = range(shard);
        let middle = (start + (end - start) / 2 + 1).to_string();
        self.kinesis
            .split_shard(&self.stream, &shard.shard_id, &middle)
            .await?;
        Ok(Some(format!("split {}", short(&shard.shard_id))))
    }

    /// Merges the last two shards in order of their ranges; `None` while the stream cannot be changed.
    pub async fn merge(&self) -> Result<Option<String>, Failure> {
        if !self.is_active().await? {
            return Ok(None);
        }
        let shards = self.open_shards().await?;
        let [.., a, b] = shards.as_slice() else {
            return Err("fewer than two open shards".into());
        };
        self.kinesis
            .merge_shards(&self.stream, &a.shard_id, &b.shard_id)
            .await?;
        Ok(Some(format!(
            "merged {} and {}",
            short(&a.shard_id),
            short(&b.shard_id)
        )))
    }

    /// Who owns which shard that is not finished; empty while there is no table.
    pub async fn owners(&self) -> Result<BTreeMap<String, Option<String>>, Failure> {
        let mut owners = BTreeMap::new();
        let mut scan = Scan {
            table_name: self.application.clone(),
            ..Scan::default()
        };
        loop {
            let page = match self.dynamodb.scan(&scan).await {
                Ok(page) => page,
                Err(error) if error.kind() == ErrorKind::NotFound => return Ok(owners),
                Err(error) => return Err(error.into()),
            };
            for item in page.items {
                let text = |name: &str| item.get(name).and_then(AttributeValue::as_s);
                if let (Some(key), Some(checkpoint)) = (text("leaseKey"), text("checkpoint"))
                    && checkpoint != "SHARD_END"
                {
                    owners.insert(key.to_owned(), text("leaseOwner").map(str::to_owned));
                }
            }
            match page.last_evaluated_key {
                Some(key) => scan.exclusive_start_key = Some(key),
                None => return Ok(owners),
            }
        }
    }

    /// Deletes what was made. The table's name is the stream's, which was new: the workers made it.
    pub async fn delete(&self) -> Result<(), Failure> {
        if self.made_stream {
            gone("stream", || self.kinesis.delete_stream(&self.stream)).await?;
            gone("table", || self.dynamodb.delete_table(&self.application)).await?;
        }
        Ok(())
    }
}

/// Deletes until there is nothing to delete: what is still being made or changed refuses at first.
async fn gone<Deletion>(what: &str, mut delete: impl FnMut() -> Deletion) -> Result<(), Failure>
where
    Deletion: Future<Output = Result<(), aws::Error>>,
{
    const ATTEMPTS: u32 = 60;
    for _ in 0..ATTEMPTS {
        match delete().await {
            Err(error) if error.kind() == ErrorKind::InUse => {
                tokio::time::sleep(Duration::from_secs(2)).await;
            }
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error.into()),
            _ => return Ok(()),
        }
    }
    Err(format!("the {what} could not be deleted: it stays in use; delete it by hand").into())
}

fn range(shard: &Shard) -> (u128, u128) {
    let number = |text: &str| text.parse().unwrap_or(0);
    let range = &shard.hash_key_range;
    (
        number(&range.starting_hash_key),
        number(&range.ending_hash_key),
    )
}

/// `shardId-000000000003` → `3`.
pub fn short(shard: &str) -> &str {
    let digits = shard
        .rsplit('-')
        .next()
        .unwrap_or(shard)
        .trim_start_matches('0');
    if digits.is_empty() { "0" } else { digits }
}
