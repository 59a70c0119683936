//! One lease against a table that answers by script.

use super::*;
use crate::lease::{LeaseList, TableInfo};
use aggregation::HashRange;
use futures::future::BoxFuture;
use std::collections::VecDeque;
use tokio::task::JoinHandle;

const FAILOVER: Duration = Duration::from_secs(9);
const RENEWAL: Duration = Duration::from_secs(3);

/// What the table does with the next write.
#[derive(Debug, Clone)]
enum Next {
    /// Takes it.
    Done,
    /// Takes it; the answer is lost.
    Lost,
    /// Does not get it.
    Away,
    /// Answers after so long.
    Slow(Duration),
    /// Another worker wrote before.
    Foreign(fn(&mut Lease)),
}

/// A row, and what happens to the writes that come for it; writes beyond the script are taken.
#[derive(Debug)]
struct Table {
    row: Mutex<Lease>,
    script: Mutex<VecDeque<Next>>,
    writes: Mutex<Vec<(Instant, &'static str)>>,
}

fn no_answer() -> StoreError {
    StoreError::Service(aws::Error::Timeout {
        operation: "UpdateItem",
        endpoint: "scripted".to_owned(),
        after: Duration::from_secs(1),
    })
}

fn refused() -> StoreError {
    StoreError::Service(aws::Error::Request {
        operation: "UpdateItem",
        reason: "x".to_owned(),
    })
}

impl Table {
    async fn write(
        &self,
        what: &'static str,
        counter: Option<u64>,
        change: impl Fn(&mut Lease),
    ) -> Result<Written, StoreError> {
        self.writes.lock().push((Instant::now(), what));
        let next = self.script.lock().pop_front().unwrap_or(Next::Done);
        match next {
            Next::Slow(time) => tokio::time::sleep(time).await,
            Next::Away => return Err(refused()),
            Next::Foreign(foreign) => foreign(&mut self.row.lock()),
            Next::Done | Next::Lost => {}
        }
        let mut row = self.row.lock();
        if counter.is_some_and(|counter| counter != row.counter) {
            return Ok(Written::Refused(Some(Box::new(row.clone()))));
        }
        change(&mut row);
        row.counter += 1;
        match next {
            Next::Lost => Err(no_answer()),
            _ => Ok(Written::Done(None)),
        }
    }
}

impl LeaseStore for Table {
    fn describe(&self) -> BoxFuture<'_, Result<Option<TableInfo>, StoreError>> {
        unreachable!()
    }
    fn exists<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<bool, StoreError>> {
        unreachable!()
    }
    fn create_table(&self) -> BoxFuture<'_, Result<(), StoreError>> {
        unreachable!()
    }
    fn list(&self, _: bool) -> BoxFuture<'_, Result<LeaseList, StoreError>> {
        unreachable!()
    }
    fn get<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<Option<Lease>, StoreError>> {
        unreachable!()
    }
    fn create<'a>(&'a self, _: &'a Lease) -> BoxFuture<'a, Result<bool, StoreError>> {
        unreachable!()
    }
    fn renew<'a>(
        &'a self,
        _: &'a str,
        counter: u64,
        _: Option<f64>,
    ) -> BoxFuture<'a, Result<Written, StoreError>> {
        Box::pin(self.write("renew", Some(counter), |_| {}))
    }
    fn take<'a>(&'a self, _: &'a Lease, _: &'a str) -> BoxFuture<'a, Result<Written, StoreError>> {
        unreachable!()
    }
    fn checkpoint<'a>(
        &'a self,
        held: &'a Lease,
        position: &'a Position,
    ) -> BoxFuture<'a, Result<Written, StoreError>> {
        let change = |row: &mut Lease| row.checkpoint = position.clone();
        Box::pin(self.write("checkpoint", Some(held.counter), change))
    }
    fn evict<'a>(&'a self, _: &'a str, _: &'a str) -> BoxFuture<'a, Result<Written, StoreError>> {
        Box::pin(self.write("evict", None, |row| row.owner = None))
    }
    fn set_children<'a>(
        &'a self,
        _: &'a str,
        _: &'a BTreeSet<String>,
    ) -> BoxFuture<'a, Result<Written, StoreError>> {
        unreachable!()
    }
    fn set_hash_range<'a>(
        &'a self,
        _: &'a str,
        _: HashRange,
    ) -> BoxFuture<'a, Result<Written, StoreError>> {
        unreachable!()
    }
    fn delete_finished<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<(), StoreError>> {
        unreachable!()
    }
}

struct Kept {
    table: Arc<Table>,
    owned: OwnedLease,
    task: JoinHandle<()>,
    begun: Instant,
}

/// A lease that was taken just now, with counter 10.
fn kept(script: &[Next]) -> Kept {
    let mut lease = Lease::new("shardId-000000000000", at("100"));
    lease.owner = Some("me".to_owned());
    lease.counter = 10;
    let table = Arc::new(Table {
        row: Mutex::new(lease.clone()),
        script: Mutex::new(script.iter().cloned().collect()),
        writes: Mutex::default(),
    });
    let keeping = Keeping {
        store: Arc::clone(&table) as Arc<dyn LeaseStore>,
        worker: "me".to_owned(),
        failover: FAILOVER,
        renew_interval: RENEWAL,
        permits: Arc::new(Semaphore::new(2)),
        lost_leases: Counter::default(),
        failed_renewals: Counter::default(),
    };
    let begun = Instant::now();
    let (owned, keeper) = keep(keeping, lease, begun);
    Kept {
        table,
        owned,
        task: tokio::spawn(keeper),
        begun,
    }
}

fn at(sequence: &str) -> Position {
    Position::parse(sequence, 0).unwrap()
}

impl Kept {
    fn row(&self) -> Lease {
        self.table.row.lock().clone()
    }

    async fn checkpoint(&self, sequence: &str) -> Result<(), CheckpointError> {
        self.owned.held.write_checkpoint(at(sequence)).await
    }

    async fn is_over_after(&self, time: Duration) -> bool {
        tokio::time::timeout(time, self.owned.held.over())
            .await
            .is_ok()
    }
}

#[tokio::test(start_paused = true)]
async fn renewals_come_three_times_in_a_failover_time() {
    let kept = kept(&[]);
    assert!(!kept.is_over_after(Duration::from_millis(30_100)).await);
    assert_eq!(kept.row().counter, 20);
    // A checkpoint counts as one.
    kept.checkpoint("101").await.unwrap();
    assert!(!kept.is_over_after(Duration::from_millis(2_950)).await);
    assert_eq!((kept.row().counter, kept.row().checkpoint), (21, at("101")));
}

#[tokio::test(start_paused = true)]
async fn an_own_write_whose_answer_was_lost_is_recognised() {
    // By the next renewal, by the next checkpoint, and by the same checkpoint tried again.
    let scripts: [&[Next]; 4] = [
        &[Next::Lost, Next::Done, Next::Done],
        &[Next::Lost, Next::Lost, Next::Lost, Next::Done],
        &[Next::Lost, Next::Away, Next::Away, Next::Done],
        &[Next::Away, Next::Away, Next::Lost, Next::Away],
    ];
    for script in scripts {
        let kept = kept(script);
        assert!(
            !kept.is_over_after(Duration::from_millis(8_900)).await,
            "{script:?}"
        );
        kept.checkpoint("200").await.unwrap();
        assert_eq!(kept.row().checkpoint, at("200"));
        assert_eq!(kept.owned.held.checkpoint(), at("200"));
        assert!(!kept.is_over_after(FAILOVER * 2).await, "{script:?}");
    }
    let kept = kept(&[Next::Lost]);
    kept.checkpoint("200").await.unwrap();
    assert_eq!(
        (kept.row().counter, kept.row().checkpoint),
        (11, at("200")),
        "written once"
    );
    assert!(!kept.is_over_after(FAILOVER * 2).await);
}

#[tokio::test(start_paused = true)]
async fn a_row_that_another_wrote_to_is_lost() {
    let foreign: [fn(&mut Lease); 5] = [
        |row| {
            row.owner = Some("thief".to_owned());
            row.counter += 1;
        },
        |row| {
            row.owner = None;
            row.counter += 1;
        },
        // Another process under our name: nothing of ours is open that could have done it.
        |row| row.counter += 1,
        |row| row.counter += 2,
        |row| {
            row.checkpoint_owner = Some("me".to_owned());
            row.owner = Some("new".to_owned());
            row.counter += 1;
        },
    ];
    for change in foreign {
        let kept = kept(&[Next::Done, Next::Foreign(change)]);
        assert!(kept.is_over_after(RENEWAL * 2 + RENEWAL / 2).await);
        assert!(!kept.owned.held.is_valid());
        assert!(matches!(
            kept.checkpoint("200").await,
            Err(CheckpointError::LeaseLost)
        ));
        let by_checkpoint = self::kept(&[Next::Foreign(change)]);
        let lost = by_checkpoint.checkpoint("200").await;
        assert!(matches!(lost, Err(CheckpointError::LeaseLost)));
        assert!(by_checkpoint.is_over_after(Duration::ZERO).await);
        assert_eq!(by_checkpoint.row().checkpoint, at("100"));
        // Lost leases are not given back, and not let go before their consumer is gone.
        let writes = kept.table.writes.lock().len();
        assert!(!kept.task.is_finished());
        drop(kept.owned);
        kept.task.await.unwrap();
        assert_eq!(kept.table.writes.lock().len(), writes);
    }
}

#[tokio::test(start_paused = true)]
async fn even_in_doubt_two_steps_are_not_ours() {
    let kept = kept(&[Next::Lost, Next::Foreign(|row| row.counter += 1)]);
    assert!(kept.is_over_after(FAILOVER).await);
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_cannot_be_renewed_expires_before_others_may_take_it() {
    let kept = kept(&vec![Next::Away; 1_000]);
    kept.owned.held.over().await;
    assert_eq!(kept.begun.elapsed(), FAILOVER);
    let writes = kept.table.writes.lock().len();
    assert!((5..60).contains(&writes), "{writes} attempts");
    assert!(matches!(
        kept.checkpoint("200").await,
        Err(CheckpointError::LeaseLost)
    ));
    assert_eq!(
        kept.table.writes.lock().len(),
        writes,
        "nothing is written after that"
    );
}

#[tokio::test(start_paused = true)]
async fn the_time_counts_from_the_beginning_of_a_write() {
    // The answer takes 5 s, and nothing succeeds after it.
    let mut script = vec![Next::Slow(Duration::from_secs(5))];
    script.extend(vec![Next::Away; 1_000]);
    let kept = kept(&script);
    kept.owned.held.over().await;
    assert_eq!(kept.begun.elapsed(), RENEWAL + FAILOVER);
}

#[tokio::test(start_paused = true)]
async fn a_write_without_an_answer_does_not_outlive_the_lease() {
    let kept = kept(&[Next::Slow(Duration::from_secs(3_600))]);
    let waiting = kept.checkpoint("200");
    assert!(matches!(waiting.await, Err(CheckpointError::LeaseLost)));
    assert_eq!(kept.begun.elapsed(), FAILOVER);
}

#[tokio::test(start_paused = true)]
async fn checkpoints_never_go_backwards() {
    let kept = kept(&[]);
    kept.checkpoint("200").await.unwrap();
    kept.checkpoint("200").await.unwrap();
    let error = kept.checkpoint("199").await.unwrap_err();
    assert!(
        matches!(error, CheckpointError::OutOfRange { .. }),
        "{error}"
    );
    assert_eq!(
        kept.table.writes.lock().len(),
        1,
        "the same again is no write"
    );
}

#[tokio::test(start_paused = true)]
async fn a_failed_checkpoint_is_an_error_that_may_be_tried_again() {
    let kept = kept(&[Next::Away]);
    let error = kept.checkpoint("200").await.unwrap_err();
    assert!(
        matches!(&error, CheckpointError::Store(_)) && error.is_retryable(),
        "{error}"
    );
    assert_eq!(
        kept.owned.held.checkpoint(),
        at("100"),
        "memory does not run ahead of the table"
    );
    kept.checkpoint("200").await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_lease_is_given_back_once() {
    for script in [vec![], vec![Next::Lost], vec![Next::Away, Next::Away]] {
        let kept = kept(&script);
        kept.owned.held.release().await;
        assert_eq!(kept.row().owner, None);
        assert!(kept.is_over_after(Duration::ZERO).await);
        let writes = kept.table.writes.lock().len();
        drop(kept.owned);
        kept.task.await.unwrap();
        assert_eq!(kept.table.writes.lock().len(), writes);
    }
    // A consumer that is gone without a word gives it back, too.
    let kept = kept(&[]);
    drop(kept.owned);
    kept.task.await.unwrap();
    assert_eq!(kept.table.row.lock().owner, None);
}
