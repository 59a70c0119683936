//! What an instrument measures: name, unit, and who wants to see it.

use std::fmt;
use std::str::FromStr;

/// What back ends need to know of a metric beside its values. A plain name stands for a count at
/// [`Level::Detailed`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub struct Metric {
    /// The name that users of the original library know.
    pub name: &'static str,
    /// What its values are in. Default: [`Unit::Count`].
    pub unit: Unit,
    /// From which setting on it is sent. Default: [`Level::Detailed`].
    pub level: Level,
}

impl Metric {
    /// A metric that counts, for those who want details.
    #[must_use]
    pub const fn new(name: &'static str) -> Self {
        Self {
            name,
            unit: Unit::Count,
            level: Level::Detailed,
        }
    }

    /// Sets the unit.
    #[must_use]
    pub const fn with_unit(mut self, unit: Unit) -> Self {
        self.unit = unit;
        self
    }

    /// Sets the level.
    #[must_use]
    pub const fn with_level(mut self, level: Level) -> Self {
        self.level = level;
        self
    }
}

impl From<&'static str> for Metric {
    fn from(name: &'static str) -> Self {
        Self::new(name)
    }
}

/// A metric's unit, by the names of CloudWatch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[non_exhaustive]
pub enum Unit {
    /// Things that are counted.
    #[default]
    Count,
    /// Bytes.
    Bytes,
    /// Milliseconds.
    Milliseconds,
    /// Seconds.
    Seconds,
    /// Hundredths of a whole.
    Percent,
    /// Things a second.
    CountPerSecond,
    /// Bytes a second.
    BytesPerSecond,
    /// A number without unit.
    None,
}

impl Unit {
    /// The name that CloudWatch has for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Count => "Count",
            Self::Bytes => "Bytes",
            Self::Milliseconds => "Milliseconds",
            Self::Seconds => "Seconds",
            Self::Percent => "Percent",
            Self::CountPerSecond => "Count/Second",
            Self::BytesPerSecond => "Bytes/Second",
            Self::None => "None",
        }
    }
}

/// How much is sent. Of a setting: what is wanted at most. Of a metric: the least setting that it is
/// sent at; a metric of level [`Level::None`] is sent at every setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// Nothing but what must always be known.
    None,
    /// What an operator watches.
    Summary,
    /// Everything.
    Detailed,
}

/// How fine the places are that values are told apart by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Granularity {
    /// All streams together.
    Global,
    /// Each stream.
    Stream,
    /// Each shard of each stream.
    Shard,
}

impl Granularity {
    /// The granularity of an instrument with dimensions of these names: that of a shard if one is
    /// `ShardId`, of a stream if one is `StreamName` or `StreamId`.
    pub fn of<'n>(names: impl IntoIterator<Item = &'n str>) -> Self {
        names
            .into_iter()
            .map(Self::of_name)
            .max()
            .unwrap_or(Self::Global)
    }

    pub(super) fn of_name(name: &str) -> Self {
        match name {
            "ShardId" => Self::Shard,
            "StreamName" | "StreamId" => Self::Stream,
            _ => Self::Global,
        }
    }
}

/// A word that is none of those that a setting may have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{word:?} is none of {expected}")]
pub struct UnknownWord {
    /// As given.
    pub word: String,
    /// The words that there are.
    pub expected: &'static str,
}

macro_rules! words {
    ($kind:ident, $expected:literal, $($variant:ident = $word:literal),+) => {
        impl $kind {
            /// The word that settings have for it.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }
        }

        impl fmt::Display for $kind {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }

        /// Small and capital letters count the same.
        impl FromStr for $kind {
            type Err = UnknownWord;

            fn from_str(word: &str) -> Result<Self, UnknownWord> {
                $(if word.eq_ignore_ascii_case($word) {
                    return Ok(Self::$variant);
                })+
                Err(UnknownWord { word: word.to_owned(), expected: $expected })
            }
        }
    };
}

words!(
    Level,
    "none, summary, detailed",
    None = "none",
    Summary = "summary",
    Detailed = "detailed"
);
words!(
    Granularity,
    "global, stream, shard",
    Global = "global",
    Stream = "stream",
    Shard = "shard"
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn granularity_is_that_of_the_finest_dimension() {
        for (names, granularity) in [
            (&[][..], Granularity::Global),
            (&["ErrorCode"], Granularity::Global),
            (&["Host", "StreamName"], Granularity::Stream),
            (&["Operation", "StreamId"], Granularity::Stream),
            (&["ErrorCode", "StreamName", "ShardId"], Granularity::Shard),
            (&["Operation", "ShardId"], Granularity::Shard),
        ] {
            assert_eq!(
                Granularity::of(names.iter().copied()),
                granularity,
                "{names:?}"
            );
        }
    }

    #[test]
    fn words_of_settings_are_read_and_written() {
        for level in [Level::None, Level::Summary, Level::Detailed] {
            assert_eq!(level.to_string().parse(), Ok(level));
            assert_eq!(level.as_str().to_uppercase().parse(), Ok(level));
        }
        assert_eq!("SHARD".parse(), Ok(Granularity::Shard));
        let error = "shards".parse::<Granularity>().unwrap_err().to_string();
        assert_eq!(error, "\"shards\" is none of global, stream, shard");
        assert!(Level::None < Level::Summary && Level::Summary < Level::Detailed);
        let metric = Metric::from("X");
        assert_eq!((metric.unit, metric.level), (Unit::Count, Level::Detailed));
    }
}
