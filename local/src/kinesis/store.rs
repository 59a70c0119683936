//! Where records go, and that they get there.

use super::batch::Draft;
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

/// An entry on its way to its shard.
struct Routed<'a> {
    /// The shard's place in the order of ranges.
    place: usize,
    shard: &'a Arc<Shard>,
    /// The entry's place in the request.
    position: usize,
    entry: &'a Entry<'a>,
}

/// The entries of each shard.
fn by_shard<'r, 'a>(
    routed: &'r [Routed<'a>],
) -> impl Iterator<Item = (&'a Arc<Shard>, &'r [Routed<'a>])> {
    routed
        .chunk_by(|a, b| a.place == b.place)
        .filter_map(|group| Some((group.first()?.shard, group)))
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
                let record = &entry.record;
                if record.size() > limit {
                    return Err(Refusal::validation(format!(
                        "1 validation error detected: Value 'java.nio.HeapByteBuffer[pos=0 \
                         lim={0} cap={0}]' at 'data' failed to satisfy constraint: Member and \
                         partition key must have length less than or equal to {limit}",
                        record.data.len()
                    )));
                }
                match (settings.auto, entry.explicit_hash_key, record.partition_key) {
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
                    (false, Some(text), Some(_)) => match record.explicit_hash_key {
                        Some(key) => Ok(Some(key)),
                        None => Err(Refusal::invalid_argument(format!(
                            "Invalid ExplicitHashKey. ExplicitHashKey must be in the range: \
                             [0, 2^128-1]. Specified value was {text}"
                        ))),
                    },
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
        for ((position, entry), key) in entries.iter().enumerate().zip(keys) {
            let place = match key {
                Some(key) => state.route(key),
                None => state.in_turn(stream.turn.fetch_add(1, Ordering::Relaxed)),
            };
            let shard = state.open_at(place);
            routed.push(Routed {
                place,
                shard: shard.ok_or_else(|| self.no_stream(&stream.name))?,
                position,
                entry,
            });
        }
        // Entries of one shard keep their order.
        routed.sort_unstable_by_key(|routed| (routed.place, routed.position));
        let mut outcomes: Vec<Option<Outcome>> = Vec::new();
        outcomes.resize_with(entries.len(), || None);
        for (shard, group) in by_shard(&routed) {
            self.refuse_some(stream, shard, group, now, twist, &mut outcomes);
        }
        routed.retain(|routed| outcomes.get(routed.position).is_some_and(Option::is_none));
        // Decoded before a shard is locked, and before anything is stored.
        let ready = by_shard(&routed)
            .map(|(shard, group)| {
                let draft = Draft::of(group.iter().map(|routed| routed.entry.record))?;
                Ok((shard, group, draft))
            })
            .collect::<Result<Vec<_>, Refusal>>()?;
        let encrypted = state.settings.key_id.is_some();
        let mut groups = Vec::with_capacity(ready.len());
        for (shard, stored, draft) in ready {
            let mut log = shard.log.lock();
            log.trim(state.horizon(now));
            // Numbers are given out and records inserted under one lock: a reader at the tip can
            // never pass a number whose record comes later.
            let (first, arrival) = log.append(draft, encrypted, now);
            drop(log);
            shard.news.notify_waiters();
            let group = groups.len();
            for (index, routed) in (first..).zip(stored) {
                if let Some(slot) = outcomes.get_mut(routed.position) {
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

    /// Notes which entries of one shard are throttled or struck by a fault.
    fn refuse_some(
        &self,
        stream: &Stream,
        shard: &Shard,
        group: &[Routed<'_>],
        now: u64,
        twist: &Twist,
        outcomes: &mut [Option<Outcome>],
    ) {
        let mut log = self.limits.shard_writes.then(|| shard.log.lock());
        for routed in group {
            let size = routed.entry.record.size();
            let throttled = |log: &mut Log| !log.limits.admit_write(size, now);
            let refused = match twist.refuses(routed.position) {
                None if log.as_deref_mut().is_some_and(throttled) => {
                    Some(self.throttled_entry(shard, stream))
                }
                refused => refused,
            };
            if let Some(slot) = outcomes.get_mut(routed.position) {
                *slot = refused;
            }
        }
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
