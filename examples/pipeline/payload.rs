//! Records that can be accounted for: each starts with its source and its number.

/// Where a record comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// The producer.
    Producer,
    /// The log file, through the agent.
    Agent,
}

impl Source {
    const fn letter(self) -> char {
        match self {
            Self::Producer => 'P',
            Self::Agent => 'A',
        }
    }
}

/// The record of this source and number, of about `length` bytes (at least its head), without a line
/// end.
pub fn write(source: Source, id: u64, length: usize) -> String {
    const FILLER: &str = "the quick brown fox jumps over the lazy dog ";
    let mut text = format!("{} {id:010} ", source.letter());
    while text.len() < length {
        let rest = length - text.len();
        text.push_str(FILLER.get(..rest).unwrap_or(FILLER));
    }
    text
}

/// Source and number of a record; `None` when it is not one of ours.
pub fn read(data: &[u8]) -> Option<(Source, u64)> {
    let head = std::str::from_utf8(data.get(..13)?).ok()?;
    let (letter, rest) = head.split_once(' ')?;
    let source = [Source::Producer, Source::Agent]
        .into_iter()
        .find(|s| letter.len() == 1 && letter.starts_with(s.letter()))?;
    Some((source, rest.trim_end().parse().ok()?))
}
