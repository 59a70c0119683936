//! Requests, as pure functions: JSON 1.0, compressed above a size.

use super::Datum;
use crate::sign::Payload;
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use serde::Serialize;
use std::borrow::Cow;
use std::collections::VecDeque;
use std::io::Write;

/// Data of one request.
const MOST_DATA: usize = 1_000;
/// Bytes of one request before it is compressed. The service's limit is 1 MB as it is sent.
const MOST_BYTES: usize = 1_000_000 - 1_024;
/// What is larger is compressed.
const PLAIN: usize = 10 << 10;
/// The largest number that the service takes.
const LARGEST: f64 =
    2_348_542_582_773_833_227_889_480_596_789_337_027_375_682_548_908_319_870_707_290_971_532_209_025_114_608_443_463_698_998_384_768_703_031_934_976.0;
/// Dimensions of one datum, and characters of a value.
const MOST_DIMENSIONS: usize = 30;
const LONGEST_NAME: usize = 255;
const LONGEST_VALUE: usize = 1_024;

/// One request's body, ready to be sent as often as it takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Body {
    pub(super) bytes: Bytes,
    pub(super) compressed: bool,
    /// How many data it has.
    pub(super) data: usize,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct WireDatum<'d> {
    metric_name: Cow<'d, str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    dimensions: Vec<WireDimension<'d>>,
    timestamp: f64,
    statistic_values: WireStatistics,
    unit: &'static str,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct WireDimension<'d> {
    name: Cow<'d, str>,
    value: Cow<'d, str>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct WireStatistics {
    sample_count: f64,
    sum: f64,
    minimum: f64,
    maximum: f64,
}

impl Body {
    /// The request with the first of the data, as many as fit into one, which are taken away; none
    /// when nothing is left.
    pub(super) fn of_first(namespace: &str, data: &mut VecDeque<Datum>) -> Option<Self> {
        let namespace = serde_json::to_string(namespace).unwrap_or_default();
        let mut json = format!("{{\"Namespace\":{namespace},\"MetricData\":[").into_bytes();
        let mut count = 0;
        while let Some(datum) = data.front() {
            if count == MOST_DATA {
                break;
            }
            let encoded = encoded(datum);
            // A single one is smaller than a request may be.
            if count > 0 && json.len() + encoded.len() > MOST_BYTES {
                break;
            }
            data.pop_front();
            if encoded.is_empty() {
                continue;
            }
            if count > 0 {
                json.push(b',');
            }
            json.extend_from_slice(&encoded);
            count += 1;
        }
        if count == 0 {
            return None;
        }
        json.extend_from_slice(b"]}");
        let smaller = (json.len() > PLAIN).then(|| compressed(&json)).flatten();
        Some(Self {
            compressed: smaller.is_some(),
            bytes: smaller.unwrap_or(json).into(),
            data: count,
        })
    }
}

impl From<&Body> for Payload {
    fn from(body: &Body) -> Self {
        Self::new(body.bytes.clone().into(), body.compressed.then_some("gzip"))
    }
}

/// None when it did not work, as memory never does.
fn compressed(plain: &[u8]) -> Option<Vec<u8>> {
    let mut gzip = GzEncoder::new(Vec::with_capacity(plain.len() / 8), Compression::fast());
    gzip.write_all(plain).ok()?;
    gzip.finish().ok()
}

/// Empty for a datum without samples, which the service does not take.
fn encoded(datum: &Datum) -> Vec<u8> {
    let s = &datum.statistics;
    if s.is_empty() {
        return Vec::new();
    }
    let number = |n: f64| {
        if n.is_nan() {
            0.0
        } else {
            n.clamp(-LARGEST, LARGEST)
        }
    };
    #[expect(clippy::cast_precision_loss, reason = "numbers of JSON are floating")]
    let wire = WireDatum {
        metric_name: clean(&datum.name, LONGEST_NAME),
        dimensions: datum
            .dimensions
            .iter()
            .filter(|(_, value)| !value.trim().is_empty())
            .take(MOST_DIMENSIONS)
            .map(|(name, value)| WireDimension {
                name: dimension_name(name),
                value: clean(value, LONGEST_VALUE),
            })
            .collect(),
        timestamp: runtime::time::epoch_millis(datum.timestamp) as f64 / 1_000.0,
        statistic_values: WireStatistics {
            sample_count: s.count as f64,
            sum: number(s.sum),
            minimum: number(s.min),
            maximum: number(s.max),
        },
        unit: datum.unit.as_str(),
    };
    serde_json::to_vec(&wire).unwrap_or_default()
}

/// The service takes none that begins with a colon.
fn dimension_name(name: &str) -> Cow<'_, str> {
    match name.strip_prefix(':') {
        None => clean(name, LONGEST_NAME),
        Some(rest) => format!("?{}", clean(rest, LONGEST_NAME - 1)).into(),
    }
}

/// As the service takes it: printable ASCII of at most so many characters.
fn clean(text: &str, most: usize) -> Cow<'_, str> {
    let fine = |c: char| c == ' ' || c.is_ascii_graphic();
    if text.len() <= most && text.chars().all(fine) {
        return text.into();
    }
    let chars = text.chars().take(most);
    chars.map(|c| if fine(c) { c } else { '?' }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use runtime::metrics::{Statistics, Unit};
    use runtime::time::from_epoch_millis;
    use serde_json::json;

    fn datum(name: &str) -> Datum {
        Datum {
            name: name.to_owned(),
            dimensions: vec![("StreamName".to_owned(), "s".to_owned())],
            unit: Unit::Milliseconds,
            timestamp: from_epoch_millis(1_700_000_000_123),
            statistics: Statistics {
                count: 3,
                sum: 6.5,
                min: 1.0,
                max: 3.5,
            },
        }
    }

    fn json_of(body: &Body) -> serde_json::Value {
        if !body.compressed {
            return serde_json::from_slice(&body.bytes).unwrap();
        }
        serde_json::from_reader(flate2::read::GzDecoder::new(&body.bytes[..])).unwrap()
    }

    #[test]
    fn a_request_is_what_the_service_documents() {
        let mut odd = datum("Odd\u{7}näme");
        odd.dimensions = vec![
            ("A".to_owned(), String::new()),
            ("B".to_owned(), " ".to_owned()),
            (":C".to_owned(), "é".repeat(2_000)),
        ];
        odd.statistics = Statistics::of(f64::INFINITY, 1);
        odd.unit = Unit::BytesPerSecond;
        let mut empty = datum("Empty");
        empty.statistics = Statistics::default();
        let mut data: VecDeque<_> = [empty.clone(), datum("Time"), odd, empty].into();
        let body = Body::of_first("App \"x\"", &mut data).unwrap();
        assert_eq!((body.data, body.compressed, data.len()), (2, false, 0));
        let largest = 2_f64.powi(360);
        assert_eq!(LARGEST, largest);
        assert_eq!(
            json_of(&body),
            json!({
                "Namespace": "App \"x\"",
                "MetricData": [
                    {
                        "MetricName": "Time",
                        "Dimensions": [{"Name": "StreamName", "Value": "s"}],
                        "Timestamp": 1_700_000_000.123,
                        "StatisticValues": {"SampleCount": 3.0, "Sum": 6.5, "Minimum": 1.0, "Maximum": 3.5},
                        "Unit": "Milliseconds",
                    },
                    {
                        "MetricName": "Odd?n?me",
                        "Dimensions": [{"Name": "?C", "Value": "?".repeat(1_024)}],
                        "Timestamp": 1_700_000_000.123,
                        "StatisticValues": {"SampleCount": 1.0, "Sum": largest, "Minimum": largest, "Maximum": largest},
                        "Unit": "Bytes/Second",
                    },
                ],
            })
        );
        assert_eq!(Body::of_first("App", &mut data), None);
    }

    #[test]
    fn requests_are_cut_by_number_and_by_size_and_compressed_above_10_kib() {
        let mut many: VecDeque<_> = (0..2_500).map(|n| datum(&format!("m{n}"))).collect();
        let mut names = Vec::new();
        let mut sizes = Vec::new();
        while let Some(body) = Body::of_first("App", &mut many) {
            assert!(body.compressed && body.bytes.len() < 30_000);
            sizes.push(body.data);
            for datum in json_of(&body)["MetricData"].as_array().unwrap() {
                names.push(datum["MetricName"].as_str().unwrap().to_owned());
            }
        }
        assert_eq!(sizes, [1_000, 1_000, 500]);
        assert_eq!(names.len(), 2_500);
        assert_eq!((names[0].as_str(), names[2_499].as_str()), ("m0", "m2499"));
        let mut large = datum("large");
        large.dimensions = (0..30)
            .map(|n| (format!("d{n}"), "x".repeat(1_024)))
            .collect();
        let mut many: VecDeque<_> = std::iter::repeat_n(large, 100).collect();
        let mut sent = 0;
        while let Some(body) = Body::of_first("App", &mut many) {
            assert!(serde_json::to_vec(&json_of(&body)).unwrap().len() <= 1_000_000);
            sent += body.data;
        }
        assert_eq!(sent, 100);
        let mut few: VecDeque<_> = (0..40).map(|_| datum("m")).collect();
        assert!(!Body::of_first("App", &mut few).unwrap().compressed);
    }
}
