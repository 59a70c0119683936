//! What goes wrong: faults that strike once, outages, splits and merges.

use crate::support::{THROTTLED, error, throttles};
use crate::world::{STREAM, STREAM_ARN};
use aws::kinesis::Client;
use local::{Fault, FaultAction, Local, ShardInfo};
use runtime::Chance;
use std::time::Duration;

/// What was done to the producers.
#[derive(Debug, Default)]
pub(crate) struct Damage {
    pub(crate) reshards: u64,
    /// Of these, by UpdateShardCount.
    pub(crate) scalings: u64,
    /// Requests took effect whose answers got lost: their records may be stored twice.
    pub(crate) lost_answers: u64,
    /// How often the record distribution strategy was changed.
    pub(crate) switches: u64,
    /// Codes of permanent errors that were answered.
    pub(crate) permanent: Vec<&'static str>,
}

const PERMANENT: [&str; 3] = [
    "AccessDeniedException",
    "KMSDisabledException",
    "ResourceNotFoundException",
];

/// Who changes the stream.
pub(crate) struct Admin {
    pub(crate) client: Client,
    pub(crate) on_demand: bool,
}

impl Admin {
    /// False while the stream is being changed already.
    async fn switch_strategy(&self, chance: &Chance) -> bool {
        let strategy = ["AUTO", "USER_PARTITION_KEY"][chance.index(2)];
        let client = &self.client;
        let switched = client.update_record_distribution_strategy(STREAM_ARN, strategy);
        switched.await.is_ok()
    }

    /// From half to double as many shards. False while the stream is being changed already.
    async fn scale(&self, local: &Local, chance: &Chance) -> bool {
        let open = local.shards(STREAM).into_iter().filter(|s| s.open).count();
        let (least, most) = (open.div_ceil(2), (2 * open).min(8));
        let target = least + chance.index(most + 1 - least);
        let target = u32::try_from(target).unwrap();
        self.client.update_shard_count(STREAM, target).await.is_ok()
    }
}

pub(crate) async fn live(local: Local, chance: Chance, admin: Admin) -> Damage {
    let mut damage = Damage::default();
    let lose_answers = chance.happens(0.5);
    let permanent = chance.happens(0.2);
    let rounds = chance.below(25);
    for _ in 0..rounds {
        tokio::time::sleep(Duration::from_millis(chance.below(2_000))).await;
        let operation = match chance.below(20) {
            0..2 => "ListShards",
            2..4 => "DescribeStreamSummary",
            _ => "PutRecords",
        };
        let nth = 1 + chance.below(4);
        let add = |action| {
            local.faults().add(Fault::nth(operation, nth, action));
        };
        let every = 1 + chance.index(3);
        if admin.on_demand && chance.happens(0.3) {
            damage.switches += u64::from(admin.switch_strategy(&chance).await);
        }
        match chance.below(17) {
            0 => add(error(500, "InternalFailure")),
            1 => add(error(503, "ServiceUnavailable")),
            2 => add(error(400, THROTTLED)),
            3 => add(error(400, "ExpiredTokenException")),
            4 => add(FaultAction::Refuse),
            5 => add(FaultAction::Delay(Duration::from_millis(
                chance.below(3_000),
            ))),
            6 | 7 => add(throttles(every)),
            8 => {
                let code = "InternalFailure".to_owned();
                add(FaultAction::SplitEntries { every, code });
            }
            9 if lose_answers => {
                add(FaultAction::LoseAnswer);
                damage.lost_answers += 1;
            }
            10 if permanent => {
                let code = PERMANENT[chance.index(PERMANENT.len())];
                add(error(400, code));
                damage.permanent.push(code);
            }
            11 | 12 => {
                // Nothing is taken, or taken and never answered.
                let silent = FaultAction::Delay(Duration::from_secs(600));
                let action = [FaultAction::Refuse, silent][chance.index(2)].clone();
                let outage = local.faults().add(Fault::every("*", action));
                tokio::time::sleep(Duration::from_millis(chance.below(6_000))).await;
                local.faults().remove(outage);
            }
            13 => add(FaultAction::Status(502)),
            14 if !admin.on_demand => {
                let scaled = admin.scale(&local, &chance).await;
                damage.reshards += u64::from(scaled);
                damage.scalings += u64::from(scaled);
            }
            _ => damage.reshards += u64::from(reshard(&local, &chance)),
        }
    }
    damage
}

/// Splits a shard, or merges two neighbours.
fn reshard(local: &Local, chance: &Chance) -> bool {
    let mut open: Vec<ShardInfo> = local
        .shards(STREAM)
        .into_iter()
        .filter(|shard| shard.open)
        .collect();
    open.sort_by_key(|shard| shard.hash_range.start);
    if open.len() < 2 || (open.len() < 8 && chance.happens(0.6)) {
        let shard = &open[chance.index(open.len())];
        local.split_shard(STREAM, &shard.shard_id).is_ok()
    } else {
        let at = chance.index(open.len() - 1);
        local
            .merge_shards(STREAM, &open[at].shard_id, &open[at + 1].shard_id)
            .is_ok()
    }
}
