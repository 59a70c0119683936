//! One registry of settings per crate: name, type, default, range and meaning in one place, from which
//! typed setters, string keys (files, environment) and the documentation come.
//!
//! Values may be set one after the other by key; nothing fails until [`Settings::check`], which reports
//! every problem at once, each with the key, the value and the nearest valid name.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

/// One setting.
#[derive(Debug, Clone, Copy)]
pub struct Setting {
    /// The name that users of the original know, e.g. `RecordMaxBufferedTime`.
    pub name: &'static str,
    /// Its type and range.
    pub kind: Kind,
    /// Its default, written as a user would write it; `None` = unset.
    pub default: Option<&'static str>,
    /// What it does, one or two sentences.
    pub meaning: &'static str,
}

/// The type and the range (inclusive) of a setting.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum Kind {
    /// `true` or `false`.
    Bool,
    /// A whole number.
    Integer {
        /// The smallest allowed value.
        min: u64,
        /// The largest allowed value.
        max: u64,
    },
    /// A duration, written in milliseconds.
    Millis {
        /// The shortest allowed duration in milliseconds.
        min: u64,
        /// The longest allowed duration in milliseconds.
        max: u64,
    },
    /// Text, not empty.
    Text,
    /// One of these words, upper and lower case alike.
    OneOf(&'static [&'static str]),
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bool => f.write_str("true or false"),
            Self::Integer { min, max } => write!(f, "a whole number from {min} to {max}"),
            Self::Millis { min, max } => write!(f, "milliseconds from {min} to {max}"),
            Self::Text => f.write_str("text"),
            Self::OneOf(words) => write!(f, "one of {}", words.join(", ")),
        }
    }
}

/// A checked value.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Value {
    /// Of a [`Kind::Bool`].
    Bool(bool),
    /// Of a [`Kind::Integer`], or of a [`Kind::Millis`] in milliseconds.
    Integer(u64),
    /// Of a [`Kind::Text`], or of a [`Kind::OneOf`] as the registry spells it.
    Text(String),
}

impl fmt::Display for Value {
    /// As a user writes it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bool(on) => on.fmt(f),
            Self::Integer(number) => number.fmt(f),
            Self::Text(text) => text.fmt(f),
        }
    }
}

impl From<bool> for Value {
    fn from(on: bool) -> Self {
        Self::Bool(on)
    }
}

impl From<u64> for Value {
    fn from(number: u64) -> Self {
        Self::Integer(number)
    }
}

/// Whole milliseconds; what is less than one is dropped.
impl From<Duration> for Value {
    fn from(time: Duration) -> Self {
        Self::Integer(u64::try_from(time.as_millis()).unwrap_or(u64::MAX))
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl Kind {
    /// Reads a value as a user writes it; the error says what would be right.
    fn parse(self, text: &str) -> Result<Value, String> {
        let text = text.trim();
        let expected = || format!("expected {self}");
        match self {
            Self::Bool if text.eq_ignore_ascii_case("true") => Ok(Value::Bool(true)),
            Self::Bool if text.eq_ignore_ascii_case("false") => Ok(Value::Bool(false)),
            Self::Bool => Err(expected()),
            Self::Integer { min, max } | Self::Millis { min, max } => match text.parse::<u64>() {
                Ok(n) if (min..=max).contains(&n) => Ok(Value::Integer(n)),
                _ => Err(expected()),
            },
            Self::Text if text.is_empty() => Err("must not be empty".to_owned()),
            Self::Text => Ok(Value::Text(text.to_owned())),
            Self::OneOf(words) => words
                .iter()
                .find(|word| word.eq_ignore_ascii_case(text))
                .map(|word| Value::Text((*word).to_owned()))
                .ok_or_else(expected),
        }
    }
}

/// All settings of one crate.
#[derive(Debug, Clone, Copy)]
pub struct Registry(pub &'static [Setting]);

impl Registry {
    /// The setting of this name, upper and lower case alike.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<&'static Setting> {
        self.0
            .iter()
            .find(|s| s.name.eq_ignore_ascii_case(name.trim()))
    }

    /// The valid name nearest to a wrong one, if one is near.
    #[must_use]
    pub fn nearest(&self, name: &str) -> Option<&'static str> {
        nearest(name, self.0.iter().map(|s| s.name))
    }

    /// A Markdown table of all settings: name, values, default, meaning.
    #[must_use]
    pub fn markdown(&self) -> String {
        let mut out = String::from("| Setting | Values | Default | Meaning |\n|---|---|---|---|\n");
        for s in self.0 {
            let default = s
                .default
                .map_or_else(|| "–".to_owned(), |d| format!("`{d}`"));
            out.push_str(&format!(
                "| `{}` | {} | {default} | {} |\n",
                s.name,
                s.kind,
                // A bar would begin another column.
                s.meaning.replace('|', "\\|")
            ));
        }
        out
    }
}

/// The candidate nearest to `name`, if it is near enough to be meant.
#[must_use]
pub fn nearest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let wanted = name.trim().to_ascii_lowercase();
    candidates
        .into_iter()
        .map(|c| {
            (
                strsim::damerau_levenshtein(&wanted, &c.to_ascii_lowercase()),
                c,
            )
        })
        .min()
        .filter(|(distance, c)| *distance <= 2.max(c.len() / 4))
        .map(|(_, c)| c)
}

/// One bad key or value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The key as it was given.
    pub key: String,
    /// What is wrong with it, and what would be right.
    pub reason: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.key, self.reason)
    }
}

/// Every problem of a configuration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
pub struct SettingsError(pub Vec<Problem>);

/// Values for a [`Registry`]'s settings, collected one by one and checked together.
#[derive(Debug, Clone)]
pub struct Settings {
    registry: Registry,
    values: BTreeMap<&'static str, Value>,
    problems: Vec<Problem>,
}

impl Settings {
    /// All settings at their defaults.
    #[must_use]
    pub fn new(registry: Registry) -> Self {
        Self {
            registry,
            values: BTreeMap::new(),
            problems: Vec::new(),
        }
    }

    /// Sets a value by key. A bad key or value is kept as a problem for [`Settings::check`], also when a
    /// good one follows; a later good value for the same key replaces an earlier one.
    pub fn set(&mut self, key: &str, value: &str) {
        match self.registry.find(key) {
            None => {
                let hint = self
                    .registry
                    .nearest(key)
                    .map_or_else(String::new, |near| format!("; did you mean {near}?"));
                self.problem(key, format!("unknown setting{hint}"));
            }
            Some(setting) => match setting.kind.parse(value) {
                Ok(parsed) => {
                    self.values.insert(setting.name, parsed);
                }
                Err(reason) => self.problem(key, format!("{value:?} is not valid: {reason}")),
            },
        }
    }

    /// Sets a typed value: the way of a builder's setters. Checked as [`Settings::set`] checks text: a
    /// value of another type or out of range is kept as a problem.
    pub fn set_value(&mut self, key: &str, value: impl Into<Value>) {
        self.set(key, &value.into().to_string());
    }

    /// Keeps a problem that the caller found (a combination that cannot be).
    pub fn problem(&mut self, key: &str, reason: String) {
        self.problems.push(Problem {
            key: key.to_owned(),
            reason,
        });
    }

    /// # Errors
    /// Every problem met so far, in the order met.
    pub fn check(&self) -> Result<(), SettingsError> {
        if self.problems.is_empty() {
            Ok(())
        } else {
            Err(SettingsError(self.problems.clone()))
        }
    }

    /// True when the setting was given a value.
    #[must_use]
    pub fn is_set(&self, name: &str) -> bool {
        self.registry
            .find(name)
            .is_some_and(|s| self.values.contains_key(s.name))
    }

    fn value(&self, name: &str) -> Option<Value> {
        let setting = self.registry.find(name);
        debug_assert!(setting.is_some(), "no setting {name} in the registry");
        let setting = setting?;
        self.values.get(setting.name).cloned().or_else(|| {
            let default = setting.default.map(|text| setting.kind.parse(text));
            debug_assert!(
                !matches!(default, Some(Err(_))),
                "default of {name} is not valid"
            );
            default?.ok()
        })
    }

    /// The value of a [`Kind::Bool`] setting; false when it is unset.
    #[must_use]
    pub fn bool(&self, name: &str) -> bool {
        matches!(self.value(name), Some(Value::Bool(true)))
    }

    /// The value of a [`Kind::Integer`] setting; `None` when it is unset.
    #[must_use]
    pub fn integer(&self, name: &str) -> Option<u64> {
        if let Some(Value::Integer(n)) = self.value(name) {
            Some(n)
        } else {
            None
        }
    }

    /// The value of a [`Kind::Millis`] setting; `None` when it is unset.
    #[must_use]
    pub fn duration(&self, name: &str) -> Option<Duration> {
        self.integer(name).map(Duration::from_millis)
    }

    /// The value of a [`Kind::Text`] or [`Kind::OneOf`] setting; `None` when it is unset.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<String> {
        if let Some(Value::Text(t)) = self.value(name) {
            Some(t)
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REGISTRY: Registry = Registry(&[
        Setting {
            name: "AggregationEnabled",
            kind: Kind::Bool,
            default: Some("true"),
            meaning: "Aggregates.",
        },
        Setting {
            name: "RecordMaxBufferedTime",
            kind: Kind::Millis { min: 0, max: 9_000 },
            default: Some("100"),
            meaning: "Waits.",
        },
        Setting {
            name: "Region",
            kind: Kind::Text,
            default: None,
            meaning: "Where|there.",
        },
        Setting {
            name: "Mode",
            kind: Kind::OneOf(&["POLLING", "FANOUT"]),
            default: Some("POLLING"),
            meaning: "How.",
        },
    ]);

    #[test]
    fn defaults_hold_until_set() {
        let mut s = Settings::new(REGISTRY);
        assert!(s.bool("AggregationEnabled"));
        assert_eq!(
            s.duration("RecordMaxBufferedTime"),
            Some(Duration::from_millis(100))
        );
        assert_eq!(s.text("Region"), None);
        s.set("aggregationenabled", " FALSE ");
        s.set("mode", "fanout");
        s.set("Region", "eu-west-1");
        assert!(s.check().is_ok());
        assert!(!s.bool("AggregationEnabled"));
        assert_eq!(s.text("Mode").as_deref(), Some("FANOUT"));
        assert!(s.is_set("Region") && !s.is_set("RecordMaxBufferedTime"));
    }

    #[test]
    fn every_problem_is_reported_at_once_with_the_nearest_name() {
        let mut s = Settings::new(REGISTRY);
        s.set("RecordMaxBufferdTime", "5");
        s.set("RecordMaxBufferedTime", "9001");
        s.set("Mode", "sideways");
        s.set("entirely different", "1");
        s.set("Mode", "fanout");
        let text = s.check().unwrap_err().to_string();
        assert_eq!(
            text,
            "RecordMaxBufferdTime: unknown setting; did you mean RecordMaxBufferedTime?; \
             RecordMaxBufferedTime: \"9001\" is not valid: expected milliseconds from 0 to 9000; \
             Mode: \"sideways\" is not valid: expected one of POLLING, FANOUT; \
             entirely different: unknown setting"
        );
    }

    #[test]
    fn typed_values_are_checked_as_text_is() {
        let mut s = Settings::new(REGISTRY);
        s.set_value("AggregationEnabled", false);
        s.set_value("RecordMaxBufferedTime", Duration::from_micros(2_999));
        s.set_value("Region", "eu-west-1");
        assert!(s.check().is_ok());
        assert!(!s.bool("AggregationEnabled"));
        assert_eq!(
            s.duration("RecordMaxBufferedTime"),
            Some(Duration::from_millis(2))
        );
        s.set_value("RecordMaxBufferedTime", Duration::MAX);
        s.set_value("AggregationEnabled", 7);
        s.set_value("Mode", true);
        let keys: Vec<String> = s
            .check()
            .unwrap_err()
            .0
            .into_iter()
            .map(|problem| problem.key)
            .collect();
        assert_eq!(
            keys,
            ["RecordMaxBufferedTime", "AggregationEnabled", "Mode"]
        );
    }

    #[test]
    fn the_table_names_each_setting() {
        let table = REGISTRY.markdown();
        assert_eq!(table.lines().count(), 2 + REGISTRY.0.len());
        assert!(table.contains("| `Region` | text | – | Where\\|there. |"));
        assert!(table.contains("| `Mode` | one of POLLING, FANOUT | `POLLING` | How. |"));
    }
}
