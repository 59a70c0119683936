//! One registry of settings per crate: name, type, default, range and meaning in one place, from which
//! typed setters, string keys (files, environment) and the documentation come.
//!
//! Values may be set one after the other by key, from a [`Source`] each; nothing fails until
//! [`Settings::check`], which reports every problem at once, each with the key, the value and the nearest
//! valid name. What is strange but usable is a warning: [`Settings::warnings`].

mod kind;

pub use kind::{Kind, Rule, Setting, Value};

use crate::properties;
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

/// Where a value comes from. What is greater goes before what is less; what comes from nowhere has its
/// default.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Source {
    /// A file.
    File,
    /// The environment.
    Environment,
    /// The program.
    Setter,
}

/// The environment variable of a setting: the prefix, and the name in upper case with an underscore
/// before each of its capitals but the first: `RecordTtl` is `KPL_RECORD_TTL`.
#[must_use]
pub fn variable(prefix: &str, name: &str) -> String {
    let mut out = prefix.to_owned();
    for (at, c) in name.char_indices() {
        if at > 0 && c.is_ascii_uppercase() {
            out.push('_');
        }
        out.push(c.to_ascii_uppercase());
    }
    out
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

    /// A Markdown table of all settings: name, values, default, meaning; and behind it, if there are any,
    /// a table of those that are accepted without effect, and why.
    #[must_use]
    pub fn markdown(&self) -> String {
        let mut out = String::from("| Setting | Values | Default | Meaning |\n|---|---|---|---|\n");
        // A bar would begin another column.
        let escaped = |text: &str| text.replace('|', "\\|");
        let (idle, working): (Vec<&Setting>, Vec<&Setting>) = self
            .0
            .iter()
            .partition(|setting| setting.kind == Kind::WithoutEffect);
        for s in working {
            let default = s
                .default
                .map_or_else(|| "–".to_owned(), |d| format!("`{d}`"));
            out.push_str(&format!(
                "| `{}` | {} | {default} | {} |\n",
                s.name,
                escaped(&s.kind.to_string()),
                escaped(s.meaning)
            ));
        }
        if !idle.is_empty() {
            out.push_str("\n| Accepted without effect | Why |\n|---|---|\n");
        }
        for s in idle {
            out.push_str(&format!("| `{}` | {} |\n", s.name, escaped(s.meaning)));
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

fn hint(near: Option<&str>) -> String {
    near.map_or_else(String::new, |near| format!("; did you mean {near}?"))
}

/// One bad key or value, or a strange one.
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

/// Values for a [`Registry`]'s settings, collected one by one and checked together. `Debug` shows which
/// are set, and no values: passwords can be among them.
#[derive(Clone)]
pub struct Settings {
    registry: Registry,
    values: BTreeMap<&'static str, (Source, Value)>,
    problems: Vec<Problem>,
    warnings: Vec<Problem>,
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("set", &self.values.keys())
            .field("problems", &self.problems)
            .finish_non_exhaustive()
    }
}

impl Settings {
    /// All settings at their defaults.
    #[must_use]
    pub fn new(registry: Registry) -> Self {
        Self {
            registry,
            values: BTreeMap::new(),
            problems: Vec::new(),
            warnings: Vec::new(),
        }
    }

    /// Sets a value by key. A bad key or value is kept as a problem for [`Settings::check`], also when a
    /// good one follows; a later good value for the same key replaces an earlier one, and one from a
    /// file or the environment.
    pub fn set(&mut self, key: &str, value: &str) {
        self.take(Source::Setter, key, key, value);
    }

    /// Sets a typed value: the way of a builder's setters. Checked as [`Settings::set`] checks text: a
    /// value of another type or out of range is kept as a problem.
    pub fn set_value(&mut self, key: &str, value: impl Into<Value>) {
        self.set(key, &value.into().to_string());
    }

    /// Takes values from the text of a Java `.properties` file, each unless it came from elsewhere. As
    /// with the Java originals a switch is on by "true" alone, and a key that is not known is a warning;
    /// blanks behind a value are a warning too. `name` is the file's, for problems and warnings.
    pub fn set_properties(&mut self, name: &str, text: &str) {
        for line in properties::read(text) {
            match line {
                Ok(property) => {
                    let shown = format!("{} ({name}, line {})", property.key, property.line);
                    self.take(Source::File, &shown, &property.key, &property.value);
                }
                Err(bad) => self.problem(&format!("{name}, line {}", bad.line), bad.to_string()),
            }
        }
    }

    /// Takes values from environment variables whose names begin with `prefix` (see [`variable`]), each
    /// unless a setter gave one; others are left alone. An empty one counts as unset. A name that fits
    /// no setting is a warning.
    pub fn set_variables(
        &mut self,
        prefix: &str,
        variables: impl IntoIterator<Item = (String, String)>,
    ) {
        let mut variables: Vec<(String, String)> = variables
            .into_iter()
            .filter(|(name, value)| name.starts_with(prefix) && !value.is_empty())
            .collect();
        variables.sort_unstable();
        let known = self.registry.0;
        for (name, value) in variables {
            match known.iter().find(|s| variable(prefix, s.name) == name) {
                Some(setting) => self.take(Source::Environment, &name, setting.name, &value),
                None => {
                    let all: Vec<String> = known.iter().map(|s| variable(prefix, s.name)).collect();
                    let near = nearest(&name, all.iter().map(String::as_str));
                    self.warning(&name, format!("unknown setting{}", hint(near)));
                }
            }
        }
    }

    /// `shown` is the key as problems and warnings name it.
    fn take(&mut self, source: Source, shown: &str, key: &str, value: &str) {
        let Some(setting) = self.registry.find(key) else {
            let reason = format!("unknown setting{}", hint(self.registry.nearest(key)));
            match source {
                Source::Setter => self.problem(shown, reason),
                Source::File | Source::Environment => self.warning(shown, reason),
            }
            return;
        };
        if setting.kind == Kind::WithoutEffect {
            self.warning(
                shown,
                format!("accepted without effect: {}", setting.meaning),
            );
            return;
        }
        if source == Source::File && key != setting.name {
            let reason = format!("taken for {}, as the original would not", setting.name);
            self.warning(shown, reason);
        }
        if source != Source::Setter && setting.kind.is_text() && value.trim().is_empty() {
            return;
        }
        let parsed = match source {
            Source::File => setting.kind.parse_property(value),
            _ => setting.kind.parse(value).map(|value| (value, None)),
        };
        match parsed {
            Ok((parsed, warning)) => {
                if let Some(warning) = warning {
                    self.warning(shown, warning);
                }
                let before = self.values.get(setting.name).map(|(before, _)| *before);
                if before.is_none_or(|before| before <= source) {
                    self.values.insert(setting.name, (source, parsed));
                }
            }
            Err(reason) => self.problem(shown, format!("{value:?} is not valid: {reason}")),
        }
    }

    /// Keeps a problem that the caller found (a combination that cannot be).
    pub fn problem(&mut self, key: &str, reason: String) {
        self.problems.push(Problem {
            key: key.to_owned(),
            reason,
        });
    }

    /// Keeps something strange but usable that the caller found.
    pub fn warning(&mut self, key: &str, reason: String) {
        self.warnings.push(Problem {
            key: key.to_owned(),
            reason,
        });
    }

    /// What is strange but usable, in the order met.
    #[must_use]
    pub fn warnings(&self) -> &[Problem] {
        &self.warnings
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

    /// Where the setting's value comes from; `None` = it has its default.
    #[must_use]
    pub fn source(&self, name: &str) -> Option<Source> {
        let setting = self.registry.find(name)?;
        self.values.get(setting.name).map(|(source, _)| *source)
    }

    fn value(&self, name: &str) -> Option<Value> {
        let setting = self.registry.find(name);
        debug_assert!(setting.is_some(), "no setting {name} in the registry");
        let setting = setting?;
        let given = self.values.get(setting.name);
        given.map(|(_, value)| value.clone()).or_else(|| {
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

    /// The value of a [`Kind::Text`], [`Kind::Matching`] or [`Kind::OneOf`] setting; `None` when it is
    /// unset.
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
        Setting {
            name: "Host",
            kind: Kind::Matching(&Rule {
                expected: "a|host",
                allows: |text| text.bytes().all(|b| b.is_ascii_lowercase() || b == b'.'),
            }),
            default: None,
            meaning: "Whom.",
        },
        Setting {
            name: "ThreadPoolSize",
            kind: Kind::WithoutEffect,
            default: None,
            meaning: "there is no pool.",
        },
    ]);

    fn shown(problems: &[Problem]) -> Vec<String> {
        problems.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn setter_goes_before_environment_before_file_in_any_order() {
        let variable = |value: &str| [("KPL_MODE".to_owned(), value.to_owned())];
        let mut s = Settings::new(REGISTRY);
        s.set_variables("KPL_", variable("fanout"));
        s.set_properties("f", "Mode=POLLING\nRegion=a\nAggregationEnabled=FALSE\n");
        assert_eq!(
            (s.text("Mode"), s.source("Mode")),
            (Some("FANOUT".into()), Some(Source::Environment))
        );
        assert_eq!(
            (s.text("Region"), s.source("Region")),
            (Some("a".into()), Some(Source::File))
        );
        assert!(!s.bool("AggregationEnabled"));
        s.set("Mode", "polling");
        s.set_variables("KPL_", variable("FANOUT"));
        assert_eq!(
            (s.text("Mode"), s.source("Mode")),
            (Some("POLLING".into()), Some(Source::Setter))
        );
        assert_eq!(s.source("Host"), None);
        assert!(s.check().is_ok() && s.warnings().is_empty());
    }

    #[test]
    fn the_traps_of_a_properties_file_are_told() {
        let mut s = Settings::new(REGISTRY);
        s.set_properties(
            "f",
            "RecordMaxBufferedTime = 250;\nAggregationEnabled = yes\nRegoin = b\nmode=FANOUT \n\
             ThreadPoolSize = -5\nHost =\nA = \\u00g1\nHost = UPPER",
        );
        assert_eq!(
            shown(s.warnings()),
            [
                "AggregationEnabled (f, line 2): \"yes\" is read as false: a switch is on by \"true\" \
                 alone, blanks count",
                "Regoin (f, line 3): unknown setting; did you mean Region?",
                "mode (f, line 4): taken for Mode, as the original would not",
                "mode (f, line 4): \"FANOUT \" is taken without the blanks, which belong to the value",
                "ThreadPoolSize (f, line 5): accepted without effect: there is no pool.",
            ]
        );
        assert!(!s.bool("AggregationEnabled"));
        assert_eq!(s.text("Mode").as_deref(), Some("FANOUT"));
        assert_eq!(
            shown(&s.check().unwrap_err().0),
            [
                "RecordMaxBufferedTime (f, line 1): \"250;\" is not valid: expected milliseconds from 0 \
                 to 9000; the `;` is part of the value, nothing ends a line of this file",
                "f, line 7: \\u is not followed by four hexadecimal digits",
                "Host (f, line 8): \"UPPER\" is not valid: expected a|host",
            ]
        );
    }

    #[test]
    fn variables_are_the_names_in_upper_snake_case() {
        assert_eq!(
            variable("KPL_", "RecordMaxBufferedTime"),
            "KPL_RECORD_MAX_BUFFERED_TIME"
        );
        let mut s = Settings::new(REGISTRY);
        let vars = [
            ("KPL_RECORD_MAX_BUFERED_TIME", "1"),
            ("KPL_HOST", ""),
            ("KPL_REGION", " x "),
            ("MODE", "nonsense"),
            ("KPL_MODE", "nonsense"),
            ("KPL_THREAD_POOL_SIZE", "1"),
        ];
        s.set_variables("KPL_", vars.map(|(k, v)| (k.to_owned(), v.to_owned())));
        assert_eq!(s.text("Region").as_deref(), Some("x"));
        assert_eq!(
            shown(s.warnings()),
            [
                "KPL_RECORD_MAX_BUFERED_TIME: unknown setting; did you mean KPL_RECORD_MAX_BUFFERED_TIME?",
                "KPL_THREAD_POOL_SIZE: accepted without effect: there is no pool.",
            ]
        );
        assert_eq!(
            shown(&s.check().unwrap_err().0),
            ["KPL_MODE: \"nonsense\" is not valid: expected one of POLLING, FANOUT"]
        );
    }

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
        assert_eq!(table.lines().count(), 2 + REGISTRY.0.len() + 3);
        assert!(table.contains("| `Host` | a\\|host | – | Whom. |"));
        assert!(table.ends_with("| Why |\n|---|---|\n| `ThreadPoolSize` | there is no pool. |\n"));
        assert!(table.contains("| `Region` | text | – | Where\\|there. |"));
        assert!(table.contains("| `Mode` | one of POLLING, FANOUT | `POLLING` | How. |"));
    }
}
