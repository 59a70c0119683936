//! Where records go, and that they get there.

use super::batch::{Draft, Incoming};
use super::hash::hash_key;
use super::log::Log;
use super::put::Entry;
use super::shard::Shard;
use super::stream::{State, Stream};
use super::{Kinesis, Twist};
use crate::refusal::Refusal;
use crate::wire::Check;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// What became of one record.
pub(super) enum Outcome {
    /// Which of the [`Placed::groups`] it is in, and its index in the shard.
    Stored {
        group: usize,
        index: u64,
    },
    Refused {
        code: String,
        message: String,
    },
}

/// What became of the records of one request.
pub(super) struct Placed {
    /// The shards that took records, and when.
    pub(super) groups: Vec<(Arc<Shard>, u64)>,
    /// In the order of the request.
    pub(super) outcomes: Vec<Outcome>,
    pub(super) encrypted: bool,
}

/// Records of one shard, ready to be appended.
struct Ready<'s> {
    shard: &'s Arc<Shard>,
    draft: Draft,
    /// Their places in the request.
    positions: Vec<usize>,
}

impl Kinesis {
    /// The hash key of each entry, if all may be put; none where the service places records. An entry
    /// of PutRecords is `listed`.
    pub(super) fn place(
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

    /// Stores entries; an invalid one refuses all of them, a throttled one only itself.
    pub(super) fn store(
        &self,
        stream: &Stream,
        entries: &[Entry<'_>],
        listed: bool,
        twist: &Twist,
    ) -> Result<Placed, Refusal> {
        let now = self.now();
        // Held over the whole put: no shard closes between routing and appending.
        let state = stream.state.read();
        let keys = self.place(&state, entries, listed)?;
        let mut routed = Vec::with_capacity(entries.len());
        for (position, key) in keys.into_iter().enumerate() {
            let place = match key {
                Some(key) => state.route(key),
                None => state.in_turn(stream.turn.fetch_add(1, Ordering::Relaxed)),
            };
            routed.push((place, position));
        }
        // Entries of one shard keep their order.
        routed.sort_unstable();
        let mut outcomes: Vec<Option<Outcome>> = Vec::new();
        outcomes.resize_with(entries.len(), || None);
        let mut ready = Vec::new();
        for group in routed.chunk_by(|a, b| a.0 == b.0) {
            let shard = group.first().and_then(|(place, _)| state.open_at(*place));
            let shard = shard.ok_or_else(|| self.no_stream(&stream.name))?;
            let group = group.iter().filter_map(|(_, position)| {
                let entry = entries.get(*position)?;
                Some((*position, entry.incoming()))
            });
            let (positions, records) =
                self.admitted(stream, shard, group, now, twist, &mut outcomes);
            // Decoded before the shard is locked, and before anything is stored.
            let draft = Draft::of(records.into_iter())?;
            ready.push(Ready {
                shard,
                draft,
                positions,
            });
        }
        let encrypted = state.settings.key_id.is_some();
        let mut groups = Vec::with_capacity(ready.len());
        for Ready {
            shard,
            draft,
            positions,
        } in ready
        {
            let mut log = shard.log.lock();
            log.trim(state.horizon(now));
            // Numbers are given out and records inserted under one lock: a reader at the tip can
            // never pass a number whose record comes later.
            let (first, arrival) = log.append(draft, encrypted, now);
            drop(log);
            if !positions.is_empty() {
                shard.news.notify_waiters();
            }
            let group = groups.len();
            for (index, position) in (first..).zip(positions) {
                if let Some(slot) = outcomes.get_mut(position) {
                    *slot = Some(Outcome::Stored { group, index });
                }
            }
            groups.push((Arc::clone(shard), arrival));
        }
        Ok(Placed {
            groups,
            outcomes: outcomes.into_iter().flatten().collect(),
            encrypted,
        })
    }

    /// The records of one shard that are neither throttled nor struck by a fault, with their places in
    /// the request; notes what became of the others.
    fn admitted<'e>(
        &self,
        stream: &Stream,
        shard: &Shard,
        group: impl Iterator<Item = (usize, Incoming<'e>)>,
        now: u64,
        twist: &Twist,
        outcomes: &mut [Option<Outcome>],
    ) -> (Vec<usize>, Vec<Incoming<'e>>) {
        let mut log = self.limits.shard_writes.then(|| shard.log.lock());
        group
            .filter(|(position, record)| {
                let throttled = |log: &mut Log| !log.limits.admit_write(record.size(), now);
                let refused = match twist.refuses(*position) {
                    None if log.as_deref_mut().is_some_and(throttled) => {
                        Some(self.throttled_entry(shard, stream))
                    }
                    refused => refused,
                };
                let fine = refused.is_none();
                if let Some(slot) = outcomes.get_mut(*position) {
                    *slot = refused;
                }
                fine
            })
            .unzip()
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
