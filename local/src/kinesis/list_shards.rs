//! ListShards: filters and pages.

use super::Kinesis;
use super::control::write_shard;
use super::shard::Shard;
use super::stream::{Status, Stream};
use super::token::{Kind, Token};
use crate::refusal::Refusal;
use crate::wire::{Check, Emit, Fields};
use std::sync::Arc;

/// Shards on a page, at most and by default.
const PAGE: usize = 1_000;

const TYPES: [&str; 6] = [
    "AFTER_SHARD_ID",
    "AT_TRIM_HORIZON",
    "FROM_TRIM_HORIZON",
    "AT_LATEST",
    "AT_TIMESTAMP",
    "FROM_TIMESTAMP",
];

/// Which shards are wanted. Times are milliseconds since the epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Filter {
    /// Those that follow the shard at this index.
    AfterShard(u32),
    /// Those that were open at the trim horizon.
    AtTrimHorizon,
    /// All that are kept.
    FromTrimHorizon,
    /// The open ones.
    AtLatest,
    /// Those that were open at a time.
    AtTimestamp(u64),
    /// Those that were open at a time or later.
    FromTimestamp(u64),
}

impl Filter {
    /// Whether a shard passes. `horizon` is the trim horizon, not before the stream's creation.
    /// A time before the horizon counts as the horizon: what was open then is gone.
    fn admits(self, index: u32, opened: u64, closed: Option<u64>, horizon: u64) -> bool {
        match self {
            Self::AfterShard(after) => index > after,
            Self::AtTrimHorizon => opened <= horizon && closed.is_none_or(|at| at > horizon),
            Self::FromTrimHorizon => true,
            Self::AtLatest => closed.is_none(),
            Self::AtTimestamp(at) => {
                let at = at.max(horizon);
                opened <= at && closed.is_none_or(|closed| closed >= at)
            }
            Self::FromTimestamp(at) => closed.is_none_or(|closed| closed >= at.max(horizon)),
        }
    }

    fn to_token(self) -> (u8, u64) {
        match self {
            Self::AfterShard(index) => (0, u64::from(index)),
            Self::AtTrimHorizon => (1, 0),
            Self::FromTrimHorizon => (2, 0),
            Self::AtLatest => (3, 0),
            Self::AtTimestamp(at) => (4, at),
            Self::FromTimestamp(at) => (5, at),
        }
    }

    fn from_token(kind: u8, value: u64) -> Option<Self> {
        Some(match kind {
            0 => Self::AfterShard(u32::try_from(value).ok()?),
            1 => Self::AtTrimHorizon,
            2 => Self::FromTrimHorizon,
            3 => Self::AtLatest,
            4 => Self::AtTimestamp(value),
            5 => Self::FromTimestamp(value),
            _ => return None,
        })
    }
}

/// What a ListShards call asks for, read from its members or from its token.
struct Wanted {
    stream: Arc<Stream>,
    filter: Filter,
    /// The first index of the page.
    from: u32,
}

impl Kinesis {
    pub(super) fn list_shards(
        &self,
        request: Fields<'_, '_>,
        out: &mut (dyn Emit + Send),
    ) -> Result<(), Refusal> {
        let now = self.now();
        let limit = request.integer("MaxResults")?;
        let mut check = Check::default();
        check.range("maxResults", limit, 1, 10_000);
        let limit = limit
            .and_then(|n| usize::try_from(n).ok())
            .unwrap_or(PAGE)
            .min(PAGE);
        let wanted = match request.text("NextToken")? {
            Some(token) => self.next_page(request, token, check, now)?,
            None => self.first_page(request, check, now)?,
        };
        let Wanted {
            stream,
            filter,
            from,
        } = wanted;
        let state = stream.state.read();
        if state.status() == Status::Creating {
            self.must_be_active(&stream, &state)?;
        }
        let horizon = state.horizon(now).max(stream.created);
        // Sorted by index: a page costs the same wherever it starts.
        let start = state.shards.partition_point(|s| s.index < from);
        let mut found = state
            .shards
            .iter()
            .skip(start)
            .filter(|s| filter.admits(s.index, s.opened, s.closed.get().copied(), horizon));
        let page: Vec<&Arc<Shard>> = found.by_ref().take(limit).collect();
        let more = found.next();
        out.begin_map();
        out.begin_list_member("Shards");
        for shard in page {
            write_shard(shard, out);
        }
        out.end();
        if let Some(next) = more {
            let (filter, filter_value) = filter.to_token();
            let token = Token {
                issued: now,
                incarnation: stream.incarnation,
                stream: stream.name.clone(),
                shard: next.index,
                filter,
                filter_value,
                ..Token::default()
            };
            out.text_member("NextToken", &self.sealer.seal(Kind::ListShards, &token));
        }
        out.end();
        Ok(())
    }

    fn next_page(
        &self,
        request: Fields<'_, '_>,
        token: &str,
        check: Check,
        now: u64,
    ) -> Result<Wanted, Refusal> {
        check.finish()?;
        for name in ["StreamName", "StreamARN", "ExclusiveStartShardId"] {
            if request.text(name)?.is_some() {
                return Err(together(name));
            }
        }
        if request.timestamp("StreamCreationTimestamp")?.is_some() {
            return Err(together("StreamCreationTimestamp"));
        }
        let invalid = || Refusal::invalid_argument("Invalid NextToken.");
        let token = self
            .sealer
            .open(Kind::ListShards, token)
            .ok_or_else(invalid)?;
        self.must_be_fresh(&token, now)?;
        let stream = self.existing(&token.stream, now)?;
        if stream.incarnation != token.incarnation {
            return Err(self.no_stream(&token.stream));
        }
        Ok(Wanted {
            stream,
            filter: Filter::from_token(token.filter, token.filter_value).ok_or_else(invalid)?,
            from: token.shard,
        })
    }

    fn first_page(
        &self,
        request: Fields<'_, '_>,
        mut check: Check,
        now: u64,
    ) -> Result<Wanted, Refusal> {
        let name = self.selected(request, &mut check)?;
        let start = request.text("ExclusiveStartShardId")?;
        check.name("exclusiveStartShardId", start);
        let created = request.timestamp("StreamCreationTimestamp")?;
        let filter = request.structure("ShardFilter")?;
        let (mut kind, mut after, mut at) = (None, None, None);
        if let Some(filter) = filter {
            kind = check.present("shardFilter.type", filter.text("Type")?);
            check.one_of("shardFilter.type", kind, &TYPES);
            after = filter.text("ShardId")?;
            check.name("shardFilter.shardId", after);
            at = filter.timestamp("Timestamp")?;
        }
        check.finish()?;
        let filter = match kind {
            None | Some("FROM_TRIM_HORIZON") => Filter::FromTrimHorizon,
            Some("AT_TRIM_HORIZON") => Filter::AtTrimHorizon,
            Some("AT_LATEST") => Filter::AtLatest,
            Some("AFTER_SHARD_ID") => {
                let after = after.ok_or_else(|| lacks("AFTER_SHARD_ID", "ShardId"))?;
                Filter::AfterShard(self.shard_index(after, &name)?)
            }
            Some("AT_TIMESTAMP") => {
                Filter::AtTimestamp(at.ok_or_else(|| lacks("AT_TIMESTAMP", "Timestamp"))?)
            }
            Some(_) => {
                Filter::FromTimestamp(at.ok_or_else(|| lacks("FROM_TIMESTAMP", "Timestamp"))?)
            }
        };
        let stream = self.existing(&name, now)?;
        // Compared in whole seconds: some clients cut the fraction.
        if created.is_some_and(|at| at / 1_000 != stream.created / 1_000) {
            return Err(self.no_stream(&name));
        }
        let from = match start {
            Some(start) => self.shard_index(start, &name)?.saturating_add(1),
            None => 0,
        };
        Ok(Wanted {
            stream,
            filter,
            from,
        })
    }
}

fn together(name: &str) -> Refusal {
    Refusal::invalid_argument(format!("NextToken and {name} cannot be provided together."))
}

fn lacks(kind: &str, member: &str) -> Refusal {
    Refusal::invalid_argument(format!(
        "{member} must be provided for a ShardFilter of type {kind}."
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A parent that was open from 100 to 200, its child since 200.
    #[test]
    fn filters_admit_by_start_and_end() {
        use Filter::*;
        let cases: &[(Filter, u64, bool, bool)] = &[
            // filter, horizon, parent, child
            (FromTrimHorizon, 100, true, true),
            (AtLatest, 100, false, true),
            (AtTrimHorizon, 100, true, false),
            (AtTrimHorizon, 199, true, false),
            (AtTrimHorizon, 200, false, true),
            (AtTrimHorizon, 500, false, true),
            (AtTimestamp(150), 100, true, false),
            (AtTimestamp(200), 100, true, true),
            (AtTimestamp(201), 100, false, true),
            (AtTimestamp(0), 100, true, false),
            (AtTimestamp(0), 300, false, true),
            (FromTimestamp(150), 100, true, true),
            (FromTimestamp(201), 100, false, true),
            (FromTimestamp(0), 100, true, true),
            (FromTimestamp(0), 300, false, true),
            (AfterShard(0), 100, false, true),
            (AfterShard(1), 100, false, false),
        ];
        for (filter, horizon, parent, child) in cases {
            assert_eq!(
                filter.admits(0, 100, Some(200), *horizon),
                *parent,
                "{filter:?}"
            );
            assert_eq!(filter.admits(1, 200, None, *horizon), *child, "{filter:?}");
            let (kind, value) = filter.to_token();
            assert_eq!(Filter::from_token(kind, value), Some(*filter));
        }
        assert_eq!(Filter::from_token(6, 0), None);
    }
}
