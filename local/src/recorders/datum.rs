//! Metric data, from whichever of the three wires it came by.

use crate::refusal::Refusal;
use crate::wire::Document;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::SystemTime;

/// No request nests deeper.
const MAX_DEPTH: usize = 16;

/// A datum of CloudWatch, as it was taken.
#[derive(Debug, Clone, PartialEq)]
pub struct MetricDatum {
    /// The namespace.
    pub namespace: String,
    /// The metric's name.
    pub name: String,
    /// Its dimensions, in the order they were sent.
    pub dimensions: Vec<(String, String)>,
    /// What was measured.
    pub value: MetricValue,
    /// Its unit; none counts as `None`.
    pub unit: Option<String>,
    /// Seconds: 1 or 60.
    pub resolution: u64,
    /// The time it is for: the time it came, where it names none.
    pub timestamp: SystemTime,
}

/// What a datum says.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum MetricValue {
    /// One value.
    Single(f64),
    /// A summary of several.
    Statistics {
        /// How many.
        count: f64,
        /// Their sum.
        sum: f64,
        /// The smallest.
        minimum: f64,
        /// The largest.
        maximum: f64,
    },
    /// Values, and how often each occurred.
    Values(Vec<(f64, f64)>),
}

/// A form as the document that it stands for: `A.member.1.B=x` is item 1 of list `A`, its member `B`.
pub(super) fn of_form(pairs: &[(String, String)]) -> Document<'static> {
    let mut root = Node::default();
    for (key, value) in pairs {
        if key.split('.').count() > MAX_DEPTH {
            continue;
        }
        let mut node = &mut root;
        for part in key.split('.') {
            node = node.children.entry(part.to_owned()).or_default();
        }
        node.value = Some(value.clone());
    }
    root.into_document()
}

#[derive(Default)]
struct Node {
    value: Option<String>,
    children: BTreeMap<String, Node>,
}

impl Node {
    fn into_document(mut self) -> Document<'static> {
        if let Some(value) = self.value {
            return Document::Text(Cow::Owned(value));
        }
        if self.children.len() == 1
            && let Some(list) = self.children.remove("member")
        {
            let mut items: Vec<(u64, Node)> = list
                .children
                .into_iter()
                .filter_map(|(index, node)| Some((index.parse().ok()?, node)))
                .collect();
            items.sort_by_key(|(index, _)| *index);
            return Document::List(items.into_iter().map(|(_, n)| n.into_document()).collect());
        }
        let members = self.children.into_iter();
        Document::Map(
            members
                .map(|(key, node)| (Cow::Owned(key), node.into_document()))
                .collect(),
        )
    }
}

fn invalid(text: impl Into<String>) -> Refusal {
    Refusal::new("InvalidParameterValueException", text)
}

fn missing(text: impl Into<String>) -> Refusal {
    Refusal::new("MissingRequiredParameterException", text)
}

/// A number: text in a form.
fn number(of: &Document<'_>, member: &str) -> Result<Option<f64>, Refusal> {
    #[expect(clippy::cast_precision_loss, reason = "metrics are floating point")]
    let found = match of.get(member) {
        None => return Ok(None),
        Some(Document::Integer(n)) => *n as f64,
        Some(Document::Float(n)) => *n,
        Some(Document::Text(text)) => text
            .parse()
            .map_err(|_| Refusal::serialization(format!("'{text}' at {member} is no number")))?,
        Some(_) => return Err(Refusal::serialization(format!("{member} is no number"))),
    };
    // The service's bounds: -2^360 to 2^360, and nothing that is no number.
    if !found.is_finite() || found.abs() > 2_f64.powi(360) {
        return Err(invalid(format!(
            "The value {found} for parameter {member} is invalid."
        )));
    }
    Ok(Some(found))
}

fn text<'d>(of: &'d Document<'_>, member: &str) -> Result<Option<&'d str>, Refusal> {
    match of.get(member) {
        None => Ok(None),
        Some(Document::Text(text)) => Ok(Some(text)),
        Some(_) => Err(Refusal::serialization(format!("{member} is no text"))),
    }
}

fn list<'d, 'a>(of: &'d Document<'a>, member: &str) -> Result<&'d [Document<'a>], Refusal> {
    match of.get(member) {
        None => Ok(&[]),
        Some(Document::List(items)) => Ok(items),
        // A list without items in a form.
        Some(Document::Text(text)) if text.is_empty() => Ok(&[]),
        Some(_) => Err(Refusal::serialization(format!("{member} is no list"))),
    }
}

/// Seconds since the epoch, or ISO 8601; in milliseconds.
fn timestamp(of: &Document<'_>) -> Result<Option<u64>, Refusal> {
    #[expect(
        clippy::cast_precision_loss,
        reason = "seconds are exact far beyond any date"
    )]
    let seconds = match of.get("Timestamp") {
        None => return Ok(None),
        Some(Document::Integer(seconds)) => *seconds as f64,
        Some(Document::Float(seconds) | Document::Timestamp(seconds)) => *seconds,
        Some(Document::Text(text)) => {
            return iso_millis(text).map(Some).ok_or_else(|| {
                invalid(format!(
                    "The value {text} for parameter MetricData.member.1.Timestamp is invalid."
                ))
            });
        }
        Some(_) => return Err(Refusal::serialization("Timestamp is no time")),
    };
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a float cast saturates: times before the epoch are refused as too old"
    )]
    Ok(Some((seconds * 1_000.0).round() as u64))
}

/// `2023-11-14T22:13:20Z`, with or without a fraction of the second.
fn iso_millis(text: &str) -> Option<u64> {
    let text = text.strip_suffix('Z').or(text.strip_suffix("+00:00"))?;
    let (date, time) = text.split_once('T')?;
    let (time, fraction) = time.split_once('.').unwrap_or((time, ""));
    let three = |text: &str, mark: char| -> Option<[u64; 3]> {
        let mut parts = text.split(mark).map(|part| part.parse().ok());
        let found = [parts.next()??, parts.next()??, parts.next()??];
        parts.next().is_none().then_some(found)
    };
    let millis = match fraction {
        "" => 0,
        digits => format!("{digits:0<3}").get(..3)?.parse().ok()?,
    };
    Some(crate::http::date::to_millis(three(date, '-')?, three(time, ':')?)? + millis)
}

/// How much of one datum the service takes.
const MAX_DIMENSIONS: usize = 30;
const MAX_VALUES: usize = 150;
/// A datum may be so old, and so far ahead, in milliseconds.
const OLDEST: u64 = 14 * 86_400 * 1_000;
const NEWEST: u64 = 2 * 3_600 * 1_000;

const UNITS: [&str; 27] = [
    "Seconds",
    "Microseconds",
    "Milliseconds",
    "Bytes",
    "Kilobytes",
    "Megabytes",
    "Gigabytes",
    "Terabytes",
    "Bits",
    "Kilobits",
    "Megabits",
    "Gigabits",
    "Terabits",
    "Percent",
    "Count",
    "Bytes/Second",
    "Kilobytes/Second",
    "Megabytes/Second",
    "Gigabytes/Second",
    "Terabytes/Second",
    "Bits/Second",
    "Kilobits/Second",
    "Megabits/Second",
    "Gigabits/Second",
    "Terabits/Second",
    "Count/Second",
    "None",
];

/// All data of a request, checked.
pub(super) fn of_request(document: &Document<'_>, now: u64) -> Result<Vec<MetricDatum>, Refusal> {
    let namespace = text(document, "Namespace")?
        .ok_or_else(|| missing("The parameter Namespace is required."))?;
    if namespace.is_empty()
        || namespace.chars().count() > 255
        || namespace.starts_with(':')
        || namespace.starts_with("AWS/")
    {
        return Err(invalid(format!(
            "The value {namespace} for parameter Namespace is invalid."
        )));
    }
    let mut data: Vec<&Document<'_>> = list(document, "MetricData")?.iter().collect();
    for entity in list(document, "EntityMetricData")? {
        data.extend(list(entity, "MetricData")?);
    }
    if data.is_empty() {
        return Err(missing("The parameter MetricData is required."));
    }
    if data.len() > super::cloudwatch::MAX_DATA {
        return Err(invalid(format!(
            "The collection MetricData must not have a size greater than {}.",
            super::cloudwatch::MAX_DATA
        )));
    }
    data.into_iter()
        .enumerate()
        .map(|(i, datum)| {
            of_datum(
                namespace,
                datum,
                &format!("MetricData.member.{}", i + 1),
                now,
            )
        })
        .collect()
}

fn of_datum(
    namespace: &str,
    datum: &Document<'_>,
    path: &str,
    now: u64,
) -> Result<MetricDatum, Refusal> {
    let name = text(datum, "MetricName")?
        .ok_or_else(|| missing(format!("The parameter {path}.MetricName is required.")))?;
    let bounded = |member: &str, value: &str, most: usize| match value.chars().count() {
        0 => Err(invalid(format!(
            "The parameter {path}.{member} must be longer than 0 characters."
        ))),
        length if length > most => Err(invalid(format!(
            "The parameter {path}.{member} must be shorter than {} characters.",
            most + 1
        ))),
        _ => Ok(()),
    };
    bounded("MetricName", name, 255)?;
    let mut dimensions = Vec::new();
    let found = list(datum, "Dimensions")?;
    if found.len() > MAX_DIMENSIONS {
        return Err(invalid(format!(
            "The collection {path}.Dimensions must not have a size greater than {MAX_DIMENSIONS}."
        )));
    }
    for dimension in found {
        let part = |member: &str| {
            text(dimension, member)?.ok_or_else(|| {
                missing(format!(
                    "The parameter {path}.Dimensions.{member} is required."
                ))
            })
        };
        let (name, value) = (part("Name")?, part("Value")?);
        bounded("Dimensions.Name", name, 255)?;
        bounded("Dimensions.Value", value, 1_024)?;
        dimensions.push((name.to_owned(), value.to_owned()));
    }
    let unit = text(datum, "Unit")?;
    if let Some(unit) = unit.filter(|unit| !UNITS.contains(unit)) {
        return Err(invalid(format!(
            "The value {unit} for parameter {path}.Unit is invalid."
        )));
    }
    let resolution = match number(datum, "StorageResolution")? {
        None => 60,
        Some(1.0) => 1,
        Some(60.0) => 60,
        Some(other) => {
            return Err(invalid(format!(
                "The value {other} for parameter {path}.StorageResolution is invalid."
            )));
        }
    };
    let at = timestamp(datum)?.unwrap_or(now);
    if at.saturating_add(OLDEST) < now || at > now.saturating_add(NEWEST) {
        return Err(invalid(format!(
            "The value {} for parameter {path}.Timestamp is invalid: it must be at most two weeks \
             old, and at most two hours ahead.",
            crate::http::date::iso(at)
        )));
    }
    Ok(MetricDatum {
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        dimensions,
        value: value_of(datum, path)?,
        unit: unit.map(str::to_owned),
        resolution,
        timestamp: runtime::time::from_epoch_millis(at),
    })
}

fn value_of(datum: &Document<'_>, path: &str) -> Result<MetricValue, Refusal> {
    let single = number(datum, "Value")?;
    let statistics = datum.get("StatisticValues");
    let values = list(datum, "Values")?;
    let ways = usize::from(single.is_some())
        + usize::from(statistics.is_some())
        + usize::from(!values.is_empty());
    if ways > 1 {
        return Err(Refusal::new(
            "InvalidParameterCombinationException",
            format!(
                "The parameters {path}.Value, {path}.StatisticValues and {path}.Values are \
                 mutually exclusive and you have specified more than one."
            ),
        ));
    }
    if let Some(value) = single {
        return Ok(MetricValue::Single(value));
    }
    if let Some(set) = statistics {
        let part = |member: &str| {
            number(set, member)?.ok_or_else(|| {
                missing(format!(
                    "The parameter {path}.StatisticValues.{member} is required."
                ))
            })
        };
        let (count, sum) = (part("SampleCount")?, part("Sum")?);
        let (minimum, maximum) = (part("Minimum")?, part("Maximum")?);
        if minimum > maximum || count <= 0.0 {
            return Err(invalid(format!(
                "The value for parameter {path}.StatisticValues is invalid."
            )));
        }
        return Ok(MetricValue::Statistics {
            count,
            sum,
            minimum,
            maximum,
        });
    }
    if values.is_empty() {
        return Err(missing(format!(
            "At least one of the parameters {path}.Value, {path}.Values or \
             {path}.StatisticValues must be specified."
        )));
    }
    if values.len() > MAX_VALUES {
        return Err(invalid(format!(
            "The collection {path}.Values must not have a size greater than {MAX_VALUES}."
        )));
    }
    let counts = list(datum, "Counts")?;
    if !counts.is_empty() && counts.len() != values.len() {
        return Err(invalid(format!(
            "The parameters {path}.Values and {path}.Counts must have the same size."
        )));
    }
    let of_item = |item: &Document<'_>, member: &str| {
        let holder = Document::Map(vec![(Cow::Borrowed("it"), item.clone())]);
        number(&holder, "it")?
            .ok_or_else(|| Refusal::serialization(format!("null in {path}.{member}")))
    };
    let mut pairs = Vec::with_capacity(values.len());
    for (i, value) in values.iter().enumerate() {
        let count = counts.get(i).map_or(Ok(1.0), |c| of_item(c, "Counts"))?;
        pairs.push((of_item(value, "Values")?, count));
    }
    Ok(MetricValue::Values(pairs))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recorders::form;
    use crate::wire::json;

    #[test]
    fn times_of_forms_are_read() {
        let cases = [
            ("2023-11-14T22:13:20Z", Some(1_700_000_000_000)),
            ("2023-11-14T22:13:20.5Z", Some(1_700_000_000_500)),
            ("2023-11-14T22:13:20.123456+00:00", Some(1_700_000_000_123)),
            ("2023-11-14", None),
            ("2023-11-14T22:13", None),
            ("2023-11-14T22:13:20-05:00", None),
        ];
        for (text, millis) in cases {
            assert_eq!(iso_millis(text), millis, "{text}");
        }
    }

    #[test]
    fn a_form_is_the_document_it_stands_for() {
        let pairs = form::decode(
            b"Namespace=N&D.member.2.A=2&D.member.10.A=10&D.member.1.A=1&S.B=x&D.member.1.C.member.1=7",
        );
        let expected: &[u8] =
            br#"{"D":[{"A":"1","C":["7"]},{"A":"2"},{"A":"10"}],"Namespace":"N","S":{"B":"x"}}"#;
        assert_eq!(of_form(&pairs), json::decode(expected).unwrap());
        // Depth is bounded, and such a pair is nobody's member.
        let deep = "a.".repeat(100_000);
        assert_eq!(of_form(&[(deep, "x".to_owned())]), Document::Map(vec![]));
    }
}
