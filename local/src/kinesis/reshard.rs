//! Splitting and merging shards, and changing their number.

use super::Kinesis;
use super::control::MAX_SHARDS;
use super::stream::Change;
use crate::refusal::Refusal;
use crate::wire::{Check, Emit, Fields};

/// UpdateShardCount calls per stream in 24 hours.
const COUNT_CHANGES: usize = 10;

impl Kinesis {
    pub(super) fn split_shard(&self, request: Fields<'_, '_>) -> Result<(), Refusal> {
        let mut check = Check::default();
        let name = self.selected(request, &mut check)?;
        let shard = request.text("ShardToSplit")?;
        check.present("shardToSplit", shard);
        check.name("shardToSplit", shard);
        let key = request.text("NewStartingHashKey")?;
        check.present("newStartingHashKey", key);
        check.decimal("newStartingHashKey", key, 39);
        check.finish()?;
        self.must_be_provisioned(&name)?;
        self.split(
            &name,
            shard.unwrap_or_default(),
            Some(key.unwrap_or_default()),
            self.state_delay,
        )
    }

    /// Splits a shard at a hash key, or in the middle when none is given.
    pub(crate) fn split(
        &self,
        name: &str,
        shard: &str,
        key: Option<&str>,
        delay: u64,
    ) -> Result<(), Refusal> {
        let now = self.now();
        let stream = self.existing(name, now)?;
        let mut state = stream.state.write();
        self.must_be_active(&stream, &state)?;
        let index = self.shard_index(shard, name)?;
        let found = state
            .shard(index)
            .ok_or_else(|| self.no_shard(shard, name))?;
        if found.closed.get().is_some() {
            return Err(self.closed_shard(&found.id, name));
        }
        let wanted = match key {
            // A number beyond 2^128 has 39 digits too.
            Some(key) => key
                .parse::<u128>()
                .ok()
                .filter(|k| found.range.splits_at(*k)),
            None => found.range.middle(),
        };
        let at = wanted.ok_or_else(|| {
            Refusal::invalid_argument(format!(
                "NewStartingHashKey {} used in SplitShard() on shard {} in stream {name} under \
                 account {} is not both greater than one plus the shard's StartingHashKey {} and \
                 less than the shard's EndingHashKey {}.",
                key.unwrap_or("(middle)"),
                found.id,
                self.account,
                found.range.start,
                found.range.end
            ))
        })?;
        state.begin(
            Change::Split { shard: index, at },
            now.saturating_add(delay),
        );
        state.settle(stream.created, now);
        Ok(())
    }

    pub(super) fn merge_shards(&self, request: Fields<'_, '_>) -> Result<(), Refusal> {
        let mut check = Check::default();
        let name = self.selected(request, &mut check)?;
        let first = request.text("ShardToMerge")?;
        check.present("shardToMerge", first);
        check.name("shardToMerge", first);
        let second = request.text("AdjacentShardToMerge")?;
        check.present("adjacentShardToMerge", second);
        check.name("adjacentShardToMerge", second);
        check.finish()?;
        self.must_be_provisioned(&name)?;
        self.merge(
            &name,
            first.unwrap_or_default(),
            second.unwrap_or_default(),
            self.state_delay,
        )
    }

    /// Merges two shards whose ranges touch, in either order.
    pub(crate) fn merge(
        &self,
        name: &str,
        first: &str,
        second: &str,
        delay: u64,
    ) -> Result<(), Refusal> {
        let now = self.now();
        let stream = self.existing(name, now)?;
        let mut state = stream.state.write();
        self.must_be_active(&stream, &state)?;
        let find = |shard: &str| {
            let index = self.shard_index(shard, name)?;
            state.shard(index).ok_or_else(|| self.no_shard(shard, name))
        };
        let (a, b) = (find(first)?, find(second)?);
        for shard in [a, b] {
            if shard.closed.get().is_some() {
                return Err(self.closed_shard(&shard.id, name));
            }
        }
        let touch = a.range.end.checked_add(1) == Some(b.range.start)
            || b.range.end.checked_add(1) == Some(a.range.start);
        if !touch {
            return Err(Refusal::invalid_argument(format!(
                "Shards {} and {} in stream {name} under account {} are not an adjacent pair of \
                 shards eligible for merging",
                a.id, b.id, self.account
            )));
        }
        let change = Change::Merge {
            first: a.index,
            second: b.index,
        };
        state.begin(change, now.saturating_add(delay));
        state.settle(stream.created, now);
        Ok(())
    }

    pub(super) fn update_shard_count(
        &self,
        request: Fields<'_, '_>,
        out: &mut (dyn Emit + Send),
    ) -> Result<(), Refusal> {
        let mut check = Check::default();
        let name = self.selected(request, &mut check)?;
        let target = check.present("targetShardCount", request.integer("TargetShardCount")?);
        check.range("targetShardCount", target, 1, i64::MAX);
        let kind = check.present("scalingType", request.text("ScalingType")?);
        check.one_of("scalingType", kind, &["UNIFORM_SCALING"]);
        check.finish()?;
        self.must_be_provisioned(&name)?;
        let now = self.now();
        let stream = self.existing(&name, now)?;
        let present = u32::try_from(stream.state.read().open_count()).unwrap_or(u32::MAX);
        let target = may_scale(present, target.unwrap_or_default())?;
        self.admit_shards(present, target)?;
        let mut state = stream.state.write();
        self.must_be_active(&stream, &state)?;
        if self.limits.quotas && !state.quotas.counts.has(COUNT_CHANGES, now) {
            return Err(Refusal::limit_exceeded(format!(
                "UpdateShardCount was called {COUNT_CHANGES} times within 24 hours for stream \
                 {name} under account {}.",
                self.account
            )));
        }
        state.quotas.counts.note(COUNT_CHANGES, now);
        let until = now.saturating_add(self.state_delay);
        state.begin(Change::Scale { target }, until);
        state.settle(stream.created, now);
        drop(state);
        out.begin_map();
        out.text_member("StreamName", &stream.name);
        out.text_member("StreamARN", &stream.arn);
        out.integer_member("CurrentShardCount", u64::from(present));
        out.integer_member("TargetShardCount", u64::from(target));
        out.end();
        Ok(())
    }

    /// The shards of an on-demand stream are the service's own: only [`crate::Local`]'s helpers change
    /// them, in its place.
    fn must_be_provisioned(&self, name: &str) -> Result<(), Refusal> {
        let stream = self.existing(name, self.now())?;
        if stream.state.read().settings.on_demand {
            return Err(Refusal::validation(format!(
                "Request is invalid. Stream {} under AccountId {} is in On-Demand mode.",
                stream.name, self.account
            )));
        }
        Ok(())
    }

    fn closed_shard(&self, shard: &str, stream: &str) -> Refusal {
        Refusal::invalid_argument(format!(
            "Shard {shard} in stream {stream} under account {} has already been merged or split, \
             and thus is not eligible for merging or splitting.",
            self.account
        ))
    }
}

/// The number of shards that a stream may be scaled to at once.
fn may_scale(present: u32, target: i64) -> Result<u32, Refusal> {
    let counts = format!("Current open shard count: {present} Target shard count: {target}");
    let most = i64::from(present).saturating_mul(2);
    let refused = if target > most {
        format!(
            "UpdateShardCount cannot scale up over double your current open shard count. {counts}"
        )
    } else if target.saturating_mul(2) < i64::from(present) {
        format!(
            "UpdateShardCount cannot scale down below half your current open shard count. {counts}"
        )
    } else if target > MAX_SHARDS {
        return Err(Refusal::limit_exceeded(format!(
            "UpdateShardCount cannot scale a stream above {MAX_SHARDS} shards. {counts}"
        )));
    } else {
        String::new()
    };
    match u32::try_from(target) {
        Ok(target) if refused.is_empty() => Ok(target),
        _ => Err(Refusal::invalid_argument(refused)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_scales_from_half_to_double_its_shards() {
        let cases = [
            (4, 8, true),
            (4, 9, false),
            (4, 2, true),
            (4, 1, false),
            (5, 3, true),
            (5, 2, false),
            (1, 1, true),
            (1, 2, true),
            (6_000, 10_000, true),
            (6_000, 10_001, false),
            (1, i64::MAX, false),
        ];
        for (present, target, fine) in cases {
            let found = may_scale(present, target);
            assert_eq!(found.is_ok(), fine, "{present} {target}: {found:?}");
        }
    }
}
