//! Splitting and merging shards.

use super::Kinesis;
use super::stream::{Reshard, State, Stream};
use crate::refusal::Refusal;
use crate::wire::{Check, Fields};

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
        self.may_reshard(&stream, &state)?;
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
        state.begin_reshard(
            Reshard::Split { shard: index, at },
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
        self.may_reshard(&stream, &state)?;
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
        let change = Reshard::Merge {
            first: a.index,
            second: b.index,
        };
        state.begin_reshard(change, now.saturating_add(delay));
        state.settle(stream.created, now);
        Ok(())
    }

    fn may_reshard(&self, stream: &Stream, state: &State) -> Result<(), Refusal> {
        if stream.on_demand {
            return Err(Refusal::validation(format!(
                "Request is invalid. Stream {} under AccountId {} is in On-Demand mode.",
                stream.name, self.account
            )));
        }
        self.must_be_active(stream, state)
    }

    fn closed_shard(&self, shard: &str, stream: &str) -> Refusal {
        Refusal::invalid_argument(format!(
            "Shard {shard} in stream {stream} under account {} has already been merged or split, \
             and thus is not eligible for merging or splitting.",
            self.account
        ))
    }
}
