//! PutRecord and PutRecords.

use super::hash::hash_key;
use super::read::encryption;
use super::sequence::Sequence;
use super::shard::{Incoming, Shard};
use super::stream::{State, Stream};
use super::{Kinesis, Twist};
use crate::refusal::Refusal;
use crate::wire::{Check, Emit, Fields};
use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Entries of one request.
const MAX_ENTRIES: usize = 500;
/// Payloads and partition keys of one request: 10 MiB.
const MAX_REQUEST: usize = 10 << 20;
/// The largest payload that any stream can be set to take.
const MAX_DATA: usize = 10 << 20;

/// One record as the request gives it.
struct Entry<'d> {
    /// Only a stream that places records itself takes one without.
    partition_key: Option<&'d str>,
    explicit_hash_key: Option<&'d str>,
    data: Cow<'d, [u8]>,
}

/// What became of one record.
enum Outcome {
    Stored {
        shard: Arc<Shard>,
        at: Sequence,
        encrypted: bool,
    },
    Refused {
        code: String,
        message: String,
    },
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
        match self.store(&stream, &entries, false, &Twist::None)?.pop() {
            Some(Outcome::Stored {
                shard,
                at,
                encrypted,
            }) => {
                out.begin_map();
                out.text_member("ShardId", &shard.id);
                out.text_member("SequenceNumber", &at.to_string());
                out.text_member("EncryptionType", encryption(encrypted));
                out.end();
                Ok(())
            }
            Some(Outcome::Refused { message, .. }) => Err(Refusal::throttled(message)),
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
            let member = MemberPath(position);
            entries.extend(read_entry_of(request.inner(record)?, member, &mut check)?);
        }
        let dry = request.boolean("DryRun")? == Some(true);
        check.finish()?;
        let size: usize = entries.iter().map(Entry::size).sum();
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
        let outcomes = self.store(&stream, &entries, true, twist)?;
        let encrypted = outcomes.iter().any(|o| {
            matches!(
                o,
                Outcome::Stored {
                    encrypted: true,
                    ..
                }
            )
        });
        let failed = outcomes
            .iter()
            .filter(|o| matches!(o, Outcome::Refused { .. }))
            .count();
        out.reserve(outcomes.len() * 140);
        out.begin_map();
        out.integer_member(
            "FailedRecordCount",
            u64::try_from(failed).unwrap_or(u64::MAX),
        );
        out.begin_list_member("Records");
        for outcome in &outcomes {
            out.begin_map();
            match outcome {
                Outcome::Stored { shard, at, .. } => {
                    out.text_member("SequenceNumber", &at.to_string());
                    out.text_member("ShardId", &shard.id);
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

    /// The hash key of each entry, if all may be put; none where the service places records. An entry
    /// of PutRecords is `listed`.
    fn place(
        &self,
        state: &State,
        entries: &[Entry<'_>],
        listed: bool,
    ) -> Result<Vec<Option<u128>>, Refusal> {
        let settings = &state.settings;
        let limit = if self.limits.record_size {
            usize::try_from(settings.max_record_kib << 10).unwrap_or(usize::MAX)
        } else {
            usize::MAX
        };
        entries
            .iter()
            .enumerate()
            .map(|(position, entry)| {
                if entry.size() > limit {
                    return Err(Refusal::validation(format!(
                        "1 validation error detected: Value 'java.nio.HeapByteBuffer[pos=0 \
                         lim={0} cap={0}]' at 'data' failed to satisfy constraint: Member and \
                         partition key must have length less than or equal to {limit}",
                        entry.data.len()
                    )));
                }
                match (settings.auto, entry.explicit_hash_key, entry.partition_key) {
                    (true, ..) => Ok(None),
                    (false, _, None) => {
                        let path = if listed {
                            format!("records.{}.member.partitionKey", position + 1)
                        } else {
                            "partitionKey".to_owned()
                        };
                        let mut check = Check::default();
                        check.present::<&str>(&path, None);
                        check.finish().map(|()| None)
                    }
                    (false, None, Some(key)) => Ok(Some(hash_key(key))),
                    (false, Some(key), Some(_)) => key.parse().map(Some).map_err(|_| {
                        Refusal::invalid_argument(format!(
                            "Invalid ExplicitHashKey. ExplicitHashKey must be in the range: \
                             [0, 2^128-1]. Specified value was {key}"
                        ))
                    }),
                }
            })
            .collect()
    }

    /// Stores entries; an invalid one refuses all of them, a throttled one only itself. The outcomes
    /// are in the order of the entries.
    fn store(
        &self,
        stream: &Stream,
        entries: &[Entry<'_>],
        listed: bool,
        twist: &Twist,
    ) -> Result<Vec<Outcome>, Refusal> {
        let now = self.now();
        // Held over the whole put: no shard closes between routing and appending.
        let state = stream.state.read();
        let keys = self.place(&state, entries, listed)?;
        let encrypted = state.settings.key_id.is_some();
        let mut routed = Vec::with_capacity(entries.len());
        for (position, (entry, key)) in entries.iter().zip(keys).enumerate() {
            let shard = match key {
                Some(key) => state.route(key),
                None => state.in_turn(stream.turn.fetch_add(1, Ordering::Relaxed)),
            };
            let shard = shard.ok_or_else(|| self.no_stream(&stream.name))?;
            routed.push((shard, position, entry));
        }
        // Entries of one shard keep their order.
        routed.sort_by_key(|(shard, position, _)| (shard.index, *position));
        let mut outcomes: Vec<Option<Outcome>> = Vec::new();
        outcomes.resize_with(entries.len(), || None);
        for group in routed.chunk_by(|(a, ..), (b, ..)| a.index == b.index) {
            let Some((shard, ..)) = group.first() else {
                continue;
            };
            let shard: &Arc<Shard> = shard;
            let records: Vec<(usize, Incoming<'_>)> = group
                .iter()
                .map(|(_, position, entry)| (*position, entry.incoming(encrypted)))
                .collect();
            let mut accepted = Vec::with_capacity(records.len());
            let mut log = shard.log.lock();
            log.trim(state.horizon(now));
            for (position, record) in &records {
                let refused = if let Some(refused) = twist.refuses(*position) {
                    Some(refused)
                } else if self.limits.shard_writes && !log.limits.admit_write(record.size(), now) {
                    Some(self.throttled_entry(shard, stream))
                } else {
                    None
                };
                match refused {
                    Some(refused) => {
                        if let Some(slot) = outcomes.get_mut(*position) {
                            *slot = Some(refused);
                        }
                    }
                    None => accepted.push((*position, record)),
                }
            }
            let incoming: Vec<&Incoming<'_>> = accepted.iter().map(|(_, r)| *r).collect();
            // Numbers are given out and records inserted under one lock: a reader at the tip can
            // never pass a number whose record comes later.
            let (first, arrival) = log.append(&incoming, now);
            drop(log);
            if !accepted.is_empty() {
                shard.news.notify_waiters();
            }
            for (index, (position, _)) in (first..).zip(&accepted) {
                if let Some(slot) = outcomes.get_mut(*position) {
                    *slot = Some(Outcome::Stored {
                        shard: Arc::clone(shard),
                        at: shard.sequence(index, arrival),
                        encrypted,
                    });
                }
            }
        }
        Ok(outcomes.into_iter().flatten().collect())
    }

    fn throttled_entry(&self, shard: &Shard, stream: &Stream) -> Outcome {
        Outcome::Refused {
            code: "ProvisionedThroughputExceededException".to_owned(),
            message: self.rate_exceeded(shard, stream),
        }
    }

    pub(super) fn rate_exceeded(&self, shard: &Shard, stream: &Stream) -> String {
        format!(
            "Rate exceeded for shard {} in stream {} under account {}.",
            shard.id, stream.name, self.account
        )
    }
}

impl Twist {
    fn refuses(&self, position: usize) -> Option<Outcome> {
        match self {
            Self::SplitEntries { every, code }
                if (position + 1).is_multiple_of((*every).max(1)) =>
            {
                Some(Outcome::Refused {
                    code: code.clone(),
                    message: "Refused by a scripted fault.".to_owned(),
                })
            }
            _ => None,
        }
    }
}

impl Entry<'_> {
    fn size(&self) -> usize {
        self.partition_key.map_or(0, str::len) + self.data.len()
    }

    fn incoming(&self, encrypted: bool) -> Incoming<'_> {
        Incoming {
            partition_key: self.partition_key.unwrap_or_default(),
            encrypted,
            explicit_hash_key: self.explicit_hash_key.and_then(|key| key.parse().ok()),
            data: &self.data,
        }
    }
}

/// Where an entry stands in the request, for the text of an error.
#[derive(Clone, Copy)]
struct MemberPath(usize);

fn read_entry_of<'d>(
    fields: Fields<'d, '_>,
    path: MemberPath,
    check: &mut Check,
) -> Result<Option<Entry<'d>>, Refusal> {
    // The path is formatted only when something is wrong with the entry.
    let mut trial = Check::default();
    let entry = read_entry(fields, "", &mut trial)?;
    if trial.finish().is_err() {
        return read_entry(fields, &format!("records.{}.member.", path.0 + 1), check);
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
    let fine = {
        let key = partition_key.is_none_or(|key| !key.is_empty() && key.len() <= 256);
        key && explicit_hash_key.is_none() && data.as_ref().is_some_and(|d| d.len() <= MAX_DATA)
    };
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
        partition_key,
        explicit_hash_key,
        data,
    }))
}
