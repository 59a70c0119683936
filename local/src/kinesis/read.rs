//! GetShardIterator and GetRecords.

use super::batch::Record;
use super::control::write_range;
use super::log::{Log, Page};
use super::sequence::Sequence;
use super::shard::Shard;
use super::stream::Stream;
use super::token::{Kind, Token};
use super::{Kinesis, Twist};
use crate::http::date;
use crate::refusal::Refusal;
use crate::wire::{Check, Emit, Fields};
use std::sync::Arc;

/// Records of one answer.
const MAX_RECORDS: i64 = 10_000;
/// Bytes of one answer, partition keys included: 10 MiB.
const MAX_BYTES: usize = 10 << 20;

const TYPES: [&str; 5] = [
    "AFTER_SEQUENCE_NUMBER",
    "LATEST",
    "AT_TIMESTAMP",
    "AT_SEQUENCE_NUMBER",
    "TRIM_HORIZON",
];

/// Where a reader wants to start.
#[derive(Debug)]
pub(super) struct Start<'d> {
    kind: &'d str,
    sequence: Option<&'d str>,
    /// Milliseconds since the epoch.
    timestamp: Option<u64>,
}

impl<'d> Start<'d> {
    /// Reads it from the members of these names.
    pub(super) fn read(
        fields: Fields<'d, '_>,
        kind_member: &str,
        sequence_member: &str,
        check: &mut Check,
    ) -> Result<Self, Refusal> {
        let in_words = |member: &str| {
            let mut letters = member.chars();
            letters.next().map_or_else(String::new, |first| {
                first.to_lowercase().chain(letters).collect()
            })
        };
        let kind = fields.text(kind_member)?;
        check.present(&in_words(kind_member), kind);
        check.one_of(&in_words(kind_member), kind, &TYPES);
        let sequence = fields.text(sequence_member)?;
        check.decimal(&in_words(sequence_member), sequence, 129);
        Ok(Self {
            kind: kind.unwrap_or_default(),
            sequence,
            timestamp: fields.timestamp("Timestamp")?,
        })
    }
}

impl Kinesis {
    pub(super) fn get_shard_iterator(
        &self,
        request: Fields<'_, '_>,
        out: &mut (dyn Emit + Send),
    ) -> Result<(), Refusal> {
        let mut check = Check::default();
        let name = self.selected(request, &mut check)?;
        let shard_name = request.text("ShardId")?;
        check.present("shardId", shard_name);
        check.name("shardId", shard_name);
        let start = Start::read(
            request,
            "ShardIteratorType",
            "StartingSequenceNumber",
            &mut check,
        )?;
        let dry = request.boolean("DryRun")? == Some(true);
        check.finish()?;
        let shard_name = shard_name.unwrap_or_default();
        let now = self.now();
        let index = self.shard_index(shard_name, &name)?;
        let stream = self.serving(&name)?;
        let state = stream.state.read();
        let shard = state
            .shard(index)
            .ok_or_else(|| self.gone(shard_name, &name))?;
        let mut log = shard.log.lock();
        log.trim(state.horizon(now));
        let position = self.position(&start, "GetShardIterator", shard, &log, now)?;
        if dry {
            return Err(self.dry_run("GetShardIterator", &stream));
        }
        if self.limits.shard_reads && !log.limits.admit_iterator(now) {
            return Err(Refusal::throttled(self.rate_exceeded(shard, &stream)));
        }
        drop(log);
        let iterator = self.iterator(&stream, shard, position, now);
        out.begin_map();
        out.text_member("ShardIterator", &iterator);
        out.end();
        Ok(())
    }

    /// The index that a reader starts at.
    pub(super) fn position(
        &self,
        start: &Start<'_>,
        operation: &str,
        shard: &Shard,
        log: &Log,
        now: u64,
    ) -> Result<u64, Refusal> {
        Ok(match (start.kind, start.sequence, start.timestamp) {
            ("TRIM_HORIZON", None, _) => log.first(),
            ("LATEST", None, _) => log.end(),
            ("AT_SEQUENCE_NUMBER", Some(text), _) => {
                self.sequence_of(text, operation, shard)?.index
            }
            ("AFTER_SEQUENCE_NUMBER", Some(text), _) => {
                self.sequence_of(text, operation, shard)?.index + 1
            }
            ("AT_TIMESTAMP", None, Some(at)) if at > now => {
                return Err(Refusal::invalid_argument(format!(
                    "The timestampInMillis parameter cannot be greater than the \
                     currentTimestampInMillis. timestampInMillis: {at}, \
                     currentTimestampInMillis: {now}"
                )));
            }
            // After the last record this is the tip: what comes later arrives at or after now.
            ("AT_TIMESTAMP", None, Some(at)) => log.index_at_time(at),
            ("AT_TIMESTAMP", None, None) => {
                return Err(Refusal::invalid_argument(
                    "Must specify timestampInMillis parameter for iterator of type AT_TIMESTAMP. \
                     Current request has no timestamp parameter.",
                ));
            }
            (kind, starting, _) => {
                return Err(Refusal::invalid_argument(format!(
                    "Must either specify (1) AT_SEQUENCE_NUMBER or AFTER_SEQUENCE_NUMBER and \
                     StartingSequenceNumber or (2) TRIM_HORIZON or LATEST and no \
                     StartingSequenceNumber. Request specified {kind} and {} \
                     StartingSequenceNumber.",
                    if starting.is_some() { "also a" } else { "no" }
                )));
            }
        })
    }

    pub(super) fn get_records(
        &self,
        request: Fields<'_, '_>,
        twist: &Twist,
        out: &mut (dyn Emit + Send),
    ) -> Result<(), Refusal> {
        let mut check = Check::default();
        let iterator = request.text("ShardIterator")?;
        check.present("shardIterator", iterator);
        check.length("shardIterator", iterator, 1, 512);
        let limit = request.integer("Limit")?;
        check.range("limit", limit, 1, i64::MAX);
        let arn = request.text("StreamARN")?;
        let dry = request.boolean("DryRun")? == Some(true);
        check.finish()?;
        if limit.is_some_and(|n| n > MAX_RECORDS) {
            return Err(Refusal::invalid_argument(format!(
                "Limit must not be greater than {MAX_RECORDS}."
            )));
        }
        let limit = usize::try_from(limit.unwrap_or(MAX_RECORDS)).unwrap_or(usize::MAX);
        let now = self.now();
        let token = self
            .sealer
            .open(Kind::ShardIterator, iterator.unwrap_or_default())
            .ok_or_else(|| Refusal::invalid_argument("Invalid ShardIterator."))?;
        if *twist == Twist::ExpireIterator || now.saturating_sub(token.issued) > self.iterator_ttl {
            return Err(self.expired(token.issued, now));
        }
        if let Some(arn) = arn
            && self.name_of_arn(arn)? != token.stream
        {
            return Err(Refusal::invalid_argument(format!(
                "StreamARN {arn} does not match the stream of the ShardIterator."
            )));
        }
        let shard_name = super::shard::shard_id(token.shard);
        let stream = self
            .serving(&token.stream)
            .ok()
            .filter(|s| s.incarnation == token.incarnation)
            .ok_or_else(|| self.gone(&shard_name, &token.stream))?;
        let state = stream.state.read();
        let shard = state
            .shard(token.shard)
            .cloned()
            .ok_or_else(|| self.gone(&shard_name, &token.stream))?;
        if dry {
            return Err(self.dry_run("GetRecords", &stream));
        }
        // Asked before the log is locked: after this nothing is appended to a closed shard.
        let closed = shard.closed.get().is_some();
        let page = {
            let mut log = shard.log.lock();
            log.trim(state.horizon(now));
            if self.limits.shard_reads && !log.limits.admit_read(now) {
                return Err(Refusal::throttled(self.rate_exceeded(&shard, &stream)));
            }
            let page = log.read(token.position, limit, MAX_BYTES, closed, now);
            log.limits.book_read(page.size, now);
            page
        };
        let children: Vec<Arc<Shard>> = match page.next {
            Some(_) => Vec::new(),
            None => state.children_of(&shard),
        };
        drop(state);
        out.begin_map();
        write_records(&shard, &page, out);
        if let Some(next) = page.next {
            let next = self.iterator(&stream, &shard, next, now);
            out.text_member("NextShardIterator", &next);
        }
        out.integer_member("MillisBehindLatest", page.behind);
        if page.next.is_none() {
            write_children(&children, out);
        }
        out.end();
        Ok(())
    }

    fn iterator(&self, stream: &Stream, shard: &Shard, position: u64, now: u64) -> String {
        let token = Token {
            issued: now,
            incarnation: stream.incarnation,
            stream: stream.name.clone(),
            shard: shard.index,
            position,
            ..Token::default()
        };
        self.sealer.seal(Kind::ShardIterator, &token)
    }

    pub(super) fn gone(&self, shard: &str, stream: &str) -> Refusal {
        Refusal::not_found(format!(
            "Shard {shard} in stream {stream} under account {} does not exist",
            self.account
        ))
    }

    fn expired(&self, issued: u64, now: u64) -> Refusal {
        Refusal::new(
            "ExpiredIteratorException",
            format!(
                "Iterator expired. The iterator was created at time {} while right now it is {} \
                 which is further in the future than the tolerated delay of {} milliseconds.",
                date::of_errors(issued),
                date::of_errors(now),
                self.iterator_ttl
            ),
        )
    }

    /// Reads a StartingSequenceNumber, which has to be of that shard.
    fn sequence_of(&self, text: &str, operation: &str, shard: &Shard) -> Result<Sequence, Refusal> {
        let used = format!(
            "StartingSequenceNumber {text} used in {operation} on shard {} under account {} \
             is invalid",
            shard.id, self.account
        );
        let sequence =
            Sequence::parse(text).ok_or_else(|| Refusal::invalid_argument(format!("{used}.")))?;
        if sequence.shard != shard.index {
            return Err(Refusal::invalid_argument(format!(
                "Invalid StartingSequenceNumber. It encodes {}, while it was used in a call to a \
                 shard with {}",
                super::shard::shard_id(sequence.shard),
                shard.id
            )));
        }
        if sequence.created != shard.created {
            return Err(Refusal::invalid_argument(format!(
                "{used} because it did not come from this stream."
            )));
        }
        Ok(sequence)
    }
}

/// The records of a page as GetRecords and SubscribeToShard show them.
pub(super) fn write_records(shard: &Shard, page: &Page, out: &mut (dyn Emit + Send)) {
    out.reserve(page.size + page.count * 200 + 512);
    out.begin_list_member("Records");
    for record in page.records() {
        write_record(shard, &record, out);
    }
    out.end();
}

fn write_record(shard: &Shard, record: &Record<'_>, out: &mut (dyn Emit + Send)) {
    let sequence = shard.sequence(record.index, record.arrival);
    out.begin_map();
    out.text_member("SequenceNumber", sequence.digits().as_str());
    out.timestamp_member("ApproximateArrivalTimestamp", record.arrival);
    out.key("Data");
    out.blob(record.data);
    out.optional_text_member("PartitionKey", record.partition_key());
    out.text_member("EncryptionType", encryption(record.encrypted));
    out.end();
}

/// The `EncryptionType` of a record.
pub(super) fn encryption(encrypted: bool) -> &'static str {
    if encrypted { "KMS" } else { "NONE" }
}

/// The `ChildShards` member at the end of a closed shard.
pub(super) fn write_children(children: &[Arc<Shard>], out: &mut (dyn Emit + Send)) {
    out.begin_list_member("ChildShards");
    for child in children {
        out.begin_map();
        out.text_member("ShardId", &child.id);
        out.begin_list_member("ParentShards");
        for parent in [&child.parent, &child.adjacent_parent]
            .into_iter()
            .flatten()
        {
            out.text(parent);
        }
        out.end();
        write_range(child, out);
        out.end();
    }
    out.end();
}
