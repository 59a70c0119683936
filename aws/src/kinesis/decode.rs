//! Answers, as pure functions from bytes. In CBOR payloads stay views into the answer's body.

use super::types::{
    ChildShard, GetRecordsOutput, HashKeyRange, PutRecordsOutput, PutRecordsResult, Record, Shard,
    StreamStatus, StreamSummary,
};
use crate::client::Undecodable;
use crate::encoding::{Answer, Encoding, Read, Reader};
use bytes::Bytes;
use std::sync::Arc;

fn required<T>(value: Option<T>, member: &str) -> Read<T> {
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
pub(super) fn nothing(_: &Bytes) -> Read<()> {
    Ok(())
}

impl Answer for StreamPage {
    fn read<R: Reader>(r: &mut R) -> Read<Self> {
        let (mut names, mut has_more) = (Vec::new(), false);
        r.map(|r, key| {
            match key {
                "StreamNames" => names = r.array(R::text)?,
                "HasMoreStreams" => has_more = r.boolean()?,
                _ => r.skip()?,
            }
            Ok(())
        })?;
        Ok(Self { names, has_more })
    }
}

/// The answer to `DescribeStreamSummary` has the summary as its one member.
pub(super) struct Described(pub(super) StreamSummary);

impl Answer for Described {
    fn read<R: Reader>(r: &mut R) -> Read<Self> {
        let mut summary = None;
        r.map(|r, key| {
            match key {
                "StreamDescriptionSummary" => summary = Some(StreamSummary::read(r)?),
                _ => r.skip()?,
            }
            Ok(())
        })?;
        required(summary, "StreamDescriptionSummary").map(Self)
    }
}

impl Answer for StreamSummary {
    fn read<R: Reader>(r: &mut R) -> Read<Self> {
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
        Ok(Self {
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
}

impl Answer for HashKeyRange {
    fn read<R: Reader>(r: &mut R) -> Read<Self> {
        let (mut start, mut end) = (None, None);
        r.map(|r, key| {
            match key {
                "StartingHashKey" => start = r.optional_text()?,
                "EndingHashKey" => end = r.optional_text()?,
                _ => r.skip()?,
            }
            Ok(())
        })?;
        Ok(Self {
            starting_hash_key: required(start, "StartingHashKey")?,
            ending_hash_key: required(end, "EndingHashKey")?,
        })
    }
}

impl Answer for ShardPage {
    fn read<R: Reader>(r: &mut R) -> Read<Self> {
        let (mut shards, mut next_token) = (None, None);
        r.map(|r, key| {
            match key {
                "Shards" => shards = Some(r.array(Shard::read)?),
                "NextToken" => next_token = r.optional_text()?,
                _ => r.skip()?,
            }
            Ok(())
        })?;
        Ok(Self {
            shards: required(shards, "Shards")?,
            next_token,
        })
    }
}

impl Answer for Shard {
    fn read<R: Reader>(r: &mut R) -> Read<Self> {
        let (mut id, mut parent, mut adjacent) = (None, None, None);
        let (mut range, mut start, mut end) = (None, None, None);
        r.map(|r, key| {
            match key {
                "ShardId" => id = r.optional_text()?,
                "ParentShardId" => parent = r.optional_text()?,
                "AdjacentParentShardId" => adjacent = r.optional_text()?,
                "HashKeyRange" => range = Some(HashKeyRange::read(r)?),
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
        Ok(Self {
            shard_id: required(id, "ShardId")?,
            parent_shard_id: parent,
            adjacent_parent_shard_id: adjacent,
            hash_key_range: required(range, "HashKeyRange")?,
            starting_sequence_number: required(start, "StartingSequenceNumber")?,
            ending_sequence_number: end,
        })
    }
}

/// `entries` is how many were sent: results are matched to entries by their place alone, so another
/// number of them cannot be understood.
pub(super) fn put_records(
    encoding: Encoding,
    body: &Bytes,
    entries: usize,
) -> Read<PutRecordsOutput> {
    let output: PutRecordsOutput = encoding.read(body)?;
    if output.records.len() != entries {
        return Err(Undecodable(format!(
            "{} results for {entries} entries",
            output.records.len()
        )));
    }
    Ok(output)
}

impl Answer for PutRecordsOutput {
    fn read<R: Reader>(r: &mut R) -> Read<Self> {
        let (mut failed, mut records) = (None, None);
        r.map(|r, key| {
            match key {
                "FailedRecordCount" => failed = r.optional_integer()?,
                "Records" => {
                    let mut shard = None;
                    records = Some(r.array(|r| put_records_result(r, &mut shard))?);
                }
                _ => r.skip()?,
            }
            Ok(())
        })?;
        Ok(Self {
            failed_record_count: failed.unwrap_or(0),
            records: required(records, "Records")?,
        })
    }
}

/// `shard` is that of the latest record that was stored.
fn put_records_result<R: Reader>(
    r: &mut R,
    shard: &mut Option<Arc<str>>,
) -> Read<PutRecordsResult> {
    let (mut shard_id, mut sequence_number) = (None, None);
    let (mut code, mut message) = (None, None);
    r.map(|r, key| {
        match key {
            "ShardId" if !r.null()? => shard_id = Some(r.shared_text(shard.as_ref())?),
            "SequenceNumber" if !r.null()? => sequence_number = Some(r.shared_text(None)?),
            "ErrorCode" => code = r.optional_text()?,
            "ErrorMessage" => message = r.optional_text()?,
            "ShardId" | "SequenceNumber" => {}
            _ => r.skip()?,
        }
        Ok(())
    })?;
    match (sequence_number, code) {
        (Some(sequence_number), None) if !sequence_number.is_empty() => {
            let shard_id = required(shard_id, "ShardId")?;
            *shard = Some(Arc::clone(&shard_id));
            Ok(PutRecordsResult::Stored {
                shard_id,
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

pub(super) struct ShardIterator(pub(super) String);

impl Answer for ShardIterator {
    fn read<R: Reader>(r: &mut R) -> Read<Self> {
        let mut iterator = None;
        r.map(|r, key| {
            match key {
                "ShardIterator" => iterator = r.optional_text()?,
                _ => r.skip()?,
            }
            Ok(())
        })?;
        required(iterator, "ShardIterator").map(Self)
    }
}

pub(super) fn get_records(encoding: Encoding, body: &Bytes) -> Read<GetRecordsOutput> {
    let output: GetRecordsOutput = encoding.read(body)?;
    Ok(GetRecordsOutput {
        body_bytes: body.len(),
        ..output
    })
}

impl Answer for GetRecordsOutput {
    fn read<R: Reader>(r: &mut R) -> Read<Self> {
        let (mut records, mut next, mut lag) = (None, None, None);
        let mut children = Vec::new();
        r.map(|r, key| {
            match key {
                "Records" => records = Some(r.array(Record::read)?),
                "NextShardIterator" => next = r.optional_text()?,
                "MillisBehindLatest" => lag = r.optional_integer()?,
                "ChildShards" => children = r.array(ChildShard::read)?,
                _ => r.skip()?,
            }
            Ok(())
        })?;
        Ok(GetRecordsOutput {
            records: required(records, "Records")?,
            next_shard_iterator: next,
            millis_behind_latest: lag,
            child_shards: children,
            body_bytes: 0,
        })
    }
}

impl Answer for Record {
    fn read<R: Reader>(r: &mut R) -> Read<Self> {
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
        Ok(Self {
            sequence_number: required(number, "SequenceNumber")?,
            approximate_arrival_timestamp: arrival,
            data: required(data, "Data")?,
            partition_key,
            encryption_type: encryption,
        })
    }
}

impl Answer for ChildShard {
    fn read<R: Reader>(r: &mut R) -> Read<Self> {
        let (mut id, mut parents, mut range) = (None, Vec::new(), None);
        r.map(|r, key| {
            match key {
                "ShardId" => id = r.optional_text()?,
                "ParentShards" => parents = r.array(R::text)?,
                "HashKeyRange" => range = Some(HashKeyRange::read(r)?),
                _ => r.skip()?,
            }
            Ok(())
        })?;
        Ok(Self {
            shard_id: required(id, "ShardId")?,
            parent_shards: parents,
            hash_key_range: required(range, "HashKeyRange")?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encoding::Writer;
    use Encoding::{Cbor, Json};

    fn result(encoding: Encoding, pairs: &[(&str, &str)]) -> Bytes {
        let mut w = Writer::new(encoding);
        w.map(2);
        w.text("FailedRecordCount");
        w.integer(0);
        w.text("Records");
        w.array(1);
        w.map(pairs.len());
        for (k, v) in pairs {
            w.member(k, v);
        }
        w.into_body().into_bytes()
    }

    #[test]
    fn results_must_match_entries_and_say_what_became_of_them() {
        for e in [Cbor, Json] {
            let stored = result(e, &[("ShardId", "shardId-0"), ("SequenceNumber", "49")]);
            assert!(matches!(
                &put_records(e, &stored, 1).unwrap().records[..],
                [PutRecordsResult::Stored { shard_id, .. }] if **shard_id == *"shardId-0"
            ));
            assert_eq!(
                put_records(e, &stored, 2).unwrap_err().0,
                "1 results for 2 entries"
            );
            let refused = result(e, &[("ErrorCode", "InternalFailure")]);
            assert!(matches!(
                &put_records(e, &refused, 1).unwrap().records[..],
                [PutRecordsResult::Refused { code, .. }] if code == "InternalFailure"
            ));
            assert!(put_records(e, &result(e, &[]), 1).is_err());
            assert!(put_records(e, &result(e, &[("SequenceNumber", "49")]), 1).is_err());
        }
    }

    fn page(encoding: Encoding) -> Bytes {
        let mut w = Writer::new(encoding);
        w.map(1);
        w.text("Records");
        w.array(1);
        w.map(2);
        w.member("SequenceNumber", "49");
        w.text("Data");
        w.bytes(&[b"payload".into()]);
        w.into_body().into_bytes()
    }

    #[test]
    fn in_cbor_payloads_are_views_into_the_answer() {
        let body = page(Cbor);
        let output = get_records(Cbor, &body).unwrap();
        let data = &output.records[0].data;
        assert!(body.as_ptr_range().contains(&data.as_ptr()));
    }

    #[test]
    fn what_is_cut_is_refused() {
        for encoding in [Cbor, Json] {
            let body = page(encoding);
            let output = get_records(encoding, &body).unwrap();
            assert_eq!(output.records[0].data, "payload");
            assert_eq!(output.records[0].partition_key, None);
            assert_eq!(output.body_bytes, body.len());
            for cut in 0..body.len() {
                let cut_off = get_records(encoding, &body.slice(..cut));
                assert!(cut_off.is_err(), "{encoding:?} cut at {cut}");
            }
        }
    }

    /// Reads a body as every answer, in both encodings.
    fn read_as_all(body: &Bytes) {
        for e in [Cbor, Json] {
            let _ = (get_records(e, body), put_records(e, body, 1));
            let _ = (
                e.read::<ShardPage>(body).is_ok(),
                e.read::<Described>(body).is_ok(),
            );
            let _ = (
                e.read::<StreamPage>(body).is_ok(),
                e.read::<ShardIterator>(body).is_ok(),
            );
        }
        let _ = crate::cbor::error(body);
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_panic(bytes: Vec<u8>) {
            read_as_all(&Bytes::from(bytes));
        }

        /// Bytes that are nearly right get further into the decoders than any bytes.
        #[test]
        fn no_spoilt_answer_panics(
            answer in 0..SOUND.len(),
            json: bool,
            spoil in proptest::collection::vec((proptest::prelude::any::<u16>(), 0..=255_u8), 0..4),
            cut in proptest::option::of(0..400_usize),
        ) {
            let (cbor, text) = SOUND[answer];
            let mut body = if json { text.as_bytes().to_vec() } else { cbor.to_vec() };
            for (at, byte) in spoil {
                let at = usize::from(at) % body.len();
                body[at] = byte;
            }
            body.truncate(cut.unwrap_or(usize::MAX));
            read_as_all(&Bytes::from(body));
        }
    }

    /// Answers written by hand from the service's shapes, in both encodings: GetRecords with lag,
    /// timestamps and a child shard; ListShards with a closed shard; PutRecords; a summary; an error.
    const SOUND: [(&[u8], &str); 5] = [
        (
            b"\xbf\x67Records\x81\xa4\x6eSequenceNumber\x6249\x78\x1bApproximateArrivalTimestamp\xc1\x1b\x00\
              \x00\x01\x8b\xcf\xe5\x68\x07\x64Data\x45hello\x6cPartitionKey\x61k\x71NextShardIterator\xf6\
              \x72MillisBehindLatest\x00\x6bChildShards\x81\xa3\x67ShardId\x61c\x6cParentShards\x81\x61p\
              \x6cHashKeyRange\xa2\x6fStartingHashKey\x610\x6dEndingHashKey\x619\xff",
            r#"{"Records":[{"SequenceNumber":"49","ApproximateArrivalTimestamp":1.700000000007E9,
                "Data":"aGVsbG8=","PartitionKey":"k"}],"NextShardIterator":null,"MillisBehindLatest":0,
                "ChildShards":[{"ShardId":"c","ParentShards":["p"],
                "HashKeyRange":{"StartingHashKey":"0","EndingHashKey":"9"}}]}"#,
        ),
        (
            b"\xa2\x66Shards\x81\xa3\x67ShardId\x61a\x6cHashKeyRange\xa2\x6fStartingHashKey\x610\
              \x6dEndingHashKey\x619\x73SequenceNumberRange\xa2\x76StartingSequenceNumber\x611\
              \x74EndingSequenceNumber\x612\x69NextToken\x61t",
            r#"{"Shards":[{"ShardId":"a","HashKeyRange":{"StartingHashKey":"0","EndingHashKey":"9"},
                "SequenceNumberRange":{"StartingSequenceNumber":"1","EndingSequenceNumber":"2"}}],
                "NextToken":"t"}"#,
        ),
        (
            b"\xa2\x71FailedRecordCount\x00\x67Records\x81\xa2\x6eSequenceNumber\x619\x67ShardId\x61a",
            r#"{"FailedRecordCount":0,"Records":[{"SequenceNumber":"9","ShardId":"a"}]}"#,
        ),
        (
            b"\xa1\x78\x18StreamDescriptionSummary\xa6\x6aStreamName\x61s\x69StreamARN\x61a\
              \x6cStreamStatus\x66ACTIVE\x74RetentionPeriodHours\x18\x18\x77StreamCreationTimestamp\xc1\
              \x1b\x00\x00\x01\x8b\xcf\xe5\x68\x07\x6eOpenShardCount\x04",
            r#"{"StreamDescriptionSummary":{"StreamName":"s","StreamARN":"a","StreamStatus":"ACTIVE",
                "RetentionPeriodHours":24,"StreamCreationTimestamp":1700000000.007,"OpenShardCount":4}}"#,
        ),
        (
            b"\xa2\x66__type\x78\x18ExpiredIteratorException\x67message\x63old",
            r#"{"__type":"ExpiredIteratorException","message":"old"}"#,
        ),
    ];

    #[test]
    fn both_encodings_say_the_same() {
        let [records, shards, put, summary, error] = SOUND.map(|(cbor, json)| {
            (
                Bytes::from_static(cbor),
                Bytes::from_static(json.as_bytes()),
            )
        });
        let in_cbor = get_records(Cbor, &records.0).unwrap();
        assert_eq!(in_cbor.records[0].data, "hello");
        assert_eq!(in_cbor.child_shards[0].parent_shards, ["p"]);
        assert_eq!(in_cbor.body_bytes, records.0.len());
        let in_json = get_records(Json, &records.1).unwrap();
        assert_eq!(in_json.body_bytes, records.1.len());
        let body_bytes = in_cbor.body_bytes;
        assert_eq!(
            GetRecordsOutput {
                body_bytes,
                ..in_json
            },
            in_cbor
        );
        let pages = (
            Cbor.read::<ShardPage>(&shards.0),
            Json.read::<ShardPage>(&shards.1),
        );
        let pages = (pages.0.unwrap(), pages.1.unwrap());
        assert_eq!(pages.0.shards.len(), 1);
        assert_eq!(pages.0.shards, pages.1.shards);
        assert_eq!(
            (&*pages.0.next_token.unwrap(), &*pages.1.next_token.unwrap()),
            ("t", "t")
        );
        let puts = (put_records(Cbor, &put.0, 1), put_records(Json, &put.1, 1));
        assert_eq!(puts.0.unwrap(), puts.1.unwrap());
        let Described(in_cbor) = Cbor.read(&summary.0).unwrap();
        let Described(in_json) = Json.read(&summary.1).unwrap();
        assert_eq!(
            (in_cbor.open_shard_count, in_cbor.retention_period_hours),
            (4, 24)
        );
        assert_eq!(in_cbor, in_json);
        assert!(crate::cbor::error(&error.0).is_some());
        assert!(crate::cbor::error(&error.1).is_none());
    }
}
