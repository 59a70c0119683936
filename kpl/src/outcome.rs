//! What an answer means for the records it is about: pure decisions.

use aggregation::{HashKey, HashRange};
use aws::ErrorKind;

/// What to do with records whose request or entry failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Failure {
    /// Try again, after the shard's back-off or the endpoint's.
    Retry,
    /// Fail them: they were throttled, and the user wants to know at once.
    Throttled,
    /// Fail them: nothing mends it.
    Permanent(ErrorKind),
    /// Something in the request is wrong: find out what.
    Isolate(ErrorKind),
    /// Someone may mend it, and the user wants to wait for that.
    Wait,
}

/// What to do about errors that only people mend: no such stream, access denied, the encryption key
/// disabled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OnPermanent {
    Fail,
    Wait,
}

/// What a failed request means for the records in it.
pub(crate) const fn of_request(
    kind: ErrorKind,
    fail_if_throttled: bool,
    on_permanent: OnPermanent,
) -> Failure {
    match kind {
        ErrorKind::Throttled | ErrorKind::LimitExceeded if fail_if_throttled => Failure::Throttled,
        // InUse: the stream is being made. Credential: new ones may come.
        ErrorKind::Throttled
        | ErrorKind::LimitExceeded
        | ErrorKind::Transient
        | ErrorKind::Credential
        | ErrorKind::InUse
        | ErrorKind::Conflict => Failure::Retry,
        ErrorKind::Invalid => Failure::Isolate(kind),
        ErrorKind::NotFound | ErrorKind::AccessDenied | ErrorKind::Key
            if matches!(on_permanent, OnPermanent::Wait) =>
        {
            Failure::Wait
        }
        other => Failure::Permanent(other),
    }
}

/// The one code of an entry that means throttling; the other, `InternalFailure`, and codes that may
/// come are passing faults.
pub(crate) const THROTTLED: &str = "ProvisionedThroughputExceededException";

/// What a refused entry of an answered request means.
pub(crate) fn of_entry(code: &str, fail_if_throttled: bool) -> Failure {
    if fail_if_throttled && code == THROTTLED {
        Failure::Throttled
    } else {
        Failure::Retry
    }
}

/// The hash keys of the user records in a Kinesis record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Span {
    /// That of the first record, which routes the Kinesis record.
    pub(crate) first: HashKey,
    /// The lowest.
    pub(crate) low: HashKey,
    /// The highest.
    pub(crate) high: HashKey,
}

impl Span {
    pub(crate) const fn of(key: HashKey) -> Self {
        Self {
            first: key,
            low: key,
            high: key,
        }
    }

    pub(crate) fn add(&mut self, key: HashKey) {
        self.low = self.low.min(key);
        self.high = self.high.max(key);
    }

    pub(crate) fn lies_in(&self, range: &HashRange) -> bool {
        range.contains(self.low) && range.contains(self.high)
    }
}

/// What to do about a Kinesis record that was stored in another shard than the map foretold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Landing {
    /// A consumer of that shard sees every user record in it: delivered.
    Delivered,
    /// The shard's range is not known, or what is known cannot be right: list the shards first.
    AskFirst,
    /// A consumer drops an aggregate that holds a single record outside its shard's range, so none of
    /// its records counts as delivered, and all are sent again.
    SendAllAgain,
}

/// Decides about a record stored in a shard of range `range`, if that is known. `asked_since`: the map
/// was fetched after the record had been stored.
pub(crate) fn of_landing(
    aggregated: bool,
    span: &Span,
    range: Option<&HashRange>,
    asked_since: bool,
) -> Landing {
    // A consumer checks the range of aggregates alone.
    if !aggregated {
        return Landing::Delivered;
    }
    match range {
        // A range without the first key, which routed it, is not the shard's, or the stream does not
        // go by keys.
        Some(range) if range.contains(span.first) => {
            if span.lies_in(range) {
                Landing::Delivered
            } else {
                Landing::SendAllAgain
            }
        }
        _ if asked_since => Landing::SendAllAgain,
        _ => Landing::AskFirst,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_may_pass_is_tried_again() {
        use ErrorKind::*;
        for policy in [OnPermanent::Fail, OnPermanent::Wait] {
            for kind in [Transient, Credential, InUse, Conflict] {
                assert_eq!(of_request(kind, true, policy), Failure::Retry, "{kind:?}");
            }
            for kind in [Throttled, LimitExceeded] {
                assert_eq!(of_request(kind, false, policy), Failure::Retry, "{kind:?}");
                let failed = of_request(kind, true, policy);
                assert_eq!(failed, Failure::Throttled, "{kind:?}");
            }
            let isolated = of_request(Invalid, false, policy);
            assert_eq!(isolated, Failure::Isolate(Invalid));
            for kind in [Fatal, ExpiredIterator, ExpiredToken, ConditionFailed] {
                let failed = of_request(kind, false, policy);
                assert_eq!(failed, Failure::Permanent(kind), "{kind:?}");
            }
        }
        for kind in [NotFound, AccessDenied, Key] {
            let failed = of_request(kind, false, OnPermanent::Fail);
            assert_eq!(failed, Failure::Permanent(kind), "{kind:?}");
            let waits = of_request(kind, false, OnPermanent::Wait);
            assert_eq!(waits, Failure::Wait, "{kind:?}");
        }
    }

    #[test]
    fn entries_are_tried_again_unless_the_user_wants_to_know() {
        assert_eq!(of_entry(THROTTLED, false), Failure::Retry);
        assert_eq!(of_entry(THROTTLED, true), Failure::Throttled);
        assert_eq!(of_entry("InternalFailure", true), Failure::Retry);
        assert_eq!(of_entry("SomethingNew", false), Failure::Retry);
    }

    #[test]
    fn landings() {
        let span = |first, low, high| Span {
            first: HashKey::new(first),
            low: HashKey::new(low),
            high: HashKey::new(high),
        };
        let range = |start, end| HashRange::new(HashKey::new(start), HashKey::new(end)).unwrap();
        let child = range(50, 99);
        use Landing::{AskFirst, Delivered, SendAllAgain};
        // aggregated, keys, known range, fetched since -> decision
        let table = [
            // Single records are never range-checked by a consumer.
            (false, span(60, 60, 60), None, false, Delivered),
            (false, span(60, 60, 60), Some(range(0, 9)), true, Delivered),
            // One key is no exception: streams that distribute records themselves ignore it.
            (true, span(60, 60, 60), Some(child), false, Delivered),
            (true, span(60, 60, 60), None, false, AskFirst),
            (
                true,
                span(60, 60, 60),
                Some(range(0, 9)),
                true,
                SendAllAgain,
            ),
            // Every record inside: delivered, and not sent twice.
            (true, span(60, 50, 99), Some(child), false, Delivered),
            // One record outside: none may be acknowledged.
            (true, span(60, 49, 99), Some(child), false, SendAllAgain),
            (true, span(60, 60, 100), Some(child), true, SendAllAgain),
            // An unknown shard: look first, then decide.
            (true, span(60, 60, 61), None, false, AskFirst),
            (true, span(60, 60, 61), None, true, SendAllAgain),
            // A range that cannot be right: the stream was made anew.
            (true, span(60, 60, 61), Some(range(0, 9)), false, AskFirst),
            (
                true,
                span(60, 60, 61),
                Some(range(0, 9)),
                true,
                SendAllAgain,
            ),
        ];
        for (aggregated, span, range, since, decision) in table {
            assert_eq!(
                of_landing(aggregated, &span, range.as_ref(), since),
                decision,
                "{aggregated} {span:?} {range:?} {since}"
            );
        }
    }

    #[test]
    fn a_span_covers_what_was_added() {
        let mut span = Span::of(HashKey::new(5));
        span.add(HashKey::new(9));
        span.add(HashKey::new(2));
        assert_eq!(
            (span.first, span.low, span.high),
            (HashKey::new(5), HashKey::new(2), HashKey::new(9))
        );
    }
}
