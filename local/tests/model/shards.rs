//! What the shards of a stream have to be to each other.

use serde_json::Value;
use std::collections::BTreeMap;

/// A shard, as ListShards shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Listed {
    pub(crate) id: String,
    pub(crate) start: u128,
    pub(crate) end: u128,
    pub(crate) parents: Vec<String>,
    pub(crate) starting: String,
    pub(crate) ending: Option<String>,
}

impl Listed {
    pub(crate) fn of(shard: &Value) -> Self {
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let key = |name: &str| text(&shard["HashKeyRange"][name]).unwrap().parse().unwrap();
        let numbers = &shard["SequenceNumberRange"];
        let known = [
            "ShardId",
            "HashKeyRange",
            "SequenceNumberRange",
            "ParentShardId",
            "AdjacentParentShardId",
        ];
        for member in shard.as_object().unwrap().keys() {
            assert!(known.contains(&member.as_str()), "{member}");
        }
        Self {
            id: text(&shard["ShardId"]).unwrap(),
            start: key("StartingHashKey"),
            end: key("EndingHashKey"),
            parents: [&shard["ParentShardId"], &shard["AdjacentParentShardId"]]
                .into_iter()
                .filter_map(text)
                .collect(),
            starting: text(&numbers["StartingSequenceNumber"]).unwrap(),
            ending: text(&numbers["EndingSequenceNumber"]),
        }
    }

    pub(crate) fn list(answer: &Value) -> Vec<Self> {
        let shards = answer["Shards"].as_array().unwrap();
        shards.iter().map(Self::of).collect()
    }

    pub(crate) fn is_open(&self) -> bool {
        self.ending.is_none()
    }
}

/// Whether a list of all shards makes sense: what is open covers every hash key once, each child lies
/// within its parents, parents are closed, and numbers rise from parents to children.
pub(crate) fn check(shards: &[Listed]) {
    let by_id: BTreeMap<&str, &Listed> = shards.iter().map(|s| (s.id.as_str(), s)).collect();
    assert_eq!(by_id.len(), shards.len(), "no id twice");
    let mut next = 0_u128;
    let mut open: Vec<&Listed> = shards.iter().filter(|s| s.is_open()).collect();
    open.sort_by_key(|shard| shard.start);
    for (position, shard) in open.iter().enumerate() {
        assert_eq!(
            shard.start, next,
            "a hole or an overlap before {}",
            shard.id
        );
        assert!(shard.start <= shard.end);
        if position + 1 == open.len() {
            assert_eq!(shard.end, u128::MAX, "the open shards cover all");
        } else {
            next = shard.end + 1;
        }
    }
    for shard in shards {
        // 56 digits compare as text.
        assert_eq!(shard.starting.len(), 56);
        if let Some(ending) = &shard.ending {
            assert!(*ending > shard.starting);
        }
        // A parent may have expired.
        let parents: Vec<&&Listed> = shard
            .parents
            .iter()
            .filter_map(|id| by_id.get(id.as_str()))
            .collect();
        for parent in &parents {
            let ending = parent.ending.as_ref().expect("a parent is closed");
            assert!(shard.starting > *ending, "{shard:?} under {parent:?}");
        }
        match (&shard.parents[..], &parents[..]) {
            ([_], [parent]) => assert!(parent.start <= shard.start && shard.end <= parent.end),
            ([_, _], [a, b]) => {
                assert_eq!(shard.start, a.start.min(b.start));
                assert_eq!(shard.end, a.end.max(b.end));
                assert_eq!(a.end.min(b.end) + 1, a.start.max(b.start));
            }
            _ => {}
        }
    }
}

/// The hash key that a partition key stands for.
pub(crate) fn hash_key(partition_key: &str) -> u128 {
    u128::from_be_bytes(md5::compute(partition_key).0)
}
