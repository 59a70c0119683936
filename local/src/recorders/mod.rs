//! Services that only take: what they get is checked against the service's limits, kept in a bounded
//! ring, and given back to a test or a person.

pub(crate) mod cloudwatch;
pub(crate) mod datum;
pub(crate) mod firehose;
pub(crate) mod form;
pub(crate) mod ring;
pub(crate) mod sts;

use crate::kinesis::Twist;
use crate::options::LocalOptions;
use crate::protocol::Protocol;
use crate::refusal::Refusal;
use crate::service::Service;
use crate::signature::Verifier;
use crate::wire::{Document, Encoding, cbor, json};
use flate2::read::GzDecoder;
use runtime::Chance;
use std::borrow::Cow;
use std::io::Read;

/// The most that a compressed body may hold: a bomb is refused when it goes beyond.
const MAX_PLAIN: usize = 16 << 20;

/// All recorders.
#[derive(Debug)]
pub(crate) struct Recorders {
    pub(crate) firehose: firehose::Firehose,
    pub(crate) cloudwatch: cloudwatch::CloudWatch,
    pub(crate) sts: sts::Sts,
}

/// One call, decoded.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asked<'d, 'a> {
    pub(crate) service: Service,
    pub(crate) operation: &'d str,
    pub(crate) protocol: Protocol,
    pub(crate) document: &'d Document<'a>,
    /// Bytes as they were sent.
    pub(crate) size: usize,
    pub(crate) caller: Option<&'d str>,
    pub(crate) twist: &'d Twist,
    /// Milliseconds since the epoch.
    pub(crate) now: u64,
    pub(crate) request_id: &'d str,
}

impl Recorders {
    pub(crate) fn new(options: &LocalOptions, chance: &Chance) -> Self {
        Self {
            firehose: firehose::Firehose::new(options, chance),
            cloudwatch: cloudwatch::CloudWatch::new(options),
            sts: sts::Sts::new(options, chance),
        }
    }

    /// The body of a good answer.
    pub(crate) fn call(
        &self,
        asked: &Asked<'_, '_>,
        verifier: &Verifier,
    ) -> Result<Vec<u8>, Refusal> {
        match asked.service {
            Service::Firehose => self.firehose.call(asked),
            Service::CloudWatch => self.cloudwatch.call(asked),
            Service::Sts => self.sts.call(asked, verifier),
            Service::Kinesis | Service::DynamoDb => {
                Err(crate::endpoint::unknown_operation(asked.operation))
            }
        }
    }
}

/// A body as it was before it was compressed.
pub(crate) fn plain<'b>(encoding: Option<&str>, body: &'b [u8]) -> Result<Cow<'b, [u8]>, Refusal> {
    match encoding {
        None | Some("" | "identity") => Ok(Cow::Borrowed(body)),
        Some("gzip") => {
            let mut plain = Vec::new();
            let bound = u64::try_from(MAX_PLAIN + 1).unwrap_or(u64::MAX);
            GzDecoder::new(body)
                .take(bound)
                .read_to_end(&mut plain)
                .map_err(|e| Refusal::serialization(format!("The body is no gzip: {e}")))?;
            if plain.len() > MAX_PLAIN {
                return Err(too_large());
            }
            Ok(Cow::Owned(plain))
        }
        Some(other) => Err(Refusal {
            status: 415,
            ..Refusal::serialization(format!("Content-Encoding '{other}' is not known"))
        }),
    }
}

fn too_large() -> Refusal {
    Refusal {
        status: 413,
        ..Refusal::new("RequestEntityTooLarge", "The request is too large.")
    }
}

/// A plain body, whichever of the protocols it is in.
pub(crate) fn decode(protocol: Protocol, body: &[u8]) -> Result<Document<'_>, Refusal> {
    let document = match protocol {
        Protocol::Query { .. } => return Ok(datum::of_form(&form::decode(body))),
        Protocol::RpcCbor | Protocol::Aws(Encoding::Cbor) => cbor::decode(body)?,
        Protocol::Json10 | Protocol::Aws(Encoding::Json) => json::decode(body)?,
    };
    match document {
        Document::Map(_) => Ok(document),
        _ => Err(Refusal::serialization("Expected a structure")),
    }
}

/// What a call names: a delivery stream, a namespace, a role.
pub(crate) fn resource(document: &Document<'_>) -> Option<String> {
    ["DeliveryStreamName", "Namespace", "RoleArn"]
        .into_iter()
        .find_map(|name| match document.get(name) {
            Some(Document::Text(text)) => Some(text.to_string()),
            _ => None,
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::Compression;
    use flate2::write::GzEncoder;
    use std::io::Write;

    fn gzip(plain: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(plain).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn a_compressed_body_is_bounded() {
        assert_eq!(&*plain(Some("gzip"), &gzip(b"hello")).unwrap(), b"hello");
        let full = vec![0; MAX_PLAIN];
        assert_eq!(plain(Some("gzip"), &gzip(&full)).unwrap().len(), MAX_PLAIN);
        let bomb = gzip(&vec![0; MAX_PLAIN + 1]);
        assert!(bomb.len() < 100_000);
        assert_eq!(plain(Some("gzip"), &bomb).unwrap_err().status, 413);
        assert!(plain(Some("gzip"), b"nonsense").is_err());
        assert_eq!(plain(Some("br"), b"x").unwrap_err().status, 415);
    }
}
