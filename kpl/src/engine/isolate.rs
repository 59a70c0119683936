//! Requests that are refused for something in them: halved until the offender alone is refused, while
//! its neighbours are delivered.

use super::Engine;
use crate::error::DeliveryError;
use crate::order::Ordered;
use crate::record::hash_key;
use crate::refill::Refill;
use crate::sealed::Sealed;
use crate::shared::Shared;
use aggregation::IdentityReader;
use aws::ErrorKind;
use std::collections::VecDeque;
use std::sync::Arc;
use tokio::time::Instant;

/// When so many parts were refused and none was taken, it is not for something in them.
const HOPELESS: usize = 16;

/// Requests that one refused request may cost beyond two for each Kinesis record in it: for looking
/// into aggregates.
const INSIDE: usize = 64;

/// What is known of one refused request.
#[derive(Debug, Clone, Copy)]
struct Case {
    /// Parts that are neither delivered nor given up.
    open: usize,
    refused: usize,
    taken: bool,
    /// Parts that may be refused before the rest is.
    most: usize,
}

/// A refused request, or a part of one.
#[derive(Debug)]
pub(crate) struct Suspect {
    case: CaseId,
    pub(crate) batch: Vec<Sealed>,
}

pub(crate) type CaseId = u64;

/// Parts of refused requests that are to be sent, each alone.
#[derive(Debug, Default)]
pub(super) struct Suspects {
    waiting: VecDeque<Suspect>,
    cases: std::collections::BTreeMap<CaseId, Case>,
    last: CaseId,
}

/// What a refusal says, for the error of what is given up.
#[derive(Debug, Clone, Copy)]
pub(super) struct Refusal<'a> {
    pub(super) kind: ErrorKind,
    pub(super) code: &'a str,
    pub(super) message: &'a str,
}

impl Suspects {
    /// The next to be sent.
    pub(super) fn next(&mut self) -> Option<(CaseId, Vec<Sealed>)> {
        let Suspect { case, batch } = self.waiting.pop_front()?;
        Some((case, batch))
    }

    /// It could not be sent: again, when its turn comes.
    pub(super) fn again(&mut self, case: CaseId, batch: Vec<Sealed>) {
        self.waiting.push_back(Suspect { case, batch });
    }

    /// The service took a part, or it is no more.
    pub(super) fn cleared(&mut self, id: CaseId, taken: bool) {
        if let Some(case) = self.cases.get_mut(&id) {
            case.taken |= taken;
            case.open = case.open.saturating_sub(1);
            if case.open == 0 {
                self.cases.remove(&id);
            }
        }
    }

    /// A request, or a part of one, was refused. True when it is worth halving.
    fn refused(&mut self, id: Option<CaseId>, entries: usize) -> Option<CaseId> {
        let id = id.unwrap_or_else(|| {
            self.last += 1;
            let case = Case {
                open: 1,
                refused: 0,
                taken: false,
                most: 2 * entries + INSIDE,
            };
            self.cases.insert(self.last, case);
            self.last
        });
        let case = self.cases.get_mut(&id)?;
        case.refused += 1;
        let goes_on = (case.taken || case.refused < HOPELESS) && case.refused < case.most;
        goes_on.then_some(id)
    }

    fn halved(&mut self, id: CaseId, halves: [Vec<Sealed>; 2]) {
        if let Some(case) = self.cases.get_mut(&id) {
            case.open += 1;
        }
        for batch in halves {
            self.again(id, batch);
        }
    }

    /// When the time to live of a record passes next.
    pub(super) fn next_expiry(&self, ttl: std::time::Duration) -> Option<Instant> {
        let all = self.waiting.iter().flat_map(|suspect| &suspect.batch);
        all.filter_map(|sealed| sealed.oldest.checked_add(ttl))
            .min()
    }

    /// Takes out what holds records whose time to live has passed.
    pub(super) fn take_expired(&mut self, ttl: std::time::Duration, now: Instant) -> Vec<Sealed> {
        if self.next_expiry(ttl).is_none_or(|at| at > now) {
            return Vec::new();
        }
        let mut expired = Vec::new();
        for Suspect { case, batch } in std::mem::take(&mut self.waiting) {
            let gone = |sealed: &Sealed| sealed.oldest.checked_add(ttl).is_some_and(|at| at <= now);
            let (out, batch): (Vec<Sealed>, Vec<Sealed>) = batch.into_iter().partition(gone);
            expired.extend(out);
            if batch.is_empty() {
                self.cleared(case, false);
            } else {
                self.again(case, batch);
            }
        }
        expired
    }
}

impl Engine {
    /// A request was refused for something in it.
    pub(super) fn isolate(
        &mut self,
        mut batch: Vec<Sealed>,
        case: Option<CaseId>,
        refusal: Refusal<'_>,
        now: Instant,
    ) {
        let id = self.suspects.refused(case, batch.len());
        if self.options.strict_ordering
            && let ([single], Some(id)) = (&batch[..], id)
            && single.claims.records() > 1
        {
            self.suspects.cleared(id, false);
            for sealed in batch {
                self.halve_in_order(sealed, now);
            }
            return;
        }
        let half = batch.len() / 2;
        let halves = match id {
            None => Err(batch),
            Some(_) if half > 0 => {
                let second = batch.split_off(half);
                Ok([batch, second])
            }
            Some(_) => match batch.pop() {
                Some(single) => halve(single, &self.shared, now).map_err(|single| vec![single]),
                None => Err(batch),
            },
        };
        match (halves, id) {
            (Ok(halves), Some(id)) => {
                let records = halves
                    .iter()
                    .flatten()
                    .map(|s| u64::from(s.claims.records()));
                self.shared.ledger.meters.retried.add(records.sum());
                self.suspects.halved(id, halves);
            }
            (Ok(halves), None) => self.give_up(halves.into_iter().flatten(), refusal),
            (Err(batch), id) => {
                if let Some(id) = id.or(case) {
                    self.suspects.cleared(id, false);
                }
                self.give_up(batch, refusal);
            }
        }
    }

    /// Halves go one after the other, in their turns, each as a new case if it is refused too.
    fn halve_in_order(&mut self, mut sealed: Sealed, now: Instant) {
        self.order.done(&mut sealed);
        let order = sealed.order;
        match halve(sealed, &self.shared, now) {
            Ok(halves) => self.take_turns(halves, order, now),
            Err(single) => self.enqueue(single, now),
        }
    }

    /// The parts of a Kinesis record go one after the other, in its turn.
    pub(super) fn take_turns(&mut self, parts: [Vec<Sealed>; 2], order: Ordered, now: Instant) {
        let mut place = order.turn.place;
        for mut part in parts.into_iter().flatten() {
            part.order = order;
            part.order.turn.place = place;
            place = place.saturating_add(part.claims.records());
            self.enqueue(part, now);
        }
    }

    fn give_up(&mut self, batch: impl IntoIterator<Item = Sealed>, refusal: Refusal<'_>) {
        for sealed in batch {
            self.fail(sealed, |attempts| DeliveryError::Rejected {
                kind: refusal.kind,
                code: refusal.code.to_owned(),
                message: refusal.message.to_owned(),
                attempts,
                record: None,
            });
        }
    }
}

/// The first and the second half of a Kinesis record's user records, each a Kinesis record; or the same,
/// if there is only one.
fn halve(sealed: Sealed, shared: &Shared, now: Instant) -> Result<[Vec<Sealed>; 2], Sealed> {
    let count = sealed.content.record_count();
    part(sealed, count / 2, shared, now)
}

/// The first so many of a Kinesis record's user records, one at least, and the others, one at least.
pub(super) fn part(
    sealed: Sealed,
    first: usize,
    shared: &Shared,
    now: Instant,
) -> Result<[Vec<Sealed>; 2], Sealed> {
    let count = sealed.content.record_count();
    if count < 2 {
        return Err(sealed);
    }
    let first = first.clamp(1, count - 1);
    let since = sealed.since;
    let attempts = Arc::new(sealed.attempts);
    let costs: Vec<usize> = sealed
        .content
        .records()
        .map(|record| shared.cost(&record.as_user_record()))
        .collect();
    let claims = sealed.claims.take_apart(&attempts, costs);
    let mut all = sealed.content.records().zip(claims);
    let mut identity = IdentityReader::default();
    let mut take = |records: usize| {
        let mut part: Option<Refill> = None;
        for (record, claim) in all.by_ref().take(records) {
            let id = identity.next(record.tags.iter().copied());
            let record = record.as_user_record();
            let key = hash_key(&record);
            part.get_or_insert_with(|| Refill::new(&shared.ledger, key))
                .push(&record, id, key, claim);
        }
        part.map(|part| {
            let mut part = part.seal(&sealed.shard, shared.aggregation, now);
            part.since = since;
            part
        })
        .into_iter()
        .collect()
    };
    Ok([take(first), take(count - first)])
}
