//! The control path: what the Rust API gives tests, for other languages and for people. JSON under
//! `/_local/`; not in the journal, not struck by faults, not signed.
//!
//! | Request | Does |
//! | --- | --- |
//! | `GET /_local/faults` | lists the faults, with how often each has struck |
//! | `POST /_local/faults` | adds one (an object) or several (a list); answers with their ids |
//! | `DELETE /_local/faults` | takes all back |
//! | `DELETE /_local/faults/ID` | takes one back; 404 when it is spent or unknown |
//! | `GET /_local/journal` | the last requests, and counts of all |
//! | `GET`, `DELETE /_local/firehose` | gives, forgets the records that were taken |
//! | `GET`, `DELETE /_local/cloudwatch` | gives, forgets the metric data that were taken |
//! | `GET`, `DELETE /_local/sts` | gives, forgets the roles that were taken on |

use crate::body::AnswerBody;
use crate::endpoint::Local;
use crate::faults::text;
use crate::journal::RequestSeen;
use crate::recorders::datum::{MetricDatum, MetricValue};
use crate::recorders::firehose::DeliveredRecord;
use crate::recorders::ring::Ring;
use crate::recorders::sts::AssumedRole;
use ::http::request::Parts;
use ::http::{HeaderValue, Method, Response, StatusCode, header};
use serde_json::{Value, json};
use std::time::SystemTime;

/// Where it begins.
pub(crate) const PREFIX: &str = "/_local/";

pub(crate) fn answer(local: &Local, head: &Parts, body: &[u8]) -> Response<AnswerBody> {
    let (status, tree) = decide(local, head, body);
    let mut response = Response::new(AnswerBody::whole(tree.to_string()));
    *response.status_mut() = status;
    let kind = HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

fn decide(local: &Local, head: &Parts, body: &[u8]) -> (StatusCode, Value) {
    let path = head.uri.path().strip_prefix(PREFIX).unwrap_or_default();
    let (place, rest) = path.split_once('/').unwrap_or((path, ""));
    match (place, &head.method, rest) {
        ("faults", method, rest) => faults(local, method, rest, head, body),
        ("journal", &Method::GET, "") => (StatusCode::OK, journal(local)),
        ("firehose", method, "") => {
            let kept = &local.recorders().firehose.kept;
            recorded(method, "records", kept, &of_record)
        }
        ("cloudwatch", method, "") => {
            let kept = &local.recorders().cloudwatch.kept;
            recorded(method, "metrics", kept, &of_datum)
        }
        ("sts", method, "") => recorded(method, "roles", &local.recorders().sts.assumed, &of_role),
        ("journal", _, "") => problem(StatusCode::METHOD_NOT_ALLOWED, "Only GET."),
        _ => problem(
            StatusCode::NOT_FOUND,
            "Known are faults, journal, firehose, cloudwatch and sts.",
        ),
    }
}

fn problem(status: StatusCode, message: impl Into<String>) -> (StatusCode, Value) {
    (status, json!({"message": message.into()}))
}

fn faults(
    local: &Local,
    method: &Method,
    rest: &str,
    head: &Parts,
    body: &[u8],
) -> (StatusCode, Value) {
    let faults = local.faults();
    match (method, rest) {
        (&Method::GET, "") => {
            let all: Vec<Value> = faults.list().iter().map(text::to_json).collect();
            let tree =
                json!({"faults": all, "waiting": faults.remaining(), "struck": faults.struck()});
            (StatusCode::OK, tree)
        }
        (&Method::POST, "") => {
            // What a web page can send unasked never has this type.
            let kind = head.headers.get(header::CONTENT_TYPE);
            let kind = kind.and_then(|k| k.to_str().ok()).unwrap_or_default();
            if kind.split(';').next().map(str::trim) != Some("application/json") {
                return problem(
                    StatusCode::UNSUPPORTED_MEDIA_TYPE,
                    "Content-Type has to be application/json.",
                );
            }
            match text::of_json(body) {
                Ok(new) => {
                    let add = |fault| faults.add(fault).number();
                    let ids: Vec<u64> = new.into_iter().map(add).collect();
                    (StatusCode::OK, json!({"ids": ids}))
                }
                Err(error) => problem(StatusCode::BAD_REQUEST, error.to_string()),
            }
        }
        (&Method::DELETE, "") => {
            faults.clear();
            (StatusCode::OK, json!({}))
        }
        (&Method::DELETE, id) => match id.parse() {
            Ok(id) if faults.remove_number(id) => (StatusCode::OK, json!({})),
            _ => problem(StatusCode::NOT_FOUND, format!("No fault '{id}' waits.")),
        },
        _ => problem(StatusCode::METHOD_NOT_ALLOWED, "Only GET, POST and DELETE."),
    }
}

fn journal(local: &Local) -> Value {
    let requests: Vec<Value> = local.journal().iter().map(of_request).collect();
    json!({
        "requests": requests,
        "dropped": local.journal_dropped(),
        "counts": local.request_counts(),
        "errors": local.error_count(),
    })
}

fn recorded<T: Clone>(
    method: &Method,
    name: &str,
    kept: &Ring<T>,
    item: &dyn Fn(&T) -> Value,
) -> (StatusCode, Value) {
    match *method {
        Method::GET => {
            let items: Vec<Value> = kept.list().iter().map(item).collect();
            let (total, dropped) = kept.counts();
            (
                StatusCode::OK,
                json!({name: items, "total": total, "dropped": dropped}),
            )
        }
        Method::DELETE => {
            kept.clear();
            (StatusCode::OK, json!({}))
        }
        _ => problem(StatusCode::METHOD_NOT_ALLOWED, "Only GET and DELETE."),
    }
}

fn millis(at: SystemTime) -> u64 {
    runtime::time::epoch_millis(at)
}

fn of_request(seen: &RequestSeen) -> Value {
    json!({
        "at": millis(seen.at),
        "tookMillis": u64::try_from(seen.took.as_millis()).unwrap_or(u64::MAX),
        "service": seen.service.map(crate::service::Service::name),
        "operation": seen.operation,
        "resource": seen.resource,
        "caller": seen.caller,
        "status": seen.status,
        "error": seen.error,
    })
}

fn of_record(record: &DeliveredRecord) -> Value {
    json!({
        "at": millis(record.at),
        "stream": record.stream,
        "recordId": record.record_id,
        "data": base64_simd::STANDARD.encode_to_string(&record.data),
    })
}

fn of_role(role: &AssumedRole) -> Value {
    json!({
        "roleArn": role.role_arn,
        "session": role.session,
        "caller": role.caller,
        "accessKeyId": role.access_key_id,
        "expires": millis(role.expires),
    })
}

fn of_datum(datum: &MetricDatum) -> Value {
    let dimensions: Vec<Value> = datum
        .dimensions
        .iter()
        .map(|(name, value)| json!({"name": name, "value": value}))
        .collect();
    let value = match &datum.value {
        MetricValue::Single(value) => json!(value),
        MetricValue::Statistics {
            count,
            sum,
            minimum,
            maximum,
        } => json!({"count": count, "sum": sum, "minimum": minimum, "maximum": maximum}),
        MetricValue::Values(values) => {
            let pair = |(value, count): &(f64, f64)| json!({"value": value, "count": count});
            Value::Array(values.iter().map(pair).collect())
        }
    };
    json!({
        "timestamp": millis(datum.timestamp),
        "namespace": datum.namespace,
        "name": datum.name,
        "dimensions": dimensions,
        "value": value,
        "unit": datum.unit,
        "resolution": datum.resolution,
    })
}
