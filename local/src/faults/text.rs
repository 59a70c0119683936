//! Faults as text: `KEY=VALUE` items separated by commas on the command line, and the same keys as
//! members of a JSON object on the control path.
//!
//! | Key | Means |
//! | --- | --- |
//! | `op` | the operation, `*` (the default) for all |
//! | `service` | `kinesis`, `dynamodb`, `firehose`, `cloudwatch`, `sts` |
//! | `on` | the stream or table the call names |
//! | `shard` | the shard the call names, itself or by its iterator |
//! | `caller` | the access key id the call is signed with |
//! | `nth` | the nth matching call, once; without it every matching call |
//! | `times` | how often it strikes at most |
//! | `probability` | from 0 to 1 |
//!
//! and one action: `delay=250ms`, `error=CODE[:STATUS[:MESSAGE]]`, `status=503`, `throttle`,
//! `drop=before`, `drop=after`, `truncate=BYTES`, `trickle=BYTES:PAUSE`, `split=EVERY[:CODE]`,
//! `expire-iterator`, `fail-subscription=AFTER:CODE[:MESSAGE]`, `silence-subscription=AFTER` (events),
//! `skew-date=-20m`, `conflict`, `stale`, `index-creating=POLLS`,
//! `partition=ACCESS_KEY_ID`.

use super::{Fault, FaultAction, FaultStatus, Nth};
use crate::service::Service;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::str::FromStr;
use std::time::Duration;

const MATCHES: &str = "op, service, on, shard, caller, nth, times, probability";
const ACTIONS: &str = "delay, error, status, throttle, drop, truncate, trickle, split, \
    expire-iterator, fail-subscription, silence-subscription, skew-date, conflict, stale, index-creating, partition";

const DEFAULT_TEXT: &str = "A scripted fault.";

/// Why a text is no fault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FaultSyntax {
    /// A key that faults do not have.
    #[error("'{0}' is no key of a fault: it takes {MATCHES}, and one of {ACTIONS}")]
    UnknownKey(String),
    /// A key that comes twice.
    #[error("'{0}' comes twice in one fault")]
    Twice(String),
    /// A value that its key does not take.
    #[error("'{key}={value}': expected {wanted}")]
    Value {
        /// The key.
        key: String,
        /// What was given.
        value: String,
        /// What it takes.
        wanted: &'static str,
    },
    /// Nothing says what happens.
    #[error("'{0}' does not say what happens: it needs one of {ACTIONS}")]
    NoAction(String),
    /// Two things are to happen.
    #[error("'{first}' and '{second}' in one fault: add two faults")]
    TwoActions {
        /// One action's key.
        first: String,
        /// The other's.
        second: String,
    },
    /// What came is no JSON object of texts and numbers.
    #[error(
        "a fault is a JSON object of texts, numbers and true, such as \
        {{\"op\": \"PutRecords\", \"nth\": 3, \"drop\": \"after\"}}: {0}"
    )]
    Json(String),
}

impl FromStr for Fault {
    type Err = FaultSyntax;

    /// Reads items `KEY=VALUE` separated by commas: `op=PutRecords,nth=3,error=InternalFailure:500`.
    /// Values hold no commas; JSON on the control path has no such bound.
    fn from_str(text: &str) -> Result<Self, FaultSyntax> {
        let mut items = BTreeMap::new();
        for item in text.split(',').map(str::trim).filter(|i| !i.is_empty()) {
            let (key, value) = item.split_once('=').unwrap_or((item, ""));
            let (key, value) = (key.trim().to_owned(), value.trim().to_owned());
            if items.insert(key.clone(), value).is_some() {
                return Err(FaultSyntax::Twice(key));
            }
        }
        of_items(&items, text)
    }
}

/// Reads faults from JSON: an object, or a list of objects.
pub(crate) fn of_json(body: &[u8]) -> Result<Vec<Fault>, FaultSyntax> {
    let tree: Value = serde_json::from_slice(body).map_err(|e| FaultSyntax::Json(e.to_string()))?;
    match tree {
        Value::Array(faults) => faults.into_iter().map(of_object).collect(),
        fault => Ok(vec![of_object(fault)?]),
    }
}

fn of_object(tree: Value) -> Result<Fault, FaultSyntax> {
    let text = tree.to_string();
    let Value::Object(members) = tree else {
        return Err(FaultSyntax::Json(format!("found {text}")));
    };
    let mut items = BTreeMap::new();
    for (key, value) in members {
        let value = match value {
            Value::String(value) => value,
            Value::Number(value) => value.to_string(),
            Value::Bool(true) => String::new(),
            Value::Bool(false) | Value::Null => continue,
            other => return Err(FaultSyntax::Json(format!("'{key}' is {other}"))),
        };
        items.insert(key, value);
    }
    of_items(&items, &text)
}

fn of_items(items: &BTreeMap<String, String>, whole: &str) -> Result<Fault, FaultSyntax> {
    let mut fault = Fault::every("*", FaultAction::Refuse);
    let mut action: Option<&str> = None;
    for (key, value) in items {
        let item = Item { key, value };
        match key.as_str() {
            "op" => fault.operation = item.word()?,
            "service" => {
                let wanted = "kinesis, dynamodb, firehose, cloudwatch or sts";
                fault.service = Some(Service::named(value).ok_or_else(|| item.wrong(wanted))?);
            }
            "on" => fault.resource = Some(item.word()?),
            "shard" => fault.shard = Some(item.word()?),
            "caller" => fault.caller = Some(item.word()?),
            "nth" => match item.number("a number from 1")? {
                0 => return Err(item.wrong("a number from 1")),
                nth => fault.nth = Nth::Once(nth),
            },
            "times" => fault.times = Some(item.number("a number")?),
            "probability" => {
                fault.probability = value
                    .parse()
                    .ok()
                    .filter(|p| (0.0..=1.0).contains(p))
                    .ok_or_else(|| item.wrong("a number from 0 to 1"))?;
            }
            _ => {
                fault.action = item.action()?;
                if let Some(first) = action {
                    return Err(FaultSyntax::TwoActions {
                        first: first.to_owned(),
                        second: key.clone(),
                    });
                }
                action = Some(key);
                if key == "partition" {
                    fault.caller = Some(item.word()?);
                }
            }
        }
    }
    match action {
        None => Err(FaultSyntax::NoAction(whole.to_owned())),
        Some("partition") if items.contains_key("caller") => Err(FaultSyntax::TwoActions {
            first: "caller".to_owned(),
            second: "partition".to_owned(),
        }),
        Some(_) => Ok(fault),
    }
}

/// One key and its value.
struct Item<'a> {
    key: &'a str,
    value: &'a str,
}

impl Item<'_> {
    fn wrong(&self, wanted: &'static str) -> FaultSyntax {
        FaultSyntax::Value {
            key: self.key.to_owned(),
            value: self.value.to_owned(),
            wanted,
        }
    }

    fn word(&self) -> Result<String, FaultSyntax> {
        if self.value.is_empty() {
            return Err(self.wrong("a name"));
        }
        Ok(self.value.to_owned())
    }

    fn number<T: FromStr>(&self, wanted: &'static str) -> Result<T, FaultSyntax> {
        self.value.parse().map_err(|_| self.wrong(wanted))
    }

    fn flag(&self, action: FaultAction) -> Result<FaultAction, FaultSyntax> {
        match self.value {
            "" | "true" => Ok(action),
            _ => Err(self.wrong("no value")),
        }
    }

    fn action(&self) -> Result<FaultAction, FaultSyntax> {
        match self.key {
            "delay" => {
                let delay = duration(self.value);
                let delay = delay.ok_or_else(|| self.wrong("a time such as 250ms, 3s, 2m"))?;
                Ok(FaultAction::Delay(delay))
            }
            "error" => self.error(),
            "status" => {
                let wanted = "an HTTP status from 200 to 599";
                let status = self.number(wanted)?;
                match status {
                    200..=599 => Ok(FaultAction::Status(status)),
                    _ => Err(self.wrong(wanted)),
                }
            }
            "throttle" => self.flag(FaultAction::Throttle),
            "drop" => match self.value {
                "before" => Ok(FaultAction::Refuse),
                "after" => Ok(FaultAction::LoseAnswer),
                _ => Err(self.wrong("before or after (the effect)")),
            },
            "partition" => Ok(FaultAction::Refuse),
            "truncate" => Ok(FaultAction::Truncate(self.number("a number of bytes")?)),
            "trickle" => {
                let wanted = "BYTES:PAUSE such as 16:100ms";
                let read = || {
                    let (bytes, every) = self.value.split_once(':')?;
                    Some(FaultAction::Trickle {
                        bytes: bytes.parse().ok()?,
                        every: duration(every)?,
                    })
                };
                read().ok_or_else(|| self.wrong(wanted))
            }
            "split" => {
                let wanted = "EVERY:CODE such as 3:InternalFailure";
                let (every, code) = match self.value.split_once(':') {
                    Some((every, code)) => (every, code),
                    None => (self.value, "ProvisionedThroughputExceededException"),
                };
                match every.parse() {
                    Ok(every) if every > 0 && !code.is_empty() => Ok(FaultAction::SplitEntries {
                        every,
                        code: code.to_owned(),
                    }),
                    _ => Err(self.wrong(wanted)),
                }
            }
            "expire-iterator" => self.flag(FaultAction::ExpireIterator),
            "fail-subscription" => {
                let mut parts = self.value.splitn(3, ':');
                let after = parts.next().and_then(|after| after.parse().ok());
                match (after, parts.next()) {
                    (Some(after), Some(code)) if !code.is_empty() => {
                        Ok(FaultAction::FailSubscription {
                            after,
                            code: code.to_owned(),
                            message: parts.next().unwrap_or(DEFAULT_TEXT).to_owned(),
                        })
                    }
                    _ => Err(self.wrong("AFTER:CODE[:MESSAGE] such as 2:InternalFailureException")),
                }
            }
            "silence-subscription" => Ok(FaultAction::SilenceSubscription {
                after: self.number("a number of events")?,
            }),
            "skew-date" => self.skew(),
            "conflict" => self.flag(FaultAction::TransactionConflict),
            "stale" => self.flag(FaultAction::StaleRead),
            "index-creating" => Ok(FaultAction::IndexCreating {
                polls: self.number("a number of polls")?,
            }),
            other => Err(FaultSyntax::UnknownKey(other.to_owned())),
        }
    }

    fn error(&self) -> Result<FaultAction, FaultSyntax> {
        let mut parts = self.value.splitn(3, ':');
        let wanted = "CODE[:STATUS[:MESSAGE]] such as InternalFailure:500";
        let code = parts.next().unwrap_or_default();
        let status = match parts.next() {
            None => Ok(400),
            Some(status) => status.parse(),
        };
        match status {
            Ok(status @ 200..=599) if !code.is_empty() => Ok(FaultAction::Error {
                status,
                code: code.to_owned(),
                message: parts.next().unwrap_or(DEFAULT_TEXT).to_owned(),
            }),
            _ => Err(self.wrong(wanted)),
        }
    }

    fn skew(&self) -> Result<FaultAction, FaultSyntax> {
        let (back, length) = match self.value.strip_prefix('-') {
            Some(length) => (true, length),
            None => (false, self.value.trim_start_matches('+')),
        };
        let seconds = duration(length)
            .and_then(|d| i64::try_from(d.as_secs()).ok())
            .ok_or_else(|| self.wrong("a time such as -20m or 3600s"))?;
        Ok(FaultAction::SkewDate(if back { -seconds } else { seconds }))
    }
}

/// Reads `250ms`, `3s`, `2m`, `1h`.
fn duration(text: &str) -> Option<Duration> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at_checked(digits)?;
    let number: u64 = number.parse().ok()?;
    Some(Duration::from_millis(number.checked_mul(match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return None,
    })?))
}

/// A fault as the control path lists it: what was added, and what became of it.
pub(crate) fn to_json(status: &FaultStatus) -> Value {
    let mut object = of_fault(&status.fault);
    object.insert("id".to_owned(), json!(status.id.number()));
    object.insert("seen".to_owned(), json!(status.seen));
    object.insert("struck".to_owned(), json!(status.struck));
    object.insert("waiting".to_owned(), json!(status.waiting));
    Value::Object(object)
}

fn of_fault(fault: &Fault) -> Map<String, Value> {
    let mut object = Map::new();
    let mut set = |key: &str, value: Value| {
        object.insert(key.to_owned(), value);
    };
    set("op", json!(fault.operation));
    if let Nth::Once(nth) = fault.nth {
        set("nth", json!(nth));
    }
    if let Some(service) = fault.service {
        set("service", json!(service.name()));
    }
    for (key, value) in [
        ("on", &fault.resource),
        ("shard", &fault.shard),
        ("caller", &fault.caller),
    ] {
        if let Some(value) = value {
            set(key, json!(value));
        }
    }
    if fault.probability < 1.0 {
        set("probability", json!(fault.probability));
    }
    if let Some(times) = fault.times {
        set("times", json!(times));
    }
    let (key, value) = of_action(&fault.action);
    set(key, value);
    object
}

fn of_action(action: &FaultAction) -> (&'static str, Value) {
    match action {
        FaultAction::Error {
            status,
            code,
            message,
        } => ("error", json!(format!("{code}:{status}:{message}"))),
        FaultAction::Status(status) => ("status", json!(status)),
        FaultAction::Throttle => ("throttle", json!(true)),
        FaultAction::LoseAnswer => ("drop", json!("after")),
        FaultAction::Refuse => ("drop", json!("before")),
        FaultAction::Truncate(bytes) => ("truncate", json!(bytes)),
        FaultAction::Trickle { bytes, every } => {
            ("trickle", json!(format!("{bytes}:{}ms", every.as_millis())))
        }
        FaultAction::Delay(delay) => ("delay", json!(format!("{}ms", delay.as_millis()))),
        FaultAction::SplitEntries { every, code } => ("split", json!(format!("{every}:{code}"))),
        FaultAction::ExpireIterator => ("expire-iterator", json!(true)),
        FaultAction::FailSubscription {
            after,
            code,
            message,
        } => (
            "fail-subscription",
            json!(format!("{after}:{code}:{message}")),
        ),
        FaultAction::SilenceSubscription { after } => ("silence-subscription", json!(after)),
        FaultAction::SkewDate(seconds) => ("skew-date", json!(format!("{seconds}s"))),
        FaultAction::TransactionConflict => ("conflict", json!(true)),
        FaultAction::StaleRead => ("stale", json!(true)),
        FaultAction::IndexCreating { polls } => ("index-creating", json!(polls)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(status: u16, code: &str, message: &str) -> FaultAction {
        FaultAction::Error {
            status,
            code: code.to_owned(),
            message: message.to_owned(),
        }
    }

    /// Each form of the grammar, and what it means.
    #[test]
    fn text_is_read() {
        let every = |action| Fault::every("*", action);
        let cases = [
            (
                "op=PutRecords,nth=3,error=InternalFailure:500",
                Fault::nth(
                    "PutRecords",
                    3,
                    error(500, "InternalFailure", "A scripted fault."),
                ),
            ),
            (
                "error=X:400:it said: no",
                every(error(400, "X", "it said: no")),
            ),
            ("error=X", every(error(400, "X", "A scripted fault."))),
            (
                "service=dynamodb, op=UpdateItem, on=leases, probability=0.25, throttle",
                Fault::every("UpdateItem", FaultAction::Throttle)
                    .of(Service::DynamoDb)
                    .on("leases")
                    .with_probability(0.25),
            ),
            (
                "shard=shardId-000000000001,caller=AKID,times=2,drop=before",
                every(FaultAction::Refuse)
                    .shard("shardId-000000000001")
                    .by("AKID")
                    .times(2),
            ),
            ("drop=after", every(FaultAction::LoseAnswer)),
            ("partition=AKID", Fault::partition("AKID")),
            ("status=503", every(FaultAction::Status(503))),
            (
                "delay=2m",
                every(FaultAction::Delay(Duration::from_secs(120))),
            ),
            ("truncate=10", every(FaultAction::Truncate(10))),
            (
                "trickle=16:100ms",
                every(FaultAction::Trickle {
                    bytes: 16,
                    every: Duration::from_millis(100),
                }),
            ),
            (
                "split=3",
                every(FaultAction::SplitEntries {
                    every: 3,
                    code: "ProvisionedThroughputExceededException".to_owned(),
                }),
            ),
            ("expire-iterator", every(FaultAction::ExpireIterator)),
            (
                "fail-subscription=2:InternalFailureException:gone",
                every(FaultAction::FailSubscription {
                    after: 2,
                    code: "InternalFailureException".to_owned(),
                    message: "gone".to_owned(),
                }),
            ),
            (
                "silence-subscription=0",
                every(FaultAction::SilenceSubscription { after: 0 }),
            ),
            ("skew-date=-20m", every(FaultAction::SkewDate(-1_200))),
            ("skew-date=+1h", every(FaultAction::SkewDate(3_600))),
            ("conflict", every(FaultAction::TransactionConflict)),
            ("stale", every(FaultAction::StaleRead)),
            (
                "op=UpdateTable,index-creating=3",
                Fault::every("UpdateTable", FaultAction::IndexCreating { polls: 3 }),
            ),
        ];
        for (text, fault) in cases {
            assert_eq!(text.parse::<Fault>().unwrap(), fault, "{text}");
            // What is listed can be added again.
            let listed = Value::Object(of_fault(&fault)).to_string();
            assert_eq!(of_json(listed.as_bytes()).unwrap(), [fault], "{listed}");
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, named) in [
            ("", "''"),
            ("op=PutRecords", "op=PutRecords"),
            ("opp=PutRecords,throttle", "'opp'"),
            ("nth=0,throttle", "'nth=0'"),
            ("nth=x,throttle", "'nth=x'"),
            ("op=,throttle", "'op='"),
            ("probability=1.5,throttle", "'probability=1.5'"),
            ("service=s3,throttle", "'service=s3'"),
            ("throttle,stale", "'throttle'"),
            ("throttle=no", "'throttle=no'"),
            ("nth=1,nth=2,throttle", "'nth'"),
            ("delay=3", "'delay=3'"),
            ("delay=99999999999999999999h", "'delay="),
            ("error=:500", "'error=:500'"),
            ("error=X:99", "'error=X:99'"),
            ("status=42", "'status=42'"),
            ("drop", "'drop='"),
            ("trickle=4", "'trickle=4'"),
            ("split=0:X", "'split=0:X'"),
            ("fail-subscription=2", "'fail-subscription=2'"),
            ("skew-date=soon", "'skew-date=soon'"),
            ("partition=", "'partition='"),
            ("partition=A,caller=B", "'caller'"),
        ] {
            let error = text.parse::<Fault>().unwrap_err().to_string();
            assert!(error.contains(named), "{text}: {error}");
        }
        for (body, named) in [
            ("nonsense", "expected"),
            ("3", "found 3"),
            (r#"{"op": {}, "throttle": true}"#, "'op'"),
            (r#"[{"throttle": true}, {"op": "X"}]"#, "does not say"),
        ] {
            let error = of_json(body.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(named), "{body}: {error}");
        }
    }
}
