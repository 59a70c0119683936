//! From a fault to what the endpoint does with the call it strikes.

use super::{Call, FaultAction};
use crate::body::Cut;
use crate::kinesis::Twist;
use crate::refusal::Refusal;
use std::borrow::Cow;
use std::time::Duration;

/// What is done with one call. The default: what it asks for.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Plan {
    /// Waited for before anything else.
    pub(crate) delay: Option<Duration>,
    /// Neither effect nor answer.
    pub(crate) refuse: bool,
    /// An error in place of the effect.
    pub(crate) refusal: Option<Refusal>,
    /// A bare HTTP status in place of the effect.
    pub(crate) status: Option<u16>,
    /// What changes inside the operation.
    pub(crate) twist: Twist,
    /// What changes inside DynamoDB.
    pub(crate) store: StoreTwist,
    /// Effect, but no answer.
    pub(crate) lose: bool,
    /// How the answer's body breaks off or drags on.
    pub(crate) cut: Option<Cut>,
    /// Seconds by which the answer's `Date` is late.
    pub(crate) skew: i64,
}

/// What a fault changes inside DynamoDB.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum StoreTwist {
    #[default]
    None,
    /// A transaction holds what the call wants.
    Conflict,
    /// Reads that allow it see the frozen store.
    Stale,
    /// An index that the call adds is CREATING for so many polls.
    IndexCreating(u32),
}

impl Plan {
    pub(crate) fn of(action: Option<FaultAction>, call: &Call<'_>) -> Self {
        let mut plan = Self::default();
        match action {
            None => {}
            Some(FaultAction::Error {
                status,
                code,
                message,
            }) => {
                plan.refusal = Some(Refusal {
                    status,
                    code: Cow::Owned(code),
                    message,
                });
            }
            Some(FaultAction::Status(status)) => plan.status = Some(status),
            Some(FaultAction::Throttle) => {
                plan.refusal = Some(match call.service {
                    Some(service) => service.throttled(call.operation),
                    None => Refusal::new("ThrottlingException", "Rate exceeded"),
                });
            }
            Some(FaultAction::LoseAnswer) => plan.lose = true,
            Some(FaultAction::Refuse) => plan.refuse = true,
            Some(FaultAction::Truncate(bytes)) => plan.cut = Some(Cut::Truncate(bytes)),
            Some(FaultAction::Trickle { bytes, every }) => {
                plan.cut = Some(Cut::Trickle {
                    bytes: bytes.max(1),
                    every,
                });
            }
            Some(FaultAction::Delay(delay)) => plan.delay = Some(delay),
            Some(FaultAction::SplitEntries { every, code }) => {
                plan.twist = Twist::SplitEntries { every, code };
            }
            Some(FaultAction::ExpireIterator) => plan.twist = Twist::ExpireIterator,
            Some(FaultAction::FailSubscription {
                after,
                code,
                message,
            }) => {
                plan.twist = Twist::FailSubscription {
                    after,
                    code,
                    message,
                };
            }
            Some(FaultAction::SilenceSubscription { after }) => {
                plan.twist = Twist::SilenceSubscription { after };
            }
            Some(FaultAction::SkewDate(seconds)) => plan.skew = seconds,
            Some(FaultAction::TransactionConflict) => plan.store = StoreTwist::Conflict,
            Some(FaultAction::StaleRead) => plan.store = StoreTwist::Stale,
            Some(FaultAction::IndexCreating { polls }) => {
                plan.store = StoreTwist::IndexCreating(polls);
            }
        }
        plan
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service::Service;

    #[test]
    fn a_throttle_is_each_services_own() {
        let throttled = |service, operation| {
            let call = Call {
                service: Some(service),
                operation,
                ..Call::default()
            };
            let plan = Plan::of(Some(FaultAction::Throttle), &call);
            let refusal = plan.refusal.unwrap();
            (refusal.status, refusal.code.into_owned())
        };
        let cases = [
            (
                Service::Kinesis,
                "PutRecords",
                400,
                "ProvisionedThroughputExceededException",
            ),
            (
                Service::Kinesis,
                "ListShards",
                400,
                "LimitExceededException",
            ),
            (
                Service::DynamoDb,
                "UpdateItem",
                400,
                "ProvisionedThroughputExceededException",
            ),
            (
                Service::DynamoDb,
                "DescribeTable",
                400,
                "ThrottlingException",
            ),
            (
                Service::Firehose,
                "PutRecordBatch",
                500,
                "ServiceUnavailableException",
            ),
            (
                Service::CloudWatch,
                "PutMetricData",
                400,
                "ThrottlingException",
            ),
        ];
        for (service, operation, status, code) in cases {
            let found = throttled(service, operation);
            assert_eq!(found, (status, code.to_owned()), "{operation}");
        }
    }

    #[test]
    fn no_fault_changes_nothing() {
        assert_eq!(Plan::of(None, &Call::default()), Plan::default());
    }
}
