//! What the sink does with a request, and what befalls it.

use super::answers::{self, Answer};
use super::ledger::Ledger;
use super::requests;
use super::shards::Ring;
use crate::Failure;
use clap::Args;
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::ops::Range;
use std::time::Duration;

/// What befalls PutRecords. The first request meets none of it: until it is answered a producer may not
/// know the stream yet.
#[derive(Debug, Clone, Copy, Args)]
pub struct Trouble {
    /// Each request is answered so many milliseconds after it was carried out.
    #[arg(long, default_value_t = 0)]
    pub think: u64,
    /// Every entry is throttled.
    #[arg(long)]
    pub throttle: bool,
    /// Of so many requests one is answered 500, after its entries were stored.
    #[arg(long)]
    pub lose: Option<u64>,
    /// Counts what is stored by content.
    #[arg(long)]
    pub keep: bool,
}

#[derive(Debug)]
pub struct Service {
    ring: Ring,
    trouble: Trouble,
    seen: Mutex<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    /// PutRecords requests after the first, and the bytes of their bodies.
    requests: u64,
    bytes: u64,
    /// Those answered 500, and the user records that they stored.
    lost: u64,
    records_of_lost: u64,
    begun: bool,
    ledger: Ledger,
}

/// What a request meets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lot {
    Calm,
    Throttled,
    Lost,
}

impl Service {
    pub fn new(shards: u32, trouble: Trouble) -> Self {
        Self {
            ring: Ring { shards },
            trouble,
            seen: Mutex::default(),
        }
    }

    pub async fn answer(&self, operation: &str, cbor: bool, body: &[u8]) -> Answer {
        let answer = match operation {
            "PutRecords" => self.put_records(cbor, body).await,
            "ListShards" => requests::first_shard(cbor, body)
                .and_then(|from| answers::shards(cbor, from, self.ring)),
            "DescribeStreamSummary" => answers::summary(cbor, self.ring.shards),
            _ => Ok(answers::other()),
        };
        answer.unwrap_or_else(|error| answers::refused(&error))
    }

    async fn put_records(&self, cbor: bool, body: &[u8]) -> Result<Answer, Failure> {
        let (answer, first) = self.carry_out(cbor, body)?;
        if self.trouble.think > 0 && !first {
            tokio::time::sleep(Duration::from_millis(self.trouble.think)).await;
        }
        Ok(answer)
    }

    /// The answer, and whether the request was the first.
    fn carry_out(&self, cbor: bool, body: &[u8]) -> Result<(Answer, bool), Failure> {
        let entries = requests::entries(cbor, body)?;
        let shards: Vec<u32> = entries
            .iter()
            .map(|entry| self.ring.shard(entry.hash_key))
            .collect();
        let mut seen = self.seen.lock();
        let first = !std::mem::replace(&mut seen.begun, true);
        let lot = if first {
            Lot::Calm
        } else {
            seen.requests += 1;
            seen.bytes += u64::try_from(body.len())?;
            match self.trouble {
                Trouble { throttle: true, .. } => Lot::Throttled,
                Trouble { lose: Some(of), .. } if seen.requests.is_multiple_of(of) => Lot::Lost,
                _ => Lot::Calm,
            }
        };
        let mut stored = 0;
        if self.trouble.keep && lot != Lot::Throttled {
            for (entry, shard) in entries.iter().zip(&shards) {
                let range = self.ring.range(*shard)?;
                stored += seen.ledger.store(*shard, range, entry.data()?)?;
            }
        }
        let answer = match lot {
            Lot::Calm => answers::stored(cbor, &shards)?,
            Lot::Throttled => answers::throttled(cbor, &shards)?,
            Lot::Lost => {
                seen.lost += 1;
                seen.records_of_lost += stored;
                answers::failed(cbor)?
            }
        };
        Ok((answer, first))
    }

    /// What arrived, of these numbers.
    pub fn report(&self, admitted: &[Range<u64>]) -> Value {
        let seen = self.seen.lock();
        let mut report = seen.ledger.report(admitted);
        if let Value::Object(report) = &mut report {
            report.insert("requests".to_owned(), json!(seen.requests));
            report.insert("bytes".to_owned(), json!(seen.bytes));
            report.insert("lost".to_owned(), json!(seen.lost));
            report.insert("records_of_lost".to_owned(), json!(seen.records_of_lost));
        }
        report
    }
}
