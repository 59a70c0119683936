//! Kinesis: the operations that the engines use. Each is a pure encoding of a request and a pure
//! decoding of an answer around one call.

mod decode;
mod encode;
mod types;

pub use types::*;

use crate::client::Caller;
use crate::config::Config;
use crate::endpoint::Service;
use crate::error::Error;
use runtime::RetryPolicy;
use std::time::Duration;

/// Calls Kinesis. Clones share connections.
///
/// Each method makes as many attempts as the client's [`RetryPolicy`] allows and returns the last
/// error. Dropping a method's future gives the call up; the service may have acted on it.
#[derive(Debug, Clone)]
pub struct Client(Caller);

impl Client {
    /// A client with the configuration's time-outs and retry policy.
    #[must_use]
    pub fn new(config: &Config) -> Self {
        Self(Caller::new(config, Service::Kinesis))
    }

    /// The same client with another retry policy; [`RetryPolicy::none`] makes one attempt a call.
    #[must_use]
    pub fn with_retry(&self, retry: RetryPolicy) -> Self {
        Self(self.0.with_retry(retry))
    }

    /// The same client with another bound on one attempt.
    #[must_use]
    pub fn with_attempt_timeout(&self, bound: Duration) -> Self {
        Self(self.0.with_attempt_timeout(bound))
    }

    /// Makes a provisioned stream. It is usable once its status is active.
    ///
    /// # Errors
    /// [`crate::ErrorKind::InUse`] when the stream exists; and any of [`Error`].
    pub async fn create_stream(&self, stream: &str, shards: u32) -> Result<(), Error> {
        self.0
            .call(
                "CreateStream",
                encode::create_stream(stream, shards),
                decode::nothing,
            )
            .await
    }

    /// Deletes a stream with everything in it and its registered consumers.
    ///
    /// # Errors
    /// Any of [`Error`].
    pub async fn delete_stream(&self, stream: &str) -> Result<(), Error> {
        self.0
            .call(
                "DeleteStream",
                encode::delete_stream(stream),
                decode::nothing,
            )
            .await
    }

    /// The stream's state, without its shards.
    ///
    /// # Errors
    /// Any of [`Error`].
    pub async fn describe_stream_summary(&self, stream: &str) -> Result<StreamSummary, Error> {
        let body = encode::stream(stream);
        self.0
            .call("DescribeStreamSummary", body, decode::stream_summary)
            .await
    }

    /// The names of all streams, page after page, in order.
    ///
    /// # Errors
    /// Any of [`Error`].
    pub async fn list_streams(&self) -> Result<Vec<String>, Error> {
        let mut names = Vec::new();
        loop {
            let last: Option<&String> = names.last();
            let body = encode::list_streams(last.map(String::as_str));
            let page = self
                .0
                .call("ListStreams", body, decode::list_streams)
                .await?;
            let grew = !page.names.is_empty();
            names.extend(page.names);
            if !(page.has_more && grew) {
                return Ok(names);
            }
        }
    }

    /// The stream's shards, page after page, in the service's order.
    ///
    /// # Errors
    /// [`crate::ErrorKind::InUse`] while the stream is being made or deleted; and any of [`Error`].
    pub async fn list_shards(
        &self,
        stream: &str,
        filter: Option<&ShardFilter>,
    ) -> Result<Vec<Shard>, Error> {
        let mut shards = Vec::new();
        let mut body = encode::list_shards(stream, filter);
        loop {
            let page = self.0.call("ListShards", body, decode::list_shards).await?;
            shards.extend(page.shards);
            match page.next_token {
                Some(token) => body = encode::list_shards_next(&token),
                None => return Ok(shards),
            }
        }
    }

    /// Splits a shard in two at a hash key.
    ///
    /// # Errors
    /// [`crate::ErrorKind::InUse`] unless the stream is active; and any of [`Error`].
    pub async fn split_shard(
        &self,
        stream: &str,
        shard: &str,
        new_starting_hash_key: &str,
    ) -> Result<(), Error> {
        let body = encode::split_shard(stream, shard, new_starting_hash_key);
        self.0.call("SplitShard", body, decode::nothing).await
    }

    /// Merges two shards whose ranges touch.
    ///
    /// # Errors
    /// [`crate::ErrorKind::InUse`] unless the stream is active; and any of [`Error`].
    pub async fn merge_shards(
        &self,
        stream: &str,
        shard: &str,
        adjacent: &str,
    ) -> Result<(), Error> {
        let body = encode::merge_shards(stream, shard, adjacent);
        self.0.call("MergeShards", body, decode::nothing).await
    }

    /// Writes up to 500 records. Success says that the request was taken: each entry has its own
    /// result.
    ///
    /// # Errors
    /// Any of [`Error`]; [`Error::Answer`] also when the number of results is not the number of
    /// entries.
    pub async fn put_records(
        &self,
        stream: &str,
        entries: &[PutRecordsEntry<'_>],
    ) -> Result<PutRecordsOutput, Error> {
        let (body, count) = (encode::put_records(stream, entries), entries.len());
        self.0
            .call("PutRecords", body, move |body| {
                decode::put_records(body, count)
            })
            .await
    }

    /// An iterator to read a shard with; good for five minutes.
    ///
    /// # Errors
    /// Any of [`Error`].
    pub async fn get_shard_iterator(
        &self,
        stream: &str,
        shard: &str,
        position: &IteratorPosition,
    ) -> Result<String, Error> {
        let body = encode::get_shard_iterator(stream, shard, position);
        self.0
            .call("GetShardIterator", body, decode::shard_iterator)
            .await
    }

    /// Reads up to `limit` records (1 to 10,000), or 10 MiB.
    ///
    /// # Errors
    /// [`crate::ErrorKind::ExpiredIterator`], [`crate::ErrorKind::Throttled`]; and any of [`Error`].
    pub async fn get_records(&self, iterator: &str, limit: u32) -> Result<GetRecordsOutput, Error> {
        let body = encode::get_records(iterator, limit);
        self.0.call("GetRecords", body, decode::get_records).await
    }
}
