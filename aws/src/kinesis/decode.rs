//! Answers, as pure functions from bytes. Payloads stay views into the answer's body.

use super::types::{
    ChildShard, GetRecordsOutput, HashKeyRange, PutRecordsOutput, PutRecordsResult, Record, Shard,
    StreamStatus, StreamSummary,
};
use crate::cbor::Reader;
use crate::client::Undecodable;
use bytes::Bytes;

type Decoded<T> = Result<T, Undecodable>;

fn required<T>(value: Option<T>, member: &str) -> Decoded<T> {
    value.ok_or_else(|| Undecodable(format!("{member} is missing")))
}

pub(super) struct StreamPage {
    pub(super) names: Vec<String>,
    pub(super) has_more: bool,
}

pub(super) struct ShardPage {
    pub(super) shards: Vec<Shard>,
    pub(super) next_token: Option<String>,
}

/// Operations without output answer an empty body, or an empty map.
#[expect(clippy::unnecessary_wraps, reason = "the shape of every decoder")]
pub(super) fn nothing(_: &Bytes) -> Decoded<()> {
    Ok(())
}

pub(super) fn list_streams(body: &Bytes) -> Decoded<StreamPage> {
    let (mut names, mut has_more) = (Vec::new(), false);
    Reader::new(body).map(|r, key| {
        match key {
            "StreamNames" => names = r.array(Reader::text)?,
            "HasMoreStreams" => has_more = r.boolean()?,
            _ => r.skip()?,
        }
        Ok(())
    })?;
    Ok(StreamPage { names, has_more })
}

pub(super) fn stream_summary(body: &Bytes) -> Decoded<StreamSummary> {
    let mut summary = None;
    Reader::new(body).map(|r, key| {
        match key {
            "StreamDescriptionSummary" => summary = Some(stream_description(r)?),
            _ => r.skip()?,
        }
        Ok(())
    })?;
    required(summary, "StreamDescriptionSummary")
}

fn stream_description(r: &mut Reader<'_>) -> Decoded<StreamSummary> {
    let (mut name, mut arn, mut status) = (None, None, None);
    let (mut retention, mut created, mut open) = (None, None, None);
    let (mut max_record, mut strategy) = (None, None);
    r.map(|r, key| {
        match key {
            "StreamName" => name = r.optional_text()?,
            "StreamARN" => arn = r.optional_text()?,
            "StreamStatus" => status = r.optional_text()?,
            "RetentionPeriodHours" => retention = r.optional_integer()?,
            "StreamCreationTimestamp" => created = r.optional_timestamp()?,
            "OpenShardCount" => open = r.optional_integer()?,
            "MaxRecordSizeInKiB" => max_record = r.optional_integer()?,
            "RecordDistributionStrategy" => strategy = r.optional_text()?,
            _ => r.skip()?,
        }
        Ok(())
    })?;
    let status = match required(status, "StreamStatus")?.as_str() {
        "CREATING" => StreamStatus::Creating,
        "DELETING" => StreamStatus::Deleting,
        "ACTIVE" => StreamStatus::Active,
        "UPDATING" => StreamStatus::Updating,
        other => StreamStatus::Other(other.to_owned()),
    };
    Ok(StreamSummary {
        stream_name: required(name, "StreamName")?,
        stream_arn: required(arn, "StreamARN")?,
        stream_status: status,
        retention_period_hours: required(retention, "RetentionPeriodHours")?,
        stream_creation_timestamp: created,
        open_shard_count: required(open, "OpenShardCount")?,
        max_record_size_in_kib: max_record,
        record_distribution_strategy: strategy,
    })
}

fn hash_key_range(r: &mut Reader<'_>) -> Decoded<HashKeyRange> {
    let (mut start, mut end) = (None, None);
    r.map(|r, key| {
        match key {
            "StartingHashKey" => start = r.optional_text()?,
            "EndingHashKey" => end = r.optional_text()?,
            _ => r.skip()?,
        }
        Ok(())
    })?;
    Ok(HashKeyRange {
        starting_hash_key: required(start, "StartingHashKey")?,
        ending_hash_key: required(end, "EndingHashKey")?,
    })
}

pub(super) fn list_shards(body: &Bytes) -> Decoded<ShardPage> {
    let (mut shards, mut next_token) = (None, None);
    Reader::new(body).map(|r, key| {
        match key {
            "Shards" => shards = Some(r.array(shard)?),
            "NextToken" => next_token = r.optional_text()?,
            _ => r.skip()?,
        }
        Ok(())
    })?;
    Ok(ShardPage {
        shards: required(shards, "Shards")?,
        next_token,
    })
}

fn shard(r: &mut Reader<'_>) -> Decoded<Shard> {
    let (mut id, mut parent, mut adjacent) = (None, None, None);
    let (mut range, mut start, mut end) = (None, None, None);
    r.map(|r, key| {
        match key {
            "ShardId" => id = r.optional_text()?,
            "ParentShardId" => parent = r.optional_text()?,
            "AdjacentParentShardId" => adjacent = r.optional_text()?,
            "HashKeyRange" => range = Some(hash_key_range(r)?),
            "SequenceNumberRange" => r.map(|r, key| {
                match key {
                    "StartingSequenceNumber" => start = r.optional_text()?,
                    "EndingSequenceNumber" => end = r.optional_text()?,
                    _ => r.skip()?,
                }
                Ok(())
            })?,
            _ => r.skip()?,
        }
        Ok(())
    })?;
    Ok(Shard {
        shard_id: required(id, "ShardId")?,
        parent_shard_id: parent,
        adjacent_parent_shard_id: adjacent,
        hash_key_range: required(range, "HashKeyRange")?,
        starting_sequence_number: required(start, "StartingSequenceNumber")?,
        ending_sequence_number: end,
    })
}

/// `entries` is how many were sent: results are matched to entries by their place alone, so another
/// number of them cannot be understood.
pub(super) fn put_records(body: &Bytes, entries: usize) -> Decoded<PutRecordsOutput> {
    let (mut failed, mut records) = (None, None);
    Reader::new(body).map(|r, key| {
        match key {
            "FailedRecordCount" => failed = r.optional_integer()?,
            "Records" => records = Some(r.array(put_records_result)?),
            _ => r.skip()?,
        }
        Ok(())
    })?;
    let records = required(records, "Records")?;
    if records.len() != entries {
        return Err(Undecodable(format!(
            "{} results for {entries} entries",
            records.len()
        )));
    }
    Ok(PutRecordsOutput {
        failed_record_count: failed.unwrap_or(0),
        records,
    })
}

fn put_records_result(r: &mut Reader<'_>) -> Decoded<PutRecordsResult> {
    let (mut shard_id, mut sequence_number) = (None, None);
    let (mut code, mut message) = (None, None);
    r.map(|r, key| {
        match key {
            "ShardId" => shard_id = r.optional_text()?,
            "SequenceNumber" => sequence_number = r.optional_text()?,
            "ErrorCode" => code = r.optional_text()?,
            "ErrorMessage" => message = r.optional_text()?,
            _ => r.skip()?,
        }
        Ok(())
    })?;
    match (sequence_number, code) {
        (Some(sequence_number), None) if !sequence_number.is_empty() => {
            Ok(PutRecordsResult::Stored {
                shard_id: required(shard_id, "ShardId")?,
                sequence_number,
            })
        }
        (_, Some(code)) => Ok(PutRecordsResult::Refused {
            code,
            message: message.unwrap_or_default(),
        }),
        _ => Err(Undecodable(
            "a result has neither SequenceNumber nor ErrorCode".to_owned(),
        )),
    }
}

pub(super) fn shard_iterator(body: &Bytes) -> Decoded<String> {
    let mut iterator = None;
    Reader::new(body).map(|r, key| {
        match key {
            "ShardIterator" => iterator = r.optional_text()?,
            _ => r.skip()?,
        }
        Ok(())
    })?;
    required(iterator, "ShardIterator")
}

pub(super) fn get_records(body: &Bytes) -> Decoded<GetRecordsOutput> {
    let (mut records, mut next, mut lag) = (None, None, None);
    let mut children = Vec::new();
    Reader::new(body).map(|r, key| {
        match key {
            "Records" => records = Some(r.array(record)?),
            "NextShardIterator" => next = r.optional_text()?,
            "MillisBehindLatest" => lag = r.optional_integer()?,
            "ChildShards" => children = r.array(child_shard)?,
            _ => r.skip()?,
        }
        Ok(())
    })?;
    Ok(GetRecordsOutput {
        records: required(records, "Records")?,
        next_shard_iterator: next,
        millis_behind_latest: lag,
        child_shards: children,
        body_bytes: body.len(),
    })
}

fn record(r: &mut Reader<'_>) -> Decoded<Record> {
    let (mut number, mut arrival, mut data) = (None, None, None);
    let (mut partition_key, mut encryption) = (None, None);
    r.map(|r, key| {
        match key {
            "SequenceNumber" => number = r.optional_text()?,
            "ApproximateArrivalTimestamp" => arrival = r.optional_timestamp()?,
            "Data" => data = Some(r.bytes()?),
            "PartitionKey" => partition_key = r.optional_text()?,
            "EncryptionType" => encryption = r.optional_text()?,
            _ => r.skip()?,
        }
        Ok(())
    })?;
    Ok(Record {
        sequence_number: required(number, "SequenceNumber")?,
        approximate_arrival_timestamp: arrival,
        data: required(data, "Data")?,
        partition_key,
        encryption_type: encryption,
    })
}

fn child_shard(r: &mut Reader<'_>) -> Decoded<ChildShard> {
    let (mut id, mut parents, mut range) = (None, Vec::new(), None);
    r.map(|r, key| {
        match key {
            "ShardId" => id = r.optional_text()?,
            "ParentShards" => parents = r.array(Reader::text)?,
            "HashKeyRange" => range = Some(hash_key_range(r)?),
            _ => r.skip()?,
        }
        Ok(())
    })?;
    Ok(ChildShard {
        shard_id: required(id, "ShardId")?,
        parent_shards: parents,
        hash_key_range: required(range, "HashKeyRange")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cbor::Writer;

    fn result(pairs: &[(&str, &str)]) -> Bytes {
        let mut w = Writer::default();
        w.map(2);
        w.text("FailedRecordCount");
        w.integer(0);
        w.text("Records");
        w.array(1);
        w.map(pairs.len());
        for (k, v) in pairs {
            w.member(k, v);
        }
        w.into_bytes().into()
    }

    #[test]
    fn results_must_match_entries_and_say_what_became_of_them() {
        let stored = result(&[("ShardId", "shardId-0"), ("SequenceNumber", "49")]);
        assert!(matches!(
            &put_records(&stored, 1).unwrap().records[..],
            [PutRecordsResult::Stored { shard_id, .. }] if shard_id == "shardId-0"
        ));
        assert_eq!(
            put_records(&stored, 2).unwrap_err().0,
            "1 results for 2 entries"
        );
        let refused = result(&[("ErrorCode", "InternalFailure")]);
        assert!(matches!(
            &put_records(&refused, 1).unwrap().records[..],
            [PutRecordsResult::Refused { code, .. }] if code == "InternalFailure"
        ));
        assert!(put_records(&result(&[]), 1).is_err());
        assert!(put_records(&result(&[("SequenceNumber", "49")]), 1).is_err());
    }

    #[test]
    fn payloads_are_views_into_the_answer() {
        let mut w = Writer::default();
        w.map(1);
        w.text("Records");
        w.array(1);
        w.map(2);
        w.member("SequenceNumber", "49");
        w.text("Data");
        w.bytes(&[b"payload"]);
        let body = Bytes::from(w.into_bytes());
        let output = get_records(&body).unwrap();
        let data = &output.records[0].data;
        assert_eq!(data, "payload");
        assert!(body.as_ptr_range().contains(&data.as_ptr()));
        assert_eq!(output.records[0].partition_key, None);
        assert_eq!(output.body_bytes, body.len());
        for cut in 0..body.len() {
            assert!(get_records(&body.slice(..cut)).is_err(), "cut at {cut}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_panic(bytes: Vec<u8>) {
            let body = Bytes::from(bytes);
            let _ = get_records(&body);
            let _ = put_records(&body, 1);
            let _ = list_shards(&body);
            let _ = stream_summary(&body);
        }

        /// Bytes that are nearly right get further into the decoders than any bytes.
        #[test]
        fn no_spoilt_answer_panics(
            answer in 0..SOUND.len(),
            spoil in proptest::collection::vec((proptest::prelude::any::<u16>(), 0..=255_u8), 0..4),
            cut in proptest::option::of(0..200_usize),
        ) {
            let mut body = SOUND[answer].to_vec();
            for (at, byte) in spoil {
                let at = usize::from(at) % body.len();
                body[at] = byte;
            }
            body.truncate(cut.unwrap_or(usize::MAX));
            let body = Bytes::from(body);
            let _ = get_records(&body);
            let _ = (put_records(&body, 1), list_shards(&body), stream_summary(&body));
            let _ = (shard_iterator(&body), list_streams(&body), crate::cbor::error(&body));
        }
    }

    /// Answers written by hand from the service's shapes: GetRecords with lag, timestamps and a child
    /// shard; ListShards with a closed shard; PutRecords; an error.
    const SOUND: [&[u8]; 4] = [
        b"\xbf\x67Records\x81\xa4\x6eSequenceNumber\x6249\x78\x1bApproximateArrivalTimestamp\xc1\x1b\x00\
          \x00\x01\x8b\xcf\xe5\x68\x07\x64Data\x45hello\x6cPartitionKey\x61k\x71NextShardIterator\xf6\
          \x72MillisBehindLatest\x00\x6bChildShards\x81\xa3\x67ShardId\x61c\x6cParentShards\x81\x61p\
          \x6cHashKeyRange\xa2\x6fStartingHashKey\x610\x6dEndingHashKey\x619\xff",
        b"\xa2\x66Shards\x81\xa3\x67ShardId\x61a\x6cHashKeyRange\xa2\x6fStartingHashKey\x610\
          \x6dEndingHashKey\x619\x73SequenceNumberRange\xa2\x76StartingSequenceNumber\x611\
          \x74EndingSequenceNumber\x612\x69NextToken\x61t",
        b"\xa2\x71FailedRecordCount\x00\x67Records\x81\xa2\x6eSequenceNumber\x619\x67ShardId\x61a",
        b"\xa2\x66__type\x78\x18ExpiredIteratorException\x67message\x63old",
    ];

    #[test]
    fn the_answers_that_are_spoilt_are_sound() {
        let [records, shards, put, error] = SOUND.map(Bytes::from_static);
        let records = get_records(&records).unwrap();
        assert_eq!(records.records[0].data, "hello");
        assert_eq!(records.child_shards[0].parent_shards, ["p"]);
        assert_eq!(list_shards(&shards).unwrap().shards.len(), 1);
        assert_eq!(put_records(&put, 1).unwrap().records.len(), 1);
        assert!(crate::cbor::error(&error).is_some());
    }
}
