//! Amazon CloudWatch: takes metric data, and keeps the last of them.

use super::datum::{self, MetricDatum, MetricValue};
use super::ring::Ring;
use super::{Asked, too_large};
use crate::endpoint::unknown_operation;
use crate::options::LocalOptions;
use crate::protocol::{CLOUDWATCH_NAMESPACE, Protocol};
use crate::refusal::Refusal;

/// Data of one request.
pub(super) const MAX_DATA: usize = 1_000;
/// Bytes of one request, as it is sent: 1 MB.
const MAX_BODY: usize = 1 << 20;
/// Bytes that are kept beside the bound of items.
const MAX_KEPT: usize = 64 << 20;

#[derive(Debug)]
pub(crate) struct CloudWatch {
    pub(crate) kept: Ring<MetricDatum>,
}

impl CloudWatch {
    pub(super) fn new(options: &LocalOptions) -> Self {
        Self {
            kept: Ring::new(options.recorded, MAX_KEPT),
        }
    }

    pub(super) fn call(&self, asked: &Asked<'_, '_>) -> Result<Vec<u8>, Refusal> {
        if asked.operation != "PutMetricData" {
            return Err(unknown_operation(asked.operation));
        }
        if asked.size > MAX_BODY {
            return Err(too_large());
        }
        // All or nothing: a request with one bad datum leaves no trace.
        for datum in datum::of_request(asked.document, asked.now)? {
            self.kept.push(size(&datum), datum);
        }
        Ok(match asked.protocol {
            Protocol::Query { .. } => format!(
                "<PutMetricDataResponse xmlns=\"{CLOUDWATCH_NAMESPACE}\"><ResponseMetadata>\
                 <RequestId>{}</RequestId></ResponseMetadata></PutMetricDataResponse>",
                asked.request_id
            )
            .into_bytes(),
            // An empty map.
            Protocol::RpcCbor => vec![0xbf, 0xff],
            Protocol::Json10 | Protocol::Aws(_) => b"{}".to_vec(),
        })
    }
}

/// About what a datum takes in memory.
fn size(datum: &MetricDatum) -> usize {
    let dimensions: usize = datum
        .dimensions
        .iter()
        .map(|(n, v)| n.len() + v.len() + 48)
        .sum();
    let values = match &datum.value {
        MetricValue::Values(values) => values.len() * 16,
        _ => 0,
    };
    128 + datum.namespace.len() + datum.name.len() + dimensions + values
}
