//! Reads one shard by GetRecords: one task per shard, ahead of the processor by as much as the
//! worker's budget of bytes allows.

use super::pace::Pace;
use crate::lease::ShardInfo;
use crate::position::{InitialPosition, Position, Sequence, SequenceNumber};
use crate::prefetch::{Budget, RESPONSE, Reservation, Share};
use aws::ErrorKind;
use aws::kinesis::{Client, GetRecordsOutput, IteratorPosition, Record};
use runtime::metrics::Counter;
use runtime::{Backoff, Chance, RetryPolicy, WallClock};
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, sleep_until};

/// A response, waiting for the processor. Its bytes count until it is dropped.
#[derive(Debug)]
pub(crate) struct Fetched {
    pub(crate) records: Vec<Record>,
    pub(crate) millis_behind_latest: Option<u64>,
    /// The shard's children; `Some` when the shard ends with this response.
    pub(crate) children: Option<Vec<ShardInfo>>,
    pub(crate) _bytes: Reservation,
}

/// What all readers of a worker share.
#[derive(Debug, Clone)]
pub(crate) struct Reading {
    pub(crate) client: Client,
    pub(crate) stream: String,
    pub(crate) initial_position: InitialPosition,
    pub(crate) max_records: u32,
    pub(crate) idle_time: Duration,
    pub(crate) longest_backoff: Duration,
    /// Also hands on responses without records.
    pub(crate) hand_on_empty: bool,
    pub(crate) budget: Budget,
    pub(crate) clock: Arc<dyn WallClock>,
    pub(crate) chance: Chance,
    pub(crate) expired_iterators: Counter,
    pub(crate) throttled: Counter,
    pub(crate) failed_calls: Counter,
}

/// Where the next iterator begins.
#[derive(Debug, Clone)]
enum Cursor {
    /// Nothing was read yet: at the checkpoint. A record inside an aggregate may be the checkpoint, so
    /// that the whole aggregate is read again.
    Start(Position),
    /// The tip was asked for at that time and nothing was read yet.
    TipAt(SystemTime),
    /// Everything up to there was handed on.
    After(SequenceNumber),
}

/// When the tip was asked for by an iterator that expired before it brought a record, the place is
/// found again by time. Clocks differ: reading begins a little earlier rather than later.
const TIP_MARGIN: Duration = Duration::from_secs(10);

pub(crate) struct Poller {
    reading: Reading,
    shard: String,
    cursor: Cursor,
    iterator: Option<String>,
    share: Share,
    pace: Pace,
    backoff: Backoff,
    out: mpsc::Sender<Fetched>,
}

enum Step {
    Read(GetRecordsOutput, Instant),
    /// The shard is forgotten by the service: nothing is left to read.
    Gone(Vec<ShardInfo>),
    /// Nothing came; once more, after a while.
    Again(Duration),
}

impl Poller {
    pub(crate) fn new(
        reading: Reading,
        shard: String,
        start: Position,
        out: mpsc::Sender<Fetched>,
    ) -> Self {
        let first = Duration::from_millis(200);
        let policy = RetryPolicy::unbounded(first, reading.longest_backoff.max(first));
        Self {
            cursor: Cursor::Start(start),
            iterator: None,
            share: reading.budget.share(),
            pace: Pace::default(),
            backoff: policy.start(&reading.chance),
            reading,
            shard,
            out,
        }
    }

    /// Reads until the shard's end, or until nobody listens.
    pub(crate) async fn run(mut self) {
        loop {
            // A place in the queue first, then bytes, then the call: nothing is fetched that has no
            // place to go.
            let out = self.out.clone();
            let Ok(place) = out.reserve().await else {
                return;
            };
            if let Some(next) = self.pace.next() {
                sleep_until(next).await;
            }
            let mut bytes = self.share.reserve(RESPONSE).await;
            match self.step().await {
                Step::Again(delay) => {
                    // Whoever waits holds nothing that others could use.
                    drop((place, bytes));
                    sleep(delay).await;
                }
                Step::Gone(children) => {
                    bytes.shrink_to(0);
                    place.send(Fetched {
                        records: Vec::new(),
                        millis_behind_latest: None,
                        children: Some(children),
                        _bytes: bytes,
                    });
                    return;
                }
                Step::Read(output, begun) => {
                    self.backoff.reset();
                    bytes.shrink_to(output.body_bytes);
                    self.pace.called(begun, Instant::now(), output.body_bytes);
                    if let Some(last) = output.records.last()
                        && let Some(number) = SequenceNumber::parse(&last.sequence_number)
                    {
                        self.cursor = Cursor::After(number);
                    }
                    let ended = output.next_shard_iterator.is_none();
                    let at_tip = output.millis_behind_latest.unwrap_or(0) == 0;
                    self.iterator = output.next_shard_iterator;
                    if ended || !output.records.is_empty() || self.reading.hand_on_empty {
                        let children = output.child_shards.iter().map(ShardInfo::from_child);
                        place.send(Fetched {
                            records: output.records,
                            millis_behind_latest: output.millis_behind_latest,
                            children: ended.then(|| children.collect()),
                            _bytes: bytes,
                        });
                        if ended {
                            return;
                        }
                    } else {
                        drop((place, bytes));
                    }
                    if at_tip {
                        sleep_until(begun + self.reading.idle_time).await;
                    }
                }
            }
        }
    }

    async fn step(&mut self) -> Step {
        let iterator = match self.iterator.clone() {
            Some(iterator) => iterator,
            None => match self.new_iterator().await {
                Ok(iterator) => {
                    self.iterator = Some(iterator.clone());
                    iterator
                }
                Err(error) => return self.failed(error).await,
            },
        };
        let begun = Instant::now();
        match self
            .reading
            .client
            .get_records(&iterator, self.reading.max_records)
            .await
        {
            Ok(output) if is_sound(&output) => Step::Read(output, begun),
            Ok(output) => {
                self.pace.called(begun, Instant::now(), output.body_bytes);
                self.reading.failed_calls.add(1);
                tracing::warn!(
                    shard = self.shard,
                    "an answer to GetRecords contradicts itself about the shard's end; reading again"
                );
                Step::Again(self.delay())
            }
            Err(error) => {
                self.pace.called(begun, Instant::now(), 0);
                self.failed(error).await
            }
        }
    }

    async fn new_iterator(&mut self) -> Result<String, aws::Error> {
        let position = match &self.cursor {
            Cursor::After(number) => {
                IteratorPosition::AfterSequenceNumber(number.as_str().to_owned())
            }
            Cursor::TipAt(time) => IteratorPosition::AtTimestamp(*time),
            Cursor::Start(position) => match &position.sequence {
                Sequence::Number(number) => {
                    IteratorPosition::AtSequenceNumber(number.as_str().to_owned())
                }
                Sequence::Latest | Sequence::ShardEnd => IteratorPosition::Latest,
                Sequence::TrimHorizon => IteratorPosition::TrimHorizon,
                Sequence::AtTimestamp => match self.reading.initial_position {
                    InitialPosition::AtTimestamp(time) => IteratorPosition::AtTimestamp(time),
                    _ => {
                        tracing::warn!(
                            shard = self.shard,
                            "the lease was made to begin at a time, which this worker was not \
                             given; beginning at the oldest record"
                        );
                        IteratorPosition::TrimHorizon
                    }
                },
            },
        };
        let asked = self.reading.clock.now();
        let (client, stream) = (&self.reading.client, &self.reading.stream);
        let iterator = client
            .get_shard_iterator(stream, &self.shard, &position)
            .await?;
        if position == IteratorPosition::Latest {
            let from = asked
                .checked_sub(TIP_MARGIN)
                .unwrap_or(SystemTime::UNIX_EPOCH);
            self.cursor = Cursor::TipAt(from);
        }
        Ok(iterator)
    }

    async fn failed(&mut self, error: aws::Error) -> Step {
        match error.kind() {
            ErrorKind::ExpiredIterator => {
                self.reading.expired_iterators.add(1);
                tracing::info!(shard = self.shard, "the iterator expired; getting another");
                self.iterator = None;
                return Step::Again(Duration::ZERO);
            }
            ErrorKind::NotFound => return self.gone(error).await,
            ErrorKind::Invalid => {
                tracing::warn!(shard = self.shard, %error, "getting another iterator");
                self.iterator = None;
            }
            ErrorKind::Throttled => {
                self.reading.throttled.add(1);
                tracing::debug!(shard = self.shard, %error, "reading more slowly");
            }
            _ => tracing::warn!(shard = self.shard, %error, "not read; trying again"),
        }
        self.reading.failed_calls.add(1);
        Step::Again(self.delay())
    }

    /// The service does not know the shard, or not the stream. A shard that is forgotten has ended, and
    /// its children take over; a stream that is away is waited for.
    async fn gone(&mut self, error: aws::Error) -> Step {
        match self
            .reading
            .client
            .list_shards(&self.reading.stream, None)
            .await
        {
            Ok(shards) if !shards.iter().any(|s| s.shard_id == self.shard) => {
                tracing::warn!(
                    shard = self.shard,
                    "the service has forgotten the shard: its records are past retention"
                );
                let children = shards.iter().map(ShardInfo::from_listed);
                Step::Gone(
                    children
                        .filter(|s| s.parents.contains(&self.shard))
                        .collect(),
                )
            }
            _ => {
                tracing::error!(shard = self.shard, %error, "stream or shard not found; trying again");
                self.reading.failed_calls.add(1);
                self.iterator = None;
                Step::Again(self.delay())
            }
        }
    }

    fn delay(&mut self) -> Duration {
        self.backoff
            .next_delay()
            .unwrap_or(self.reading.longest_backoff)
    }
}

/// A shard ends with its children; one without the other is an answer that was cut.
fn is_sound(output: &GetRecordsOutput) -> bool {
    output.next_shard_iterator.is_none() != output.child_shards.is_empty()
        && output
            .child_shards
            .iter()
            .all(|child| !child.parent_shards.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws::kinesis::{ChildShard, HashKeyRange};

    #[test]
    fn an_end_has_children_and_children_are_an_end() {
        let child = |parents: &[&str]| ChildShard {
            shard_id: "c".to_owned(),
            parent_shards: parents.iter().map(|&p| p.to_owned()).collect(),
            hash_key_range: HashKeyRange {
                starting_hash_key: "0".to_owned(),
                ending_hash_key: "1".to_owned(),
            },
        };
        let output = |next: bool, children: Vec<ChildShard>| GetRecordsOutput {
            records: Vec::new(),
            next_shard_iterator: next.then(|| "i".to_owned()),
            millis_behind_latest: Some(0),
            child_shards: children,
            body_bytes: 0,
        };
        assert!(is_sound(&output(true, vec![])));
        assert!(is_sound(&output(false, vec![child(&["p"])])));
        assert!(!is_sound(&output(false, vec![])));
        assert!(!is_sound(&output(true, vec![child(&["p"])])));
        assert!(!is_sound(&output(false, vec![child(&[])])));
    }
}
