//! Scripted faults: what goes wrong, on which calls.

pub(crate) mod plan;
pub(crate) mod text;

use crate::service::Service;
use parking_lot::Mutex;
use runtime::Chance;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;

/// How many faults that are spent stay listed.
const SPENT: usize = 100;

/// Which of the calls that match a fault it strikes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Nth {
    /// The nth matching call from now (1 is the next), once. Counted from when the fault was added.
    Once(u64),
    /// Every matching call, until the fault is taken back or has struck as often as
    /// [`Fault::times`] says.
    Every,
}

/// What a fault does to a call.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum FaultAction {
    /// Answers with an error; the call has no effect.
    Error {
        /// The HTTP status.
        status: u16,
        /// AWS' name of the error.
        code: String,
        /// The error's text.
        message: String,
    },
    /// Answers with a bare HTTP status, as a proxy or a load balancer would: no error of AWS, no
    /// body, no effect.
    Status(u16),
    /// Answers as the service does when it throttles the operation; the call has no effect.
    Throttle,
    /// The call takes effect and its answer is lost: [`ConnectionLost`](crate::ConnectionLost) in
    /// process, a closed connection over sockets.
    LoseAnswer,
    /// The call has no effect and no answer.
    Refuse,
    /// The call takes effect; its answer announces its whole length and breaks off after so many
    /// bytes of its body. In process the answer is lost.
    Truncate(usize),
    /// The call takes effect; its answer's body comes in pieces, with a pause before each. In
    /// process the answer comes whole, when the last piece would have come.
    Trickle {
        /// Bytes of each piece; 0 counts as 1.
        bytes: usize,
        /// The pause before each piece, on tokio's clock.
        every: Duration,
    },
    /// The call is carried out after a delay on tokio's clock.
    Delay(Duration),
    /// PutRecords and Firehose's PutRecordBatch: every `every`-th entry (counted from 1) is refused
    /// with `code`, the others are stored. Other operations are carried out unchanged.
    SplitEntries {
        /// Which entries are refused; 0 counts as 1.
        every: usize,
        /// The `ErrorCode` of a refused entry.
        code: String,
    },
    /// GetRecords: the iterator counts as expired. Other operations are carried out unchanged.
    ExpireIterator,
    /// SubscribeToShard: after so many events an exception inside the stream ends it. Other operations
    /// are carried out unchanged.
    FailSubscription {
        /// How many events come before.
        after: u64,
        /// AWS' name of the exception.
        code: String,
        /// Its text.
        message: String,
    },
    /// SubscribeToShard: after so many events nothing comes until the subscription is over. Other
    /// operations are carried out unchanged.
    SilenceSubscription {
        /// How many events come before.
        after: u64,
    },
    /// The call is carried out, and the answer's `Date` is so many seconds later than the endpoint's
    /// clock (earlier when negative). Clients that learn the service's time learn a wrong one.
    SkewDate(i64),
    /// DynamoDB: the call loses against a transaction: `TransactionCanceledException` with
    /// `TransactionConflict` for each item of a transaction, `TransactionConflictException`
    /// otherwise. It has no effect.
    TransactionConflict,
    /// DynamoDB: a read that does not ask for consistency sees the store as it stood when a fault
    /// of this kind was last added. Other calls are carried out unchanged.
    StaleRead,
    /// DynamoDB's UpdateTable: an index it adds stays CREATING, and cannot be read, until
    /// DescribeTable was answered so many times. Other calls are carried out unchanged.
    IndexCreating {
        /// How many answers of DescribeTable say CREATING.
        polls: u32,
    },
}

/// A fault: what happens to which calls. Made by [`Fault::nth`] or [`Fault::every`], narrowed by the
/// other methods, or read from text:
///
/// ```
/// use local::{Fault, FaultAction};
/// let by_hand = Fault::every("PutRecords", FaultAction::Throttle).on("orders").times(3);
/// let by_text: Fault = "op=PutRecords,on=orders,times=3,throttle".parse()?;
/// assert_eq!(by_hand, by_text);
/// # Ok::<(), local::FaultSyntax>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Fault {
    /// The operation (`PutRecords`, `UpdateItem`), or `*` for all.
    pub operation: String,
    /// Which of the matching calls.
    pub nth: Nth,
    /// What happens.
    pub action: FaultAction,
    /// The stream or table (delivery stream, metric namespace) that the call has to name; none for
    /// any.
    pub resource: Option<String>,
    /// The service the call has to be for; none for any.
    pub service: Option<Service>,
    /// The shard that the call has to name, itself or by its iterator; none for any.
    pub shard: Option<String>,
    /// The access key id that the call has to be signed with; none for any.
    pub caller: Option<String>,
    /// How probable it is that a call whose turn it is is struck, from 0 to 1. Drawn from the
    /// endpoint's seed. Default: 1.
    pub probability: f64,
    /// After so many strikes the fault is spent; none for never. [`Nth::Once`] is spent after one
    /// whatever stands here.
    pub times: Option<u64>,
}

impl Fault {
    /// A fault of the nth call of an operation (1 is the next), on any stream or table.
    #[must_use]
    pub fn nth(operation: impl Into<String>, nth: u64, action: FaultAction) -> Self {
        Self {
            operation: operation.into(),
            nth: Nth::Once(nth),
            action,
            resource: None,
            service: None,
            shard: None,
            caller: None,
            probability: 1.0,
            times: None,
        }
    }

    /// A fault of every call of an operation, on any stream or table.
    #[must_use]
    pub fn every(operation: impl Into<String>, action: FaultAction) -> Self {
        Self {
            nth: Nth::Every,
            ..Self::nth(operation, 1, action)
        }
    }

    /// Cuts one caller off: nothing that is signed with this access key id has an effect or an
    /// answer, and its open subscriptions break off.
    #[must_use]
    pub fn partition(caller: impl Into<String>) -> Self {
        Self::every("*", FaultAction::Refuse).by(caller)
    }

    /// The same, but only for calls that name this stream or table.
    #[must_use]
    pub fn on(self, resource: impl Into<String>) -> Self {
        Self {
            resource: Some(resource.into()),
            ..self
        }
    }

    /// The same, but only for calls of this service.
    #[must_use]
    pub fn of(self, service: Service) -> Self {
        Self {
            service: Some(service),
            ..self
        }
    }

    /// The same, but only for calls that name this shard, themselves or by their iterator.
    #[must_use]
    pub fn shard(self, shard: impl Into<String>) -> Self {
        Self {
            shard: Some(shard.into()),
            ..self
        }
    }

    /// The same, but only for calls that are signed with this access key id.
    #[must_use]
    pub fn by(self, caller: impl Into<String>) -> Self {
        Self {
            caller: Some(caller.into()),
            ..self
        }
    }

    /// The same, but a call whose turn it is is struck with this probability only.
    #[must_use]
    pub fn with_probability(self, probability: f64) -> Self {
        Self {
            probability,
            ..self
        }
    }

    /// The same, but spent after so many strikes.
    #[must_use]
    pub fn times(self, times: u64) -> Self {
        Self {
            times: Some(times),
            ..self
        }
    }

    fn matches(&self, call: &Call<'_>) -> bool {
        let same = |wanted: &Option<String>, found: Option<&str>| {
            wanted.is_none() || wanted.as_deref() == found
        };
        (self.operation == "*" || self.operation == call.operation)
            && self
                .service
                .is_none_or(|wanted| call.service == Some(wanted))
            && same(&self.resource, call.resource)
            && same(&self.shard, call.shard)
            && same(&self.caller, call.caller)
    }
}

/// What a call shows of itself to the faults.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Call<'a> {
    pub(crate) service: Option<Service>,
    pub(crate) operation: &'a str,
    pub(crate) resource: Option<&'a str>,
    pub(crate) shard: Option<&'a str>,
    pub(crate) caller: Option<&'a str>,
}

/// Names a fault that was added.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FaultId(u64);

impl FaultId {
    /// The number by which the control path knows it.
    #[must_use]
    pub fn number(self) -> u64 {
        self.0
    }
}

/// A fault, and what became of it.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct FaultStatus {
    /// Its id.
    pub id: FaultId,
    /// What was added.
    pub fault: Fault,
    /// How many matching calls it has seen.
    pub seen: u64,
    /// How many of them it has struck.
    pub struck: u64,
    /// Whether it may still strike.
    pub waiting: bool,
}

/// The faults that wait to strike.
#[derive(Debug)]
pub struct Faults {
    chance: Chance,
    rules: Mutex<Rules>,
    /// Told when a fault was added.
    added: Arc<Notify>,
}

#[derive(Debug, Default)]
struct Rules {
    next_id: u64,
    struck: u64,
    /// Counts the additions of faults that freeze what stale reads see.
    freezes: u64,
    /// In the order they were added.
    waiting: Vec<FaultStatus>,
    /// The last that can strike no more, oldest first.
    spent: VecDeque<FaultStatus>,
}

impl Default for Faults {
    fn default() -> Self {
        Self::seeded(Chance::seeded(0))
    }
}

impl Faults {
    pub(crate) fn seeded(chance: Chance) -> Self {
        Self {
            chance,
            rules: Mutex::default(),
            added: Arc::default(),
        }
    }

    /// Adds a fault. Of several that strike one call, the one added first does; the others have
    /// seen the call, and a one-shot fault whose turn it was strikes the next matching call.
    pub fn add(&self, fault: Fault) -> FaultId {
        let mut rules = self.rules.lock();
        let id = FaultId(rules.next_id);
        rules.next_id += 1;
        if fault.action == FaultAction::StaleRead {
            rules.freezes += 1;
        }
        rules.waiting.push(FaultStatus {
            id,
            fault,
            seen: 0,
            struck: 0,
            waiting: true,
        });
        drop(rules);
        self.added.notify_waiters();
        id
    }

    /// Takes one fault back. False when it is spent already, or was taken back before.
    pub fn remove(&self, id: FaultId) -> bool {
        let mut rules = self.rules.lock();
        let before = rules.waiting.len();
        rules.waiting.retain(|rule| rule.id != id);
        rules.waiting.len() < before
    }

    /// Takes the fault with a [number](FaultId::number) back, as [`Faults::remove`].
    pub(crate) fn remove_number(&self, number: u64) -> bool {
        self.remove(FaultId(number))
    }

    /// Takes all faults back, and forgets the spent ones.
    pub fn clear(&self) {
        let mut rules = self.rules.lock();
        rules.waiting.clear();
        rules.spent.clear();
    }

    /// How many faults still wait: one-shot ones that have not struck, and repeating ones.
    #[must_use]
    pub fn remaining(&self) -> usize {
        self.rules.lock().waiting.len()
    }

    /// How many calls were struck since the start, by whichever fault.
    #[must_use]
    pub fn struck(&self) -> u64 {
        self.rules.lock().struck
    }

    /// All faults in the order they were added: those that wait, and the last 100 that are spent.
    #[must_use]
    pub fn list(&self) -> Vec<FaultStatus> {
        let rules = self.rules.lock();
        let mut all: Vec<_> = rules.spent.iter().chain(&rules.waiting).cloned().collect();
        all.sort_by_key(|rule| rule.id);
        all
    }

    /// How often what stale reads see was to be frozen, and whether any fault still wants it.
    pub(crate) fn freezes(&self) -> (u64, bool) {
        let rules = self.rules.lock();
        let wanted = rules
            .waiting
            .iter()
            .any(|rule| rule.fault.action == FaultAction::StaleRead);
        (rules.freezes, wanted)
    }

    /// Waits until a partition of its caller is added that strikes a call whose answer is still under
    /// way, and counts it.
    pub(crate) async fn severed(&self, call: &Call<'_>) {
        loop {
            // What is added from now on is not missed.
            let added = self.added.notified();
            if self.severs(call) {
                return;
            }
            added.await;
        }
    }

    /// Only what cuts a caller off from everything reaches into an answer that is under way.
    fn severs(&self, call: &Call<'_>) -> bool {
        let mut rules = self.rules.lock();
        let position = rules.waiting.iter().position(|rule| {
            let Fault {
                operation,
                nth,
                action,
                caller,
                probability,
                ..
            } = &rule.fault;
            operation == "*"
                && *nth == Nth::Every
                && *action == FaultAction::Refuse
                && caller.is_some()
                && *probability >= 1.0
                && rule.fault.matches(call)
        });
        let Some(position) = position else {
            return false;
        };
        if let Some(rule) = rules.waiting.get_mut(position) {
            rule.seen += 1;
        }
        rules.count_strike(position);
        true
    }

    /// Counts a call, and gives what strikes it.
    pub(crate) fn strike(&self, call: &Call<'_>) -> Option<FaultAction> {
        let mut rules = self.rules.lock();
        let mut strikes = None;
        for (position, rule) in rules.waiting.iter_mut().enumerate() {
            if !rule.fault.matches(call) {
                continue;
            }
            rule.seen += 1;
            let due = match rule.fault.nth {
                Nth::Once(nth) => rule.seen >= nth,
                Nth::Every => true,
            };
            if due
                && strikes.is_none()
                && (rule.fault.probability >= 1.0 || self.chance.happens(rule.fault.probability))
            {
                strikes = Some((position, rule.fault.action.clone()));
            }
        }
        let (position, action) = strikes?;
        rules.count_strike(position);
        Some(action)
    }
}

impl Rules {
    /// Counts that a rule has struck, and sets it aside when it is spent.
    fn count_strike(&mut self, position: usize) {
        let Some(rule) = self.waiting.get_mut(position) else {
            return;
        };
        self.struck += 1;
        rule.struck += 1;
        let spent = match rule.fault.nth {
            Nth::Once(_) => true,
            Nth::Every => rule.fault.times.is_some_and(|times| rule.struck >= times),
        };
        if spent {
            let mut rule = self.waiting.remove(position);
            rule.waiting = false;
            if self.spent.len() == SPENT {
                self.spent.pop_front();
            }
            self.spent.push_back(rule);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(operation: &'static str, resource: Option<&'static str>) -> Call<'static> {
        Call {
            operation,
            resource,
            ..Call::default()
        }
    }

    fn refuse(operation: &str, nth: u64) -> Fault {
        Fault::nth(operation, nth, FaultAction::Refuse)
    }

    #[test]
    fn the_nth_matching_call_is_struck_once() {
        let faults = Faults::default();
        faults.add(refuse("PutRecords", 3));
        let struck: Vec<bool> = (0..5)
            .map(|_| {
                assert_eq!(faults.strike(&call("GetRecords", None)), None);
                faults.strike(&call("PutRecords", None)).is_some()
            })
            .collect();
        assert_eq!(struck, [false, false, true, false, false]);
        assert_eq!((faults.remaining(), faults.struck()), (0, 1));
        let listed = faults.list();
        assert_eq!(listed.len(), 1);
        assert_eq!((listed[0].seen, listed[0].struck), (3, 1));
        assert!(!listed[0].waiting);
    }

    #[test]
    fn a_resource_narrows_and_a_star_widens() {
        let faults = Faults::default();
        let strikes = |op, on| faults.strike(&call(op, on)).is_some();
        let id = faults.add(Fault::every("*", FaultAction::Refuse).on("orders"));
        assert!(strikes("GetRecords", Some("orders")));
        assert!(strikes("UpdateItem", Some("orders")));
        assert!(!strikes("GetRecords", Some("other")));
        assert!(!strikes("GetRecords", None));
        assert_eq!(faults.remaining(), 1);
        assert!(faults.remove(id));
        assert!(!faults.remove(id));
        assert!(!strikes("GetRecords", Some("orders")));
    }

    #[test]
    fn service_shard_and_caller_narrow() {
        let faults = Faults::default();
        faults.add(
            Fault::every("*", FaultAction::Refuse)
                .of(Service::Kinesis)
                .shard("shardId-000000000001")
                .by("AKID"),
        );
        let whole = Call {
            service: Some(Service::Kinesis),
            operation: "GetRecords",
            resource: None,
            shard: Some("shardId-000000000001"),
            caller: Some("AKID"),
        };
        assert!(faults.strike(&whole).is_some());
        let others = [
            Call {
                service: Some(Service::DynamoDb),
                ..whole
            },
            Call {
                shard: Some("shardId-000000000002"),
                ..whole
            },
            Call {
                shard: None,
                ..whole
            },
            Call {
                caller: Some("OTHER"),
                ..whole
            },
            Call {
                caller: None,
                ..whole
            },
        ];
        for other in others {
            assert!(faults.strike(&other).is_none(), "{other:?}");
        }
    }

    #[test]
    fn two_faults_due_at_once_strike_one_after_the_other() {
        let faults = Faults::default();
        let x = call("X", None);
        faults.add(Fault::nth("X", 1, FaultAction::LoseAnswer));
        faults.add(refuse("X", 1));
        assert_eq!(faults.strike(&x), Some(FaultAction::LoseAnswer));
        assert_eq!(faults.strike(&x), Some(FaultAction::Refuse));
        assert_eq!(faults.strike(&x), None);
        faults.add(refuse("X", 1));
        faults.clear();
        assert_eq!(faults.strike(&x), None);
        assert_eq!(faults.list(), []);
    }

    #[test]
    fn a_number_of_times_is_kept() {
        let faults = Faults::default();
        faults.add(Fault::every("X", FaultAction::Refuse).times(2));
        let struck = (0..5)
            .filter(|_| faults.strike(&call("X", None)).is_some())
            .count();
        assert_eq!((struck, faults.remaining()), (2, 0));
    }

    #[test]
    fn chance_repeats_from_its_seed() {
        let run = |seed| -> Vec<bool> {
            let faults = Faults::seeded(Chance::seeded(seed));
            faults.add(Fault::every("X", FaultAction::Refuse).with_probability(0.3));
            (0..1_000)
                .map(|_| faults.strike(&call("X", None)).is_some())
                .collect()
        };
        assert_eq!(run(5), run(5));
        assert_ne!(run(5), run(6));
        let struck = run(5).into_iter().filter(|s| *s).count();
        assert!((250..350).contains(&struck), "{struck}");
    }

    #[test]
    fn spent_faults_are_a_bounded_list() {
        let faults = Faults::default();
        for _ in 0..250 {
            faults.add(refuse("X", 1));
            faults.strike(&call("X", None));
        }
        assert_eq!(faults.list().len(), SPENT);
        assert_eq!(faults.struck(), 250);
    }
}
