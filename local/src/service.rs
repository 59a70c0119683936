//! The services that answer here.

use crate::refusal::Refusal;

/// A service of AWS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Service {
    /// Amazon Kinesis Data Streams.
    Kinesis,
    /// Amazon DynamoDB.
    DynamoDb,
    /// Amazon Data Firehose.
    Firehose,
    /// Amazon CloudWatch metrics.
    CloudWatch,
    /// AWS Security Token Service.
    Sts,
}

impl Service {
    const ALL: [Self; 5] = [
        Self::Kinesis,
        Self::DynamoDb,
        Self::Firehose,
        Self::CloudWatch,
        Self::Sts,
    ];

    /// Its name in fault rules and the journal: `kinesis`, `dynamodb`, `firehose`, `cloudwatch`,
    /// `sts`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Kinesis => "kinesis",
            Self::DynamoDb => "dynamodb",
            Self::Firehose => "firehose",
            Self::CloudWatch => "cloudwatch",
            Self::Sts => "sts",
        }
    }

    pub(crate) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|service| service.name() == name)
    }

    /// Its name in the scope of a signature.
    pub(crate) fn signing_name(self) -> &'static str {
        match self {
            Self::CloudWatch => "monitoring",
            other => other.name(),
        }
    }

    /// The service that an `X-Amz-Target` names before its operation.
    pub(crate) fn of_target(prefix: &str) -> Option<Self> {
        Some(match prefix {
            "Kinesis_20131202" => Self::Kinesis,
            "DynamoDB_20120810" => Self::DynamoDb,
            "Firehose_20150804" => Self::Firehose,
            "GraniteServiceVersion20100801" => Self::CloudWatch,
            _ => return None,
        })
    }

    /// How it throttles an operation.
    pub(crate) fn throttled(self, operation: &str) -> Refusal {
        match (self, operation) {
            (Self::Kinesis, "PutRecord" | "PutRecords" | "GetRecords" | "GetShardIterator") => {
                Refusal::throttled("Rate exceeded for the shard (a scripted fault).")
            }
            (Self::Kinesis, _) => Refusal::new(
                "LimitExceededException",
                "Rate exceeded (a scripted fault).",
            ),
            (
                Self::DynamoDb,
                "CreateTable" | "DeleteTable" | "DescribeTable" | "ListTables" | "UpdateTable",
            ) => Refusal::new("ThrottlingException", "Rate exceeded (a scripted fault)."),
            (Self::DynamoDb, _) => Refusal::throttled(
                "The level of configured provisioned throughput for the table was exceeded. \
                 Consider increasing your provisioning level with the UpdateTable API.",
            ),
            (Self::Firehose, _) => Refusal {
                status: 500,
                ..Refusal::new(
                    "ServiceUnavailableException",
                    "Slow down (a scripted fault).",
                )
            },
            (Self::CloudWatch | Self::Sts, _) => {
                Refusal::new("ThrottlingException", "Rate exceeded")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_names_its_service() {
        for service in Service::ALL {
            assert_eq!(Service::named(service.name()), Some(service));
        }
        assert_eq!(Service::named("s3"), None);
        assert_eq!(Service::CloudWatch.signing_name(), "monitoring");
    }
}
