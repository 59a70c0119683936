//! Kinesis' hosts of one account or of one stream: the AWS SDKs go to them when a request names a
//! stream by its ARN or by its `StreamId`.

use super::{Endpoint, Variant, partition};

/// Which hosts an operation goes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Plane {
    /// Records: `PutRecords`, `GetShardIterator`, `GetRecords`.
    Data,
    /// Streams and shards.
    Control,
}

impl Plane {
    /// An operation's, as Kinesis' model has it; none for those that name no stream that exists.
    pub(crate) fn of(operation: &str) -> Option<Self> {
        match operation {
            "CreateStream" | "ListStreams" => None,
            "PutRecord" | "PutRecords" | "GetRecords" | "GetShardIterator" | "SubscribeToShard" => {
                Some(Self::Data)
            }
            _ => Some(Self::Control),
        }
    }
}

/// Makes the hosts of a region.
#[derive(Debug, Clone)]
pub(crate) struct OwnedHosts {
    region: String,
    variant: Variant,
}

impl OwnedHosts {
    /// The hosts of a region; none in the two partitions that have none.
    pub(crate) fn of(region: &str, variant: Variant) -> Option<Self> {
        let without = ["us-iso-", "us-isob-"];
        let has = !without.iter().any(|prefix| region.starts_with(prefix));
        has.then(|| Self {
            region: region.to_owned(),
            variant,
        })
    }

    /// The host of a stream, by its ARN or its `StreamId`; none for what has no host of its own.
    pub(crate) fn find(&self, plane: Plane, stream: &str) -> Option<Endpoint> {
        let owner = match id(stream) {
            Some((prefix, suffix)) => format!("{prefix}.{suffix}"),
            None => account(stream)?.to_owned(),
        };
        let plane = match plane {
            Plane::Data => "data",
            Plane::Control => "control",
        };
        let (partition, region) = (partition(&self.region), &self.region);
        let fips = if self.variant.fips { "-fips" } else { "" };
        let suffix = if self.variant.dual_stack {
            partition.dual_stack
        } else {
            partition.suffix
        };
        Endpoint::parse(&format!(
            "https://{owner}.{plane}-kinesis{fips}.{region}.{suffix}"
        ))
        .ok()
    }
}

/// The two parts of a `StreamId`: 20 and 3 small letters and digits, joined by a hyphen.
fn id(text: &str) -> Option<(&str, &str)> {
    let plain = |part: &str, length: usize| {
        let small = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
        part.len() == length && part.bytes().all(small)
    };
    let parts = text.split_once('-')?;
    (plain(parts.0, 20) && plain(parts.1, 3)).then_some(parts)
}

/// The account in a stream's ARN, `arn:<partition>:kinesis:<region>:<account>:stream/<name>`.
fn account(arn: &str) -> Option<&str> {
    let mut parts = arn.splitn(6, ':');
    let (arn, _, service) = (parts.next()?, parts.next()?, parts.next()?);
    let (_, account, resource) = (parts.next()?, parts.next()?, parts.next()?);
    let valid = arn == "arn"
        && service == "kinesis"
        && resource.starts_with("stream/")
        && (1..=63).contains(&account.len())
        && account.bytes().all(|b| b.is_ascii_alphanumeric());
    valid.then_some(account)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ARN: &str = "arn:aws:kinesis:us-east-1:123456789012:stream/orders";
    const ID: &str = "abcdefghij0123456789-x7z";

    /// As the rules say that botocore 1.44.5 has for Kinesis.
    #[test]
    fn hosts_are_those_of_the_sdks() {
        let find = |region: &str, fips, dual_stack, plane, stream| {
            let hosts = OwnedHosts::of(region, Variant { fips, dual_stack })?;
            let host = hosts.find(plane, stream)?;
            Some(host.to_string())
        };
        let cn = "arn:aws-cn:kinesis:cn-north-1:1:stream/s";
        for (region, fips, dual_stack, plane, stream, expected) in [
            (
                "us-east-1",
                false,
                false,
                Plane::Data,
                ARN,
                "123456789012.data-kinesis.us-east-1.amazonaws.com",
            ),
            (
                "us-east-1",
                false,
                false,
                Plane::Control,
                ARN,
                "123456789012.control-kinesis.us-east-1.amazonaws.com",
            ),
            (
                "us-east-1",
                true,
                false,
                Plane::Data,
                ARN,
                "123456789012.data-kinesis-fips.us-east-1.amazonaws.com",
            ),
            (
                "us-east-1",
                false,
                true,
                Plane::Data,
                ARN,
                "123456789012.data-kinesis.us-east-1.api.aws",
            ),
            (
                "us-east-1",
                true,
                true,
                Plane::Data,
                ARN,
                "123456789012.data-kinesis-fips.us-east-1.api.aws",
            ),
            (
                "us-gov-west-1",
                true,
                false,
                Plane::Data,
                ARN,
                "123456789012.data-kinesis-fips.us-gov-west-1.amazonaws.com",
            ),
            (
                "cn-north-1",
                false,
                false,
                Plane::Control,
                cn,
                "1.control-kinesis.cn-north-1.amazonaws.com.cn",
            ),
            (
                "us-east-1",
                false,
                false,
                Plane::Data,
                ID,
                "abcdefghij0123456789.x7z.data-kinesis.us-east-1.amazonaws.com",
            ),
            (
                "us-east-1",
                true,
                true,
                Plane::Control,
                ID,
                "abcdefghij0123456789.x7z.control-kinesis-fips.us-east-1.api.aws",
            ),
        ] {
            let found = find(region, fips, dual_stack, plane, stream);
            assert_eq!(found.unwrap(), format!("https://{expected}"));
        }
        for (region, stream) in [
            ("us-iso-east-1", ARN),
            ("us-isob-east-1", ARN),
            ("us-east-1", "orders"),
            ("us-east-1", "arn:aws:kinesis:us-east-1:1.evil/:stream/s"),
            ("us-east-1", "arn:aws:kinesis:us-east-1::stream/s"),
            ("us-east-1", "arn:aws:firehose:us-east-1:1:stream/s"),
            ("us-east-1", "arn:aws:kinesis:us-east-1:1:queue/s"),
        ] {
            assert_eq!(
                find(region, false, false, Plane::Data, stream),
                None,
                "{stream}"
            );
        }
    }

    #[test]
    fn stream_ids_are_known_by_their_shape() {
        assert!(id(ID).is_some());
        for not in [
            "",
            "orders",
            "abcdefghij0123456789x7z",
            "abcdefghij0123456789-x7Z",
            "abcdefghij012345678-x7zz",
            "abcdefghij0123456789-x-z",
        ] {
            assert_eq!(id(not), None, "{not}");
        }
    }
}
