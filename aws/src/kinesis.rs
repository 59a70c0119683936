//! Kinesis: the operations that the engines use. Each is a pure encoding of a request and a pure
//! decoding of an answer around one call.

mod decode;
mod encode;
mod types;

pub use types::*;

use crate::client::Caller;
use crate::config::Config;
use crate::encoding::Encoding;
use crate::endpoint::Service;
use crate::error::Error;
use crate::sign::Payload;
use bytes::Bytes;
use encode::Target;
use runtime::RetryPolicy;
use std::sync::Arc;
use std::time::Duration;

/// Calls Kinesis. Clones share connections.
///
/// Each method makes as many attempts as the client's [`RetryPolicy`] allows and returns the last
/// error. Dropping a method's future gives the call up; the service may have acted on it.
///
/// A stream is named by its name or by its ARN, which may be another account's.
#[derive(Debug, Clone)]
pub struct Client {
    caller: Caller,
    encoding: Encoding,
    stream_id: Option<Arc<str>>,
}

/// A `PutRecords` request whose body is written and hashed: what is left is to sign and to send it.
#[derive(Debug)]
pub struct PreparedPut {
    payload: Payload,
    /// How many entries it has.
    count: usize,
}

impl Client {
    /// A client with the configuration's time-outs and retry policy.
    #[must_use]
    pub fn new(config: &Config) -> Self {
        Self {
            caller: Caller::new(config, Service::Kinesis),
            encoding: config.kinesis_encoding,
            stream_id: None,
        }
    }

    /// The same client, sending this `StreamId` along with a stream's name or ARN. The service reserves
    /// it for later.
    #[must_use]
    pub fn with_stream_id(&self, id: &str) -> Self {
        Self {
            stream_id: Some(Arc::from(id)),
            ..self.clone()
        }
    }

    fn target<'a>(&'a self, stream: &'a str) -> Target<'a> {
        Target {
            stream,
            id: self.stream_id.as_deref(),
        }
    }

    /// The same client with another retry policy; [`RetryPolicy::none`] makes one attempt a call.
    #[must_use]
    pub fn with_retry(&self, retry: RetryPolicy) -> Self {
        Self {
            caller: self.caller.with_retry(retry),
            ..self.clone()
        }
    }

    /// The same client with another bound on one attempt.
    #[must_use]
    pub fn with_attempt_timeout(&self, bound: Duration) -> Self {
        Self {
            caller: self.caller.with_attempt_timeout(bound),
            ..self.clone()
        }
    }

    /// Makes a provisioned stream. It is usable once its status is active.
    ///
    /// # Errors
    /// [`crate::ErrorKind::InUse`] when the stream exists; and any of [`Error`].
    pub async fn create_stream(&self, stream: &str, shards: u32) -> Result<(), Error> {
        self.create(&NewStream::provisioned(stream, shards)).await
    }

    /// Makes a stream. It is usable once its status is active.
    ///
    /// # Errors
    /// [`crate::ErrorKind::InUse`] when the stream exists; and any of [`Error`].
    pub async fn create(&self, new: &NewStream<'_>) -> Result<(), Error> {
        let body = encode::create_stream(self.encoding, new);
        self.caller
            .call("CreateStream", body, decode::nothing)
            .await
    }

    /// Sets how a stream on demand distributes its records: `AUTO` or `USER_PARTITION_KEY`. Applies
    /// within about a second.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Invalid`] for a provisioned stream; and any of [`Error`].
    pub async fn update_record_distribution_strategy(
        &self,
        stream_arn: &str,
        strategy: &str,
    ) -> Result<(), Error> {
        let body = encode::update_distribution(self.encoding, stream_arn, strategy);
        let operation = "UpdateStreamRecordDistributionStrategy";
        self.caller.call(operation, body, decode::nothing).await
    }

    /// Deletes a stream with everything in it and its registered consumers.
    ///
    /// # Errors
    /// Any of [`Error`].
    pub async fn delete_stream(&self, stream: &str) -> Result<(), Error> {
        self.caller
            .call(
                "DeleteStream",
                encode::delete_stream(self.encoding, self.target(stream)),
                decode::nothing,
            )
            .await
    }

    /// The stream's state, without its shards.
    ///
    /// # Errors
    /// Any of [`Error`].
    pub async fn describe_stream_summary(&self, stream: &str) -> Result<StreamSummary, Error> {
        let body = encode::stream(self.encoding, self.target(stream));
        let decode = |body: &Bytes| self.encoding.read(body);
        let decode::Described(summary) = self
            .caller
            .call("DescribeStreamSummary", body, decode)
            .await?;
        Ok(summary)
    }

    /// The names of all streams, page after page, in order.
    ///
    /// # Errors
    /// Any of [`Error`].
    pub async fn list_streams(&self) -> Result<Vec<String>, Error> {
        let mut names = Vec::new();
        loop {
            let last: Option<&String> = names.last();
            let body = encode::list_streams(self.encoding, last.map(String::as_str));
            let decode = |body: &Bytes| self.encoding.read(body);
            let page: decode::StreamPage = self.caller.call("ListStreams", body, decode).await?;
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
        let mut body = encode::list_shards(self.encoding, self.target(stream), filter);
        loop {
            let decode = |body: &Bytes| self.encoding.read(body);
            let page: decode::ShardPage = self.caller.call("ListShards", body, decode).await?;
            shards.extend(page.shards);
            match page.next_token {
                Some(token) => body = encode::list_shards_next(self.encoding, &token),
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
        let body = encode::split_shard(
            self.encoding,
            self.target(stream),
            shard,
            new_starting_hash_key,
        );
        self.caller.call("SplitShard", body, decode::nothing).await
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
        let body = encode::merge_shards(self.encoding, self.target(stream), shard, adjacent);
        self.caller.call("MergeShards", body, decode::nothing).await
    }

    /// Lets the service split and merge shards until there are so many of even ranges, from half to
    /// double as many as are open. It goes on after the call.
    ///
    /// # Errors
    /// [`crate::ErrorKind::InUse`] unless the stream is active; and any of [`Error`].
    pub async fn update_shard_count(&self, stream: &str, shards: u32) -> Result<(), Error> {
        let body = encode::update_shard_count(self.encoding, self.target(stream), shards);
        self.caller
            .call("UpdateShardCount", body, decode::nothing)
            .await
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
        self.put_prepared(self.prepare_put(stream, entries)).await
    }

    /// Writes the body of a `PutRecords` request, for [`Client::put_prepared`].
    #[must_use]
    pub fn prepare_put(&self, stream: &str, entries: &[PutRecordsEntry<'_>]) -> PreparedPut {
        let body = encode::put_records(self.encoding, self.target(stream), entries);
        PreparedPut {
            payload: body.into(),
            count: entries.len(),
        }
    }

    /// The same of two requests: signatures need their bodies' SHA-256, and that of two together takes
    /// less than apart where [`Client::hashes_two_together`] says so.
    #[must_use]
    pub fn prepare_two_puts(
        &self,
        stream: &str,
        requests: [&[PutRecordsEntry<'_>]; 2],
    ) -> [PreparedPut; 2] {
        let encode = |entries| encode::put_records(self.encoding, self.target(stream), entries);
        let [first, second] = Payload::two(requests.map(encode));
        let [count, other_count] = requests.map(<[_]>::len);
        let of = |payload, count| PreparedPut { payload, count };
        [of(first, count), of(second, other_count)]
    }

    /// Whether this CPU has what makes [`Client::prepare_two_puts`] worth while (x86-64 with the SHA
    /// extensions): about a third of the time for hashing is saved.
    #[must_use]
    pub fn hashes_two_together() -> bool {
        crate::sha256::pairs()
    }

    /// Sends a `PutRecords` request. Success says that it was taken: each entry has its own result.
    ///
    /// # Errors
    /// As [`Client::put_records`].
    pub async fn put_prepared(&self, put: PreparedPut) -> Result<PutRecordsOutput, Error> {
        let PreparedPut { payload, count } = put;
        let decode = |body: &Bytes| decode::put_records(self.encoding, body, count);
        self.caller.call("PutRecords", payload, decode).await
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
        let body = encode::get_shard_iterator(self.encoding, self.target(stream), shard, position);
        let decode = |body: &Bytes| self.encoding.read(body);
        let decode::ShardIterator(iterator) =
            self.caller.call("GetShardIterator", body, decode).await?;
        Ok(iterator)
    }

    /// The same client for one stream, given by its ARN or its `StreamId`: where the configuration says
    /// [`crate::ConfigBuilder::account_hosts`], it calls the hosts of the stream's account or of the
    /// stream itself, and otherwise, as with a name, the region's. Streams are made and listed at the
    /// region's host always.
    #[must_use]
    pub fn for_stream(&self, stream: &str) -> Self {
        Self {
            caller: self.caller.for_stream(stream),
            ..self.clone()
        }
    }

    /// Reads up to `limit` records (1 to 10,000), or 10 MiB.
    ///
    /// # Errors
    /// [`crate::ErrorKind::ExpiredIterator`], [`crate::ErrorKind::Throttled`]; and any of [`Error`].
    pub async fn get_records(&self, iterator: &str, limit: u32) -> Result<GetRecordsOutput, Error> {
        let body = encode::get_records(self.encoding, iterator, limit);
        let encoding = self.encoding;
        self.caller
            .call("GetRecords", body, move |body| {
                decode::get_records(encoding, body)
            })
            .await
    }
}
