//! PutRecord and PutRecords.

use super::batch::Incoming;
use super::read::encryption;
use super::store::Outcome;
use super::stream::Stream;
use super::{Kinesis, Twist};
use crate::refusal::Refusal;
use crate::wire::{Check, Emit, Fields};
use std::sync::Arc;

/// Entries of one request.
const MAX_ENTRIES: usize = 500;
/// Payloads and partition keys of one request: 10 MiB.
const MAX_REQUEST: usize = 10 << 20;
/// The largest payload that any stream can be set to take.
const MAX_DATA: usize = 10 << 20;

/// One record as the request gives it.
pub(super) struct Entry<'d> {
    pub(super) record: Incoming<'d>,
    /// As it was written; the record has none where this is none or too large.
    pub(super) explicit_hash_key: Option<&'d str>,
}

impl Kinesis {
    pub(super) fn put_record(
        &self,
        request: Fields<'_, '_>,
        out: &mut (dyn Emit + Send),
    ) -> Result<(), Refusal> {
        let mut check = Check::default();
        let name = self.selected(request, &mut check)?;
        let entry = read_entry(request, "", &mut check)?;
        let ordering = request.text("SequenceNumberForOrdering")?;
        check.decimal("sequenceNumberForOrdering", ordering, 129);
        let dry = request.boolean("DryRun")? == Some(true);
        check.finish()?;
        let entries: Vec<Entry<'_>> = entry.into_iter().collect();
        let stream = self.serving(&name)?;
        if ordering.is_some() && stream.state.read().settings.auto {
            return Err(Refusal::invalid_argument(format!(
                "SequenceNumberForOrdering cannot be used with stream {name}, whose record \
                 distribution strategy is AUTO."
            )));
        }
        if dry {
            self.place(&stream.state.read(), &entries, false)?;
            return Err(self.dry_run("PutRecord", &stream));
        }
        let placed = self.store(&stream, &entries, false, &Twist::None)?;
        match placed.outcomes.first() {
            Some(Outcome::Stored { group, index }) => {
                let Some((shard, arrival)) = placed.groups.get(*group) else {
                    return Err(self.no_stream(&name));
                };
                let sequence = shard.sequence(*index, *arrival);
                out.begin_map();
                out.text_member("ShardId", &shard.id);
                out.text_member("SequenceNumber", sequence.digits().as_str());
                out.text_member("EncryptionType", encryption(placed.encrypted));
                out.end();
                Ok(())
            }
            Some(Outcome::Refused { message, .. }) => Err(Refusal::throttled(message.as_str())),
            None => Err(Refusal::validation("No record to put.")),
        }
    }

    pub(super) fn put_records(
        &self,
        request: Fields<'_, '_>,
        twist: &Twist,
        out: &mut (dyn Emit + Send),
    ) -> Result<(), Refusal> {
        let mut check = Check::default();
        let name = self.selected(request, &mut check)?;
        let records = request.list("Records")?;
        check.present("records", records);
        if let Some(records) = records {
            let most = if self.limits.request_size {
                MAX_ENTRIES
            } else {
                usize::MAX
            };
            check.items("records", records.len(), 1, most);
        }
        let mut records = records.unwrap_or_default();
        if self.limits.request_size {
            // What is too many is refused, but not read.
            records = records.get(..MAX_ENTRIES).unwrap_or(records);
        }
        let mut entries = Vec::with_capacity(records.len());
        for (position, record) in records.iter().enumerate() {
            entries.extend(read_entry_of(request.inner(record)?, position, &mut check)?);
        }
        let dry = request.boolean("DryRun")? == Some(true);
        check.finish()?;
        let size: usize = entries.iter().map(|entry| entry.record.size()).sum();
        if self.limits.request_size && size > MAX_REQUEST {
            return Err(Refusal::invalid_argument(
                "Records size exceeds 10 MB limit",
            ));
        }
        let stream = self.serving(&name)?;
        if dry {
            self.place(&stream.state.read(), &entries, true)?;
            return Err(self.dry_run("PutRecords", &stream));
        }
        let placed = self.store(&stream, &entries, true, twist)?;
        let failed = placed
            .outcomes
            .iter()
            .filter(|o| matches!(o, Outcome::Refused { .. }))
            .count();
        let encrypted = placed.encrypted && failed < placed.outcomes.len();
        out.reserve(placed.outcomes.len() * 110 + 64);
        out.begin_map();
        out.integer_member(
            "FailedRecordCount",
            u64::try_from(failed).unwrap_or(u64::MAX),
        );
        out.begin_list_member("Records");
        for outcome in &placed.outcomes {
            out.begin_map();
            match outcome {
                Outcome::Stored { group, index } => {
                    if let Some((shard, arrival)) = placed.groups.get(*group) {
                        let sequence = shard.sequence(*index, *arrival);
                        out.text_member("SequenceNumber", sequence.digits().as_str());
                        out.text_member("ShardId", &shard.id);
                    }
                }
                Outcome::Refused { code, message } => {
                    out.text_member("ErrorCode", code);
                    out.text_member("ErrorMessage", message);
                }
            }
            out.end();
        }
        out.end();
        out.text_member("EncryptionType", encryption(encrypted));
        out.end();
        Ok(())
    }

    /// A stream that takes and gives records.
    pub(super) fn serving(&self, name: &str) -> Result<Arc<Stream>, Refusal> {
        let stream = self.existing(name, self.now())?;
        if stream.state.read().serves() {
            Ok(stream)
        } else {
            Err(self.no_stream(name))
        }
    }
}

/// Reads the record at a position of the list.
fn read_entry_of<'d>(
    fields: Fields<'d, '_>,
    position: usize,
    check: &mut Check,
) -> Result<Option<Entry<'d>>, Refusal> {
    // The path is formatted only when something is wrong with the entry.
    let mut trial = Check::default();
    let entry = read_entry(fields, "", &mut trial)?;
    if trial.finish().is_err() {
        return read_entry(fields, &format!("records.{}.member.", position + 1), check);
    }
    Ok(entry)
}

/// Reads one record and notes what is wrong with it.
fn read_entry<'d>(
    fields: Fields<'d, '_>,
    path: &str,
    check: &mut Check,
) -> Result<Option<Entry<'d>>, Refusal> {
    let partition_key = fields.text("PartitionKey")?;
    let explicit_hash_key = fields.text("ExplicitHashKey")?;
    let data = fields.blob("Data")?;
    let hash_key: Option<u128> = explicit_hash_key.and_then(|key| key.parse().ok());
    let fine = partition_key.is_none_or(|key| !key.is_empty() && key.len() <= 256)
        && explicit_hash_key.is_none_or(|key| {
            // No sign, no zero in front.
            hash_key.is_some() && key.starts_with(|first: char| matches!(first, '1'..='9'))
        })
        && data.as_ref().is_some_and(|d| d.len() <= MAX_DATA);
    if !fine {
        let member = |name: &str| format!("{path}{name}");
        check.length(&member("partitionKey"), partition_key, 1, 256);
        check.decimal(&member("explicitHashKey"), explicit_hash_key, 39);
        check.present(&member("data"), data.as_ref());
        if let Some(length) = data.as_ref().map(|d| d.len()).filter(|n| *n > MAX_DATA) {
            check.problem(
                &member("data"),
                &format!("'java.nio.HeapByteBuffer[pos=0 lim={length} cap={length}]'"),
                &format!("Member must have length less than or equal to {MAX_DATA}"),
            );
        }
    }
    Ok(data.map(|data| Entry {
        record: Incoming {
            partition_key,
            explicit_hash_key: hash_key,
            data,
        },
        explicit_hash_key,
    }))
}
