//! Constraints on members, collected and worded as the service does.

use crate::refusal::Refusal;

/// At most so many problems are listed, as in AWS' answers.
const MAX_PROBLEMS: usize = 10;

const NAME_PATTERN: &str = "[a-zA-Z0-9_.-]+";

/// Collects what is wrong with a request.
#[derive(Debug, Default)]
pub(crate) struct Check {
    problems: Vec<String>,
}

impl Check {
    /// Notes a problem: `value` at `member` breaks `constraint`.
    pub(crate) fn problem(&mut self, member: &str, value: &str, constraint: &str) {
        if self.problems.len() < MAX_PROBLEMS {
            self.problems.push(format!(
                "Value {value} at '{member}' failed to satisfy constraint: {constraint}"
            ));
        }
    }

    fn quoted(&mut self, member: &str, value: &str, constraint: &str) {
        self.problem(member, &format!("'{value}'"), constraint);
    }

    /// A member that must be there.
    pub(crate) fn present<T>(&mut self, member: &str, value: Option<T>) -> Option<T> {
        if value.is_none() {
            self.problem(member, "null", "Member must not be null");
        }
        value
    }

    /// A string of `min..=max` characters.
    pub(crate) fn length(&mut self, member: &str, value: Option<&str>, min: usize, max: usize) {
        let Some(value) = value else { return };
        // Characters are at most bytes: counting is needed only near the bound.
        let length = if value.len() <= max && !value.is_empty() {
            value.len().min(max)
        } else {
            value.chars().count()
        };
        if length < min {
            self.quoted(
                member,
                value,
                &format!("Member must have length greater than or equal to {min}"),
            );
        } else if length > max {
            self.quoted(
                member,
                value,
                &format!("Member must have length less than or equal to {max}"),
            );
        }
    }

    /// A list of `min..=max` items.
    pub(crate) fn items(&mut self, member: &str, length: usize, min: usize, max: usize) {
        if length < min {
            self.quoted(
                member,
                "[]",
                &format!("Member must have length greater than or equal to {min}"),
            );
        } else if length > max {
            self.quoted(
                member,
                &format!("[{length} items]"),
                &format!("Member must have length less than or equal to {max}"),
            );
        }
    }

    /// A name of a stream or shard: 1–128 of `[a-zA-Z0-9_.-]`.
    pub(crate) fn name(&mut self, member: &str, value: Option<&str>) {
        self.length(member, value, 1, 128);
        if let Some(value) = value
            && !value.is_empty()
            && !is_name(value)
        {
            self.quoted(
                member,
                value,
                &format!("Member must satisfy regular expression pattern: {NAME_PATTERN}"),
            );
        }
    }

    /// A decimal number without leading zero, of at most `digits` digits.
    pub(crate) fn decimal(&mut self, member: &str, value: Option<&str>, digits: usize) {
        if let Some(value) = value
            && !is_decimal(value, digits)
        {
            self.quoted(
                member,
                value,
                &format!(
                    "Member must satisfy regular expression pattern: 0|([1-9]\\d{{0,{}}})",
                    digits.saturating_sub(1)
                ),
            );
        }
    }

    /// A number in `min..=max`.
    pub(crate) fn range(&mut self, member: &str, value: Option<i64>, min: i64, max: i64) {
        let Some(value) = value else { return };
        if value < min {
            self.quoted(
                member,
                &value.to_string(),
                &format!("Member must have value greater than or equal to {min}"),
            );
        } else if value > max {
            self.quoted(
                member,
                &value.to_string(),
                &format!("Member must have value less than or equal to {max}"),
            );
        }
    }

    /// One of a set of words.
    pub(crate) fn one_of(&mut self, member: &str, value: Option<&str>, words: &[&str]) {
        if let Some(value) = value
            && !words.contains(&value)
        {
            self.quoted(
                member,
                value,
                &format!("Member must satisfy enum value set: [{}]", words.join(", ")),
            );
        }
    }

    /// The refusal, if anything was wrong.
    pub(crate) fn finish(self) -> Result<(), Refusal> {
        if self.problems.is_empty() {
            return Ok(());
        }
        Err(Refusal::validation(format!(
            "{} validation error{} detected: {}",
            self.problems.len(),
            if self.problems.len() == 1 { "" } else { "s" },
            self.problems.join("; ")
        )))
    }
}

/// Whether a text has only the characters of names.
pub(crate) fn is_name(value: &str) -> bool {
    value
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'))
}

/// Whether a text is `0` or a decimal number without leading zero, of at most `digits` digits.
fn is_decimal(value: &str, digits: usize) -> bool {
    !value.is_empty()
        && value.len() <= digits
        && value.bytes().all(|b| b.is_ascii_digit())
        && (value == "0" || !value.starts_with('0'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(fill: impl FnOnce(&mut Check)) -> Option<String> {
        let mut check = Check::default();
        fill(&mut check);
        check.finish().err().map(|refusal| {
            assert_eq!(refusal.code, "ValidationException");
            refusal.message
        })
    }

    #[test]
    fn problems_are_worded_as_the_service_does() {
        assert_eq!(
            text(|c| c.name("streamName", Some("a b"))).unwrap(),
            "1 validation error detected: Value 'a b' at 'streamName' failed to satisfy constraint: \
             Member must satisfy regular expression pattern: [a-zA-Z0-9_.-]+"
        );
        assert_eq!(
            text(|c| {
                c.present::<()>("shardId", None);
                c.range("limit", Some(0), 1, 10_000);
            })
            .unwrap(),
            "2 validation errors detected: Value null at 'shardId' failed to satisfy constraint: \
             Member must not be null; Value '0' at 'limit' failed to satisfy constraint: Member \
             must have value greater than or equal to 1"
        );
    }

    #[test]
    fn bounds_are_exact() {
        let long = "x".repeat(257);
        let wide = "é".repeat(256);
        let cases: &[(&str, bool)] = &[("", false), ("x", true), (&long, false), (&wide, true)];
        for (value, fine) in cases {
            let found = text(|c| c.length("partitionKey", Some(value), 1, 256));
            assert_eq!(found.is_none(), *fine, "{} bytes", value.len());
        }
        let digits = "9".repeat(40);
        let cases: &[(&str, bool)] = &[
            ("0", true),
            ("00", false),
            ("01", false),
            ("-1", false),
            ("", false),
            ("12", true),
            (&digits, false),
            (&digits[..39], true),
        ];
        for (value, fine) in cases {
            let found = text(|c| c.decimal("explicitHashKey", Some(value), 39));
            assert_eq!(found.is_none(), *fine, "{value}");
        }
        assert!(text(|c| c.one_of("type", Some("X"), &["A", "B"])).is_some());
        assert!(text(|c| c.items("records", 501, 1, 500)).is_some());
        assert!(text(|c| c.items("records", 0, 1, 500)).is_some());
        assert!(text(|c| c.items("records", 500, 1, 500)).is_none());
    }

    #[test]
    fn at_most_ten_problems_are_listed() {
        let message = text(|c| (0..20).for_each(|_| c.range("limit", Some(0), 1, 2))).unwrap();
        assert!(message.starts_with("10 validation errors"));
    }
}
