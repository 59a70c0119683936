//! What a setting is: its name, its type with its range, its value.

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
    /// As [`Kind::Text`]; no warning, no problem and no `Debug` shows it.
    Secret,
    /// One of these words, upper and lower case alike.
    OneOf(&'static [&'static str]),
    /// Text that a rule allows.
    Matching(&'static Rule),
    /// Whatever is given: the setting is known and does nothing here, for the reason that its meaning
    /// gives. Giving it a value is a warning.
    WithoutEffect,
}

/// What a text must be like.
#[derive(Debug)]
pub struct Rule {
    /// What is right, to follow "expected".
    pub expected: &'static str,
    /// True for a text that is right.
    pub allows: fn(&str) -> bool,
}

/// Rules are told apart by what they say.
impl PartialEq for Rule {
    fn eq(&self, other: &Self) -> bool {
        self.expected == other.expected
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bool => f.write_str("true or false"),
            Self::Integer { min, max } => write!(f, "a whole number from {min} to {max}"),
            Self::Millis { min, max } => write!(f, "milliseconds from {min} to {max}"),
            Self::Text | Self::Secret => f.write_str("text"),
            Self::OneOf(words) => write!(f, "one of {}", words.join(", ")),
            Self::Matching(rule) => f.write_str(rule.expected),
            Self::WithoutEffect => f.write_str("anything"),
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
    /// Of a [`Kind::Text`] or a [`Kind::Matching`], or of a [`Kind::OneOf`] as the registry spells it.
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
    pub(super) fn parse(self, text: &str) -> Result<Value, String> {
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
            Self::Text | Self::Secret if text.is_empty() => Err("must not be empty".to_owned()),
            Self::Text | Self::Secret => Ok(Value::Text(text.to_owned())),
            Self::OneOf(words) => words
                .iter()
                .find(|word| word.eq_ignore_ascii_case(text))
                .map(|word| Value::Text((*word).to_owned()))
                .ok_or_else(expected),
            Self::Matching(rule) if (rule.allows)(text) => Ok(Value::Text(text.to_owned())),
            Self::Matching(_) => Err(expected()),
            Self::WithoutEffect => Ok(Value::Text(text.to_owned())),
        }
    }

    /// Reads a value as the Java originals read it from a `.properties` file, where what they do
    /// surprises; the second part says so.
    pub(super) fn parse_property(self, text: &str) -> Result<(Value, Option<String>), String> {
        if self == Self::Bool {
            let on = text.eq_ignore_ascii_case("true");
            let plain = on || text.eq_ignore_ascii_case("false");
            let warning = (!plain).then(|| {
                format!("{text:?} is read as false: a switch is on by \"true\" alone, blanks count")
            });
            return Ok((Value::Bool(on), warning));
        }
        let value = self.parse(text).map_err(|reason| {
            if text.trim_end().ends_with(';') {
                format!("{reason}; the `;` is part of the value, nothing ends a line of this file")
            } else {
                reason
            }
        })?;
        let warning = (text.trim() != text).then(|| {
            let shown = match self {
                Self::Secret => "it".to_owned(),
                _ => format!("{text:?}"),
            };
            format!("{shown} is taken without the blanks, which belong to the value")
        });
        Ok((value, warning))
    }

    pub(super) const fn is_text(self) -> bool {
        matches!(
            self,
            Self::Text | Self::Secret | Self::OneOf(_) | Self::Matching(_)
        )
    }
}
