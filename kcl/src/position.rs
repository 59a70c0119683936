//! Where a consumer stands in a shard, in the order that the lease table's readers agree on.

use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

/// A sequence number: decimal digits, kept as the service wrote them, compared as numbers. Clones
/// share the text.
#[derive(Clone)]
pub struct SequenceNumber(Arc<str>);

impl SequenceNumber {
    /// The sequence number of these digits; `None` for an empty text or one with anything but ASCII
    /// digits.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        digits.then(|| Self(Arc::from(text)))
    }

    /// The digits as the service wrote them.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn significant(&self) -> &str {
        self.0.trim_start_matches('0')
    }
}

/// By numeric value: a sequence number has more bits (186) than any integer type.
impl Ord for SequenceNumber {
    fn cmp(&self, other: &Self) -> Ordering {
        let (a, b) = (self.significant(), other.significant());
        a.len().cmp(&b.len()).then_with(|| a.cmp(b))
    }
}

impl PartialOrd for SequenceNumber {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for SequenceNumber {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for SequenceNumber {}

impl fmt::Display for SequenceNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for SequenceNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The first half of a [`Position`]: a sequence number, or one of the words that stand in its place.
/// The order of the variants is the order of positions, as KCL 3.5 has it; among the words it only
/// makes any record greater than where reading began.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Sequence {
    /// Reading begins at the time in the configuration.
    AtTimestamp,
    /// Reading begins at the oldest record.
    TrimHorizon,
    /// Reading begins after the newest record.
    Latest,
    /// A record.
    Number(SequenceNumber),
    /// The shard is finished.
    ShardEnd,
}

impl fmt::Display for Sequence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::AtTimestamp => "AT_TIMESTAMP",
            Self::TrimHorizon => "TRIM_HORIZON",
            Self::Latest => "LATEST",
            Self::Number(number) => number.as_str(),
            Self::ShardEnd => "SHARD_END",
        })
    }
}

/// A place in a shard: a sequence number and the place inside the aggregate that carries it (0 for a
/// record that is no aggregate).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// The Kinesis record.
    pub sequence: Sequence,
    /// The user record inside it.
    pub sub_sequence: u64,
}

impl Position {
    /// The end of a finished shard.
    pub const SHARD_END: Self = Self {
        sequence: Sequence::ShardEnd,
        sub_sequence: 0,
    };
    /// Before the oldest record.
    pub const TRIM_HORIZON: Self = Self {
        sequence: Sequence::TrimHorizon,
        sub_sequence: 0,
    };
    /// After the newest record at the time of reading.
    pub const LATEST: Self = Self {
        sequence: Sequence::Latest,
        sub_sequence: 0,
    };
    /// At the time in the configuration.
    pub const AT_TIMESTAMP: Self = Self {
        sequence: Sequence::AtTimestamp,
        sub_sequence: 0,
    };

    /// A user record's position.
    #[must_use]
    pub const fn new(sequence: SequenceNumber, sub_sequence: u64) -> Self {
        Self {
            sequence: Sequence::Number(sequence),
            sub_sequence,
        }
    }

    /// Reads the two attributes of a stored checkpoint; `None` when the first is neither digits nor
    /// one of the known words.
    #[must_use]
    pub fn parse(sequence: &str, sub_sequence: u64) -> Option<Self> {
        let sequence = match sequence {
            "AT_TIMESTAMP" => Sequence::AtTimestamp,
            "TRIM_HORIZON" => Sequence::TrimHorizon,
            "LATEST" => Sequence::Latest,
            "SHARD_END" => Sequence::ShardEnd,
            digits => Sequence::Number(SequenceNumber::parse(digits)?),
        };
        Some(Self {
            sequence,
            sub_sequence,
        })
    }

    /// True for the end of a finished shard.
    #[must_use]
    pub fn is_shard_end(&self) -> bool {
        self.sequence == Sequence::ShardEnd
    }

    /// The sequence number, unless a word stands in its place.
    #[must_use]
    pub const fn number(&self) -> Option<&SequenceNumber> {
        match &self.sequence {
            Sequence::Number(number) => Some(number),
            _ => None,
        }
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.sub_sequence {
            0 => write!(f, "{}", self.sequence),
            sub => write!(f, "{}/{sub}", self.sequence),
        }
    }
}

/// Where to begin in a stream that this application has not read before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum InitialPosition {
    /// After the newest record.
    Latest,
    /// At the oldest record that is kept.
    TrimHorizon,
    /// At the first record that arrived at that time or later. The lease table stores only that there
    /// was a time: every worker must be given the same one.
    AtTimestamp(std::time::SystemTime),
}

impl InitialPosition {
    /// The word that a new lease's checkpoint holds.
    #[must_use]
    pub const fn sentinel(self) -> Position {
        match self {
            Self::Latest => Position::LATEST,
            Self::TrimHorizon => Position::TRIM_HORIZON,
            Self::AtTimestamp(_) => Position::AT_TIMESTAMP,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(sequence: &str, sub: u64) -> Position {
        Position::parse(sequence, sub).unwrap()
    }

    #[test]
    fn positions_are_ordered_by_number_not_by_text() {
        let ascending = [
            at("AT_TIMESTAMP", 0),
            at("TRIM_HORIZON", 0),
            at("LATEST", 0),
            at("0", 0),
            at("9", 0),
            at("9", 1),
            at("9", 10),
            at("10", 0),
            at(
                "49680415131649607713166408629539477037611226137370820610",
                0,
            ),
            at(
                "49680415131649607713166408629539477037611226137370820610",
                7,
            ),
            at(
                "149680415131649607713166408629539477037611226137370820610",
                0,
            ),
            at("SHARD_END", 0),
        ];
        for (i, a) in ascending.iter().enumerate() {
            for (j, b) in ascending.iter().enumerate() {
                assert_eq!(a.cmp(b), i.cmp(&j), "{a} {b}");
            }
        }
    }

    #[test]
    fn leading_zeros_do_not_count_but_are_kept() {
        assert_eq!(at("007", 0), at("7", 0));
        assert!(at("007", 0) < at("10", 0));
        assert_eq!(at("007", 2).to_string(), "007/2");
    }

    #[test]
    fn anything_else_is_no_position() {
        for text in ["", "-1", "+1", "1.0", "latest", "12a", "\u{0661}"] {
            assert_eq!(Position::parse(text, 0), None, "{text}");
        }
    }

    #[test]
    fn words_are_written_as_they_are_read() {
        for text in ["AT_TIMESTAMP", "TRIM_HORIZON", "LATEST", "SHARD_END", "42"] {
            assert_eq!(at(text, 0).to_string(), text);
        }
    }
}
