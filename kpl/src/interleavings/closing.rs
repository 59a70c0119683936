//! Puts against reshards and the end: each admitted record gets one outcome, whichever of them was
//! faster. What the engine does between its locks is modelled: it hands out outcomes at once.

use super::in_many_orders;
use crate::admission::{Charge, NotNow};
use crate::batch::{Desk, put_all};
use crate::error::{DeliveryError, PutAllReason};
use crate::events::Listeners;
use crate::lane::Rules;
use crate::prepare::Preparation;
use crate::record::Record;
use crate::routing::Routing;
use crate::sealed::Sealed;
use crate::settings::{Options, RECORD_LIMIT};
use crate::shard_map::tests::shard;
use crate::shard_map::{LaneMaker, ShardMap};
use crate::shared::{Event, Shared};
use crate::slot::Verdict;
use crate::stats::Ledger;
use aggregation::HashKey;
use arc_swap::ArcSwap;
use futures::FutureExt;
use futures::future::{Either, select};
use runtime::Metrics;
use shuttle::{future::block_on, thread};
use std::pin::pin;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, LazyLock};
use tokio::runtime::Runtime;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Only timers of receipts would run here, and these have none.
static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.build().unwrap()
});

const MIDDLE: u128 = 1 << 127;

struct Engine {
    shared: Arc<Shared>,
    maker: LaneMaker,
    events: UnboundedReceiver<Event>,
    draining: bool,
}

/// A producer that may hold so many records, of one shard.
fn producer(records: usize) -> (Arc<Shared>, Engine) {
    let bound = Charge {
        bytes: 1 << 20,
        records,
    };
    let options = Options::default();
    let ledger = Ledger::shared(bound, 100, &Metrics::new(), "orders");
    let maker = LaneMaker::new(Rules::new(&options), Arc::clone(&ledger));
    let (now, whole) = (Instant::now(), [shard(0, 0, u128::MAX)]);
    let map = ShardMap::new(&whole, now, Routing::Packed, &maker).unwrap();
    let (sender, events) = unbounded_channel();
    let shared = Arc::new(Shared {
        stream: "orders".into(),
        target: "orders".into(),
        ledger,
        map: ArcSwap::from_pointee(map),
        desk: Desk::default(),
        events: sender,
        aggregation: true,
        idempotent: false,
        user_record_size: RECORD_LIMIT,
        record_limit: AtomicUsize::new(RECORD_LIMIT),
        keep_records: false,
        patience: None,
        runtime: RUNTIME.handle().clone(),
        preparation: Preparation::default(),
        #[cfg(feature = "compression")]
        compression: None,
        dimensions: Vec::new(),
        listeners: Listeners::default(),
        spool_damage: Vec::new(),
        ended: CancellationToken::new(),
    });
    let engine = Engine {
        shared: Arc::clone(&shared),
        maker,
        events,
        draining: false,
    };
    (shared, engine)
}

impl Engine {
    fn settle(&self, sealed: Sealed) {
        let map = self.shared.map.load_full();
        let shard = Arc::clone(&map.find(sealed.span.first).1.shard);
        sealed.claims.settle(&Verdict::Delivered {
            shard_id: shard,
            sequence_number: "1".into(),
            aggregated: true,
            attempts: Arc::default(),
        });
    }

    fn flush(&self) {
        for lane in self.shared.map.load_full().lanes() {
            if let Some(sealed) = lane.seal_now(Instant::now()) {
                self.settle(sealed);
            }
        }
    }

    fn event(&mut self, event: Event) {
        match event {
            Event::Deadline(lane, at) => {
                if let Ok(sealed) = lane.seal_due(at, at) {
                    let map = self.shared.map.load_full();
                    let open = map.lanes().iter().any(|open| Arc::ptr_eq(open, &lane));
                    assert!(open, "put into a lane that was retired");
                    self.settle(sealed);
                }
            }
            Event::Sealed(sealed) => self.settle(sealed),
            Event::Flush => self.flush(),
            Event::IntakeClosed => {
                self.draining = true;
                self.flush();
            }
        }
    }

    /// Until intake is closed and nothing is outstanding.
    fn drain(mut self) {
        let shared = Arc::clone(&self.shared);
        loop {
            let event = {
                let event = pin!(self.events.recv());
                let idle = pin!(shared.ledger.admission.idle());
                match (self.draining, block_on(select(event, idle))) {
                    (_, Either::Left((event, _))) => event,
                    (true, Either::Right(_)) => break,
                    (false, Either::Right((_, event))) => block_on(event),
                }
            };
            self.event(event.unwrap());
        }
        assert_eq!(shared.shut(), 0);
    }

    /// As when its runtime ends: after so many events.
    fn end_after(mut self, events: usize) {
        for _ in 0..events {
            if let Some(Some(event)) = self.events.recv().now_or_never() {
                self.event(event);
            }
            thread::sleep(std::time::Duration::ZERO);
        }
        self.shared.shut();
    }

    /// The shard is split, as the engine does it: first the new map, then the end of the old lanes.
    fn split(&self) {
        let before = self.shared.map.load_full();
        let children = [shard(1, 0, MIDDLE - 1), shard(2, MIDDLE, u128::MAX)];
        let map = before.succeed(&children, Instant::now(), &self.maker);
        let map = Arc::new(map.unwrap());
        self.shared.map.store(Arc::clone(&map));
        self.shared.ledger.admission.set_shards(2);
        for lane in map.retired(&before) {
            if let Some(sealed) = lane.retire(Instant::now()) {
                self.settle(sealed);
            }
        }
    }
}

fn record(key: u128) -> Record {
    Record::new("k", "x").explicit_hash_key(HashKey::new(key))
}

/// Puts a record and waits for its outcome. Gives how many were admitted, delivered and closed.
fn put(shared: &Shared, record: &Record) -> [u64; 3] {
    let put = match shared.put_now(record, None) {
        Ok(receipt) => Ok(receipt),
        Err((NotNow::Full, demand)) => block_on(shared.put_later(record, None, demand)),
        Err((NotNow::Closed, _)) => return [0; 3],
    };
    let Ok(receipt) = put else { return [0; 3] };
    match block_on(receipt) {
        Ok(_) => [1, 1, 0],
        Err(DeliveryError::Closed { .. }) => [1, 0, 1],
        Err(other) => panic!("{other}"),
    }
}

/// The same for a batch.
fn put_batch(shared: &Shared, records: Vec<Record>) -> [u64; 3] {
    let receipt = match block_on(put_all(shared, records)) {
        Ok(receipt) => receipt,
        Err(refused) => {
            assert_eq!(refused.reason, PutAllReason::Closed);
            match refused.admitted {
                Some(receipt) => *receipt,
                None => return [0; 3],
            }
        }
    };
    let report = block_on(receipt);
    let [all, delivered] = [report.len(), report.delivered()].map(|n| u64::try_from(n).unwrap());
    [all, delivered, all - delivered]
}

type Putting = Vec<thread::JoinHandle<[u64; 3]>>;

fn putting(shared: &Arc<Shared>, records: &[Record]) -> Putting {
    let put = |record: &Record| {
        let (shared, record) = (Arc::clone(shared), record.clone());
        thread::spawn(move || put(&shared, &record))
    };
    records.iter().map(put).collect()
}

/// What the callers saw, in sum: admitted, delivered, closed.
fn seen(putting: Putting) -> [u64; 3] {
    putting.into_iter().fold([0; 3], |sum, thread| {
        let one = thread.join().unwrap();
        std::array::from_fn(|at| sum[at] + one[at])
    })
}

/// What the callers saw is what was counted, and nothing is left.
fn assert_accounted(shared: &Shared, seen: [u64; 3]) {
    let stats = shared.ledger.stats();
    assert_eq!([stats.admitted, stats.delivered, stats.abandoned], seen);
    let left = (stats.failed, stats.outstanding_records, stats.waiting);
    assert_eq!(left, (0, 0, 0));
    assert!(shared.ledger.admission.is_closed());
}

#[test]
fn what_was_admitted_before_the_close_is_delivered() {
    in_many_orders(|| {
        let (shared, engine) = producer(2);
        let mut callers = putting(&shared, &[record(1), record(2), record(3)]);
        let batching = Arc::clone(&shared);
        let batch = move || put_batch(&batching, vec![record(4), record(5)]);
        callers.push(thread::spawn(batch));
        let running = thread::spawn(|| engine.drain());
        shared.close_intake();
        let seen = seen(callers);
        running.join().unwrap();
        assert_accounted(&shared, seen);
        assert_eq!(seen[2], 0, "closing waits for all of them");
    });
}

#[test]
fn one_put_and_the_end() {
    in_many_orders(|| {
        let (shared, engine) = producer(1);
        let callers = putting(&shared, &[record(1)]);
        let running = thread::spawn(|| engine.end_after(0));
        let seen = seen(callers);
        running.join().unwrap();
        assert_accounted(&shared, seen);
    });
}

#[test]
fn what_is_under_way_when_the_engine_ends_resolves_as_closed() {
    in_many_orders(|| {
        let (shared, engine) = producer(2);
        let mut callers = putting(&shared, &[record(1), record(2), record(3)]);
        let batching = Arc::clone(&shared);
        let batch = move || put_batch(&batching, vec![record(4), record(5), record(6)]);
        callers.push(thread::spawn(batch));
        let running = thread::spawn(|| engine.end_after(2));
        let seen = seen(callers);
        running.join().unwrap();
        assert_accounted(&shared, seen);
    });
}

#[test]
fn a_put_while_the_shard_is_split_finds_a_lane() {
    in_many_orders(|| {
        let (shared, engine) = producer(3);
        let records = [record(1), record(MIDDLE), record(MIDDLE + 1)];
        let mut callers = putting(&shared, &records);
        let batching = Arc::clone(&shared);
        let batch = move || put_batch(&batching, vec![record(2), record(MIDDLE + 2)]);
        callers.push(thread::spawn(batch));
        let running = thread::spawn(|| {
            engine.split();
            engine.drain();
        });
        let seen = seen(callers);
        assert_eq!(seen, [5, 5, 0]);
        shared.close_intake();
        running.join().unwrap();
        assert_accounted(&shared, seen);
    });
}
