//! What the engine does with an answer, or with the failure of a request.

use super::isolate::{CaseId, Refusal};
use super::{Engine, Misplaced};
use crate::error::DeliveryError;
use crate::events::ProducerEvent;
use crate::outcome::{self, Failure};
use crate::sealed::Sealed;
use crate::sender::Done;
use crate::slot::Verdict;
use aws::ErrorKind;
use aws::kinesis::{PutRecordsOutput, PutRecordsResult};
use runtime::Attempts;
use std::collections::BTreeMap;
use std::fmt::Display;
use std::sync::Arc;
use tokio::task::JoinError;
use tokio::time::Instant;

impl Engine {
    pub(super) fn done(&mut self, done: Result<Option<Done>, JoinError>) {
        let done = match done {
            Ok(Some(done)) => done,
            // Its records resolved as closed when it was dropped.
            Ok(None) => return self.cut_off(&"the one that was got ready with it was"),
            Err(error) => return self.cut_off(&error),
        };
        let took = done.ended.saturating_duration_since(done.started);
        self.shared.ledger.meters.request_took(took, done.ended);
        match done.result {
            Ok(output) => {
                if let Some(case) = done.case {
                    self.suspects.cleared(case, true);
                }
                self.answered(done.batch, output, done.started, done.ended);
            }
            Err(error) => {
                let (batch, case) = (done.batch, done.case);
                self.request_failed(batch, case, &error, done.started, done.ended);
            }
        }
    }

    fn cut_off(&mut self, why: &dyn Display) {
        tracing::error!(stream = %self.shared.stream, %why, "a request was cut off");
        self.collector.all_unanswered(Instant::now());
    }

    fn request_failed(
        &mut self,
        mut batch: Vec<Sealed>,
        case: Option<CaseId>,
        error: &aws::Error,
        started: Instant,
        ended: Instant,
    ) {
        let (code, message) = (error.code(), error.to_string());
        self.shared.ledger.meters.request_failed(&code, ended);
        let options = &self.options;
        let failure = outcome::of_request(
            error.kind(),
            options.fail_if_throttled,
            options.on_permanent,
        );
        if let Some(requests) = self.warnings.pass(1, ended) {
            tracing::warn!(stream = %self.shared.stream, requests, %error, "requests fail");
        }
        self.shared.listeners.tell(|| request_failed(error));
        match failure {
            Failure::Retry => self.rest.failed(started, ended, &self.chance),
            Failure::Wait => self.patience.failed(started, ended, &self.chance),
            _ => self.is_back(),
        }
        for sealed in &mut batch {
            self.collector.unanswered(&sealed.shard, started, ended);
            self.attempted(sealed, started, ended, Some((&code, &message)));
        }
        let doubtful = |sealed: &Sealed| sealed.keyless && !sealed.doubted;
        match (failure, case) {
            (Failure::Isolate(_), _) if batch.iter().any(doubtful) => {
                if let Some(case) = case {
                    self.suspects.cleared(case, false);
                }
                self.refused_without_key(batch, ended);
            }
            (Failure::Isolate(kind), _) => {
                let refusal = Refusal {
                    kind,
                    code: &code,
                    message: &message,
                };
                self.isolate(batch, case, refusal, ended);
            }
            (Failure::Retry | Failure::Wait, Some(case)) => self.suspects.again(case, batch),
            (_, case) => {
                if let Some(case) = case {
                    self.suspects.cleared(case, false);
                }
                for sealed in batch {
                    self.failed(sealed, failure, &code, &message, ended);
                }
            }
        }
    }

    /// The endpoint answers.
    fn is_back(&mut self) {
        self.rest.succeeded();
        self.patience.succeeded();
    }

    /// A request with records that have no partition key was refused as invalid: the stream may not take
    /// them any more. They wait until the strategy is known again, their neighbours go without them.
    fn refused_without_key(&mut self, batch: Vec<Sealed>, now: Instant) {
        self.keyless_refused(now);
        for mut sealed in batch {
            let records = u64::from(sealed.claims.records());
            self.shared.ledger.meters.retried.add(records);
            sealed.doubted |= sealed.keyless;
            self.enqueue(sealed, now);
        }
    }

    fn answered(
        &mut self,
        batch: Vec<Sealed>,
        output: PutRecordsOutput,
        started: Instant,
        ended: Instant,
    ) {
        self.is_back();
        debug_assert_eq!(
            batch.len(),
            output.records.len(),
            "one result for each entry"
        );
        // First what was taken, then what was refused: a shard that does some of both rests.
        for (sealed, result) in batch.iter().zip(&output.records) {
            if matches!(result, PutRecordsResult::Stored { .. }) {
                self.collector.accepted(&sealed.shard, started, ended);
            }
        }
        let mut throttles = BTreeMap::new();
        for (mut sealed, result) in batch.into_iter().zip(output.records) {
            match result {
                PutRecordsResult::Stored {
                    shard_id,
                    sequence_number,
                } => {
                    self.shared.ledger.meters.stored(&sealed, ended);
                    if sealed.to_any || *sealed.shard == *shard_id {
                        self.attempted(&mut sealed, started, ended, None);
                        self.deliver(sealed, shard_id, sequence_number);
                    } else {
                        let shard = shard_id;
                        self.landed(Misplaced {
                            sealed,
                            shard,
                            sequence_number,
                            started,
                            ended,
                        });
                    }
                }
                PutRecordsResult::Refused { code, message } => {
                    let meters = &self.shared.ledger.meters;
                    meters.refused(&sealed.shard, &code, ended);
                    let throttled = code == outcome::THROTTLED;
                    if throttled {
                        *throttles.entry(Arc::clone(&sealed.shard)).or_default() += 1;
                    }
                    self.collector
                        .refused(&sealed.shard, throttled, started, ended);
                    self.attempted(&mut sealed, started, ended, Some((&code, &message)));
                    let failure = outcome::of_entry(&code, self.options.fail_if_throttled);
                    self.failed(sealed, failure, &code, &message, ended);
                }
            }
        }
        for (shard_id, entries) in throttles {
            let event = || ProducerEvent::Throttled { shard_id, entries };
            self.shared.listeners.tell(event);
        }
    }

    pub(super) fn attempted(
        &self,
        sealed: &mut Sealed,
        started: Instant,
        ended: Instant,
        failure: Option<(&str, &str)>,
    ) {
        let meters = &self.shared.ledger.meters;
        meters.attempted(sealed, started, ended);
        sealed.attempted(started, ended, failure);
    }

    fn failed(
        &mut self,
        sealed: Sealed,
        failure: Failure,
        code: &str,
        message: &str,
        now: Instant,
    ) {
        match failure {
            Failure::Retry | Failure::Wait => {
                let records = u64::from(sealed.claims.records());
                self.shared.ledger.meters.retried.add(records);
                self.enqueue(sealed, now);
            }
            Failure::Throttled => {
                self.fail(sealed, DeliveryError::throttled);
            }
            Failure::Permanent(kind) | Failure::Isolate(kind) => {
                self.fail(sealed, |attempts| DeliveryError::Rejected {
                    kind,
                    code: code.to_owned(),
                    message: message.to_owned(),
                    attempts,
                    record: None,
                })
            }
        }
    }

    pub(super) fn fail(
        &mut self,
        mut sealed: Sealed,
        error: impl FnOnce(Arc<Attempts>) -> DeliveryError,
    ) {
        self.order.done(&mut sealed);
        let error = error(Arc::new(sealed.attempts));
        let verdict = Verdict::failed_at(&sealed.shard, error);
        sealed.claims.settle(&verdict);
    }

    pub(super) fn deliver(
        &mut self,
        mut sealed: Sealed,
        shard_id: Arc<str>,
        sequence_number: Arc<str>,
    ) {
        self.order.done(&mut sealed);
        let meters = &self.shared.ledger.meters;
        meters.data_put(&shard_id, &sealed.claims, sealed.content.data_len());
        sealed.claims.settle(&Verdict::Delivered {
            shard_id,
            sequence_number,
            aggregated: sealed.aggregated,
            attempts: Arc::new(sealed.attempts),
        });
        self.shared.ledger.shelf.give(sealed.content);
    }
}

fn request_failed(error: &aws::Error) -> ProducerEvent {
    let message = error.to_string();
    match error.kind() {
        ErrorKind::Credential => ProducerEvent::CredentialsFailed { message },
        kind => ProducerEvent::RequestFailed {
            kind,
            code: error.code(),
            message,
        },
    }
}
