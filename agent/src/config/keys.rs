//! The registry of keys: every key of the original's `agent.json` and our own, with type, range,
//! default and what becomes of it here.

mod flow;
mod global;

pub use flow::FLOW;
pub use global::GLOBAL;

/// Type and range (inclusive) of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Kind {
    /// Any scalar, in its text form.
    Text,
    /// A whole number, or text as Java's `Long.decode` reads it.
    Integer {
        /// The smallest allowed value.
        min: i64,
        /// The largest allowed value.
        max: i64,
    },
    /// A JSON boolean, or `true/t/yes/y/1`, `false/f/no/n/0` in any case.
    Bool,
    /// One of these words, exactly.
    OneOf(&'static [&'static str]),
    /// A JSON array.
    List,
}

/// What becomes of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fate {
    /// It works.
    Built,
    /// It changes what is sent or where, and is not built yet: the start stops and names it. Values
    /// that mean "off" pass.
    Stops {
        /// The text forms that mean "off".
        off: &'static [&'static str],
    },
    /// It is known and has no effect here; the text says why. A warning. Values that ask for what
    /// happens anyway pass in silence.
    Ignored {
        /// Why it has no effect.
        why: &'static str,
        /// The text forms that ask for what happens anyway.
        quiet: &'static [&'static str],
    },
}

/// One key.
#[derive(Debug, Clone, Copy)]
pub struct Key {
    /// Its name.
    pub name: &'static str,
    /// Its type and range.
    pub kind: Kind,
    /// Its default as a user would write it; empty = unset or computed.
    pub default: &'static str,
    /// What becomes of it.
    pub fate: Fate,
    /// What it does.
    pub meaning: &'static str,
}

const BIG: i64 = i64::MAX;
const INT: i64 = i32::MAX as i64;
const TEXT: Kind = Kind::Text;
const BOOL: Kind = Kind::Bool;
const STOPS: Fate = Fate::Stops { off: &[""] };
const UNSENT: Fate = ignored("metrics are not sent to CloudWatch yet");
const POOL: Fate = ignored(
    "there is no pool of sending threads: requests in flight and bytes are bounded instead",
);
const HTTP: Fate = ignored("the HTTP client has no such setting");
const DEAD: Fate = ignored("the original dropped it in 2018; use --log");

const fn ignored(why: &'static str) -> Fate {
    Fate::Ignored { why, quiet: &[] }
}

const fn int(min: i64, max: i64) -> Kind {
    Kind::Integer { min, max }
}

const fn key(
    name: &'static str,
    kind: Kind,
    default: &'static str,
    fate: Fate,
    meaning: &'static str,
) -> Key {
    Key {
        name,
        kind,
        default,
        fate,
        meaning,
    }
}

/// The key of this name.
#[must_use]
pub fn find(keys: &'static [Key], name: &str) -> Option<&'static Key> {
    keys.iter().find(|key| key.name == name)
}

/// A Markdown table of keys.
#[must_use]
pub fn markdown(keys: &[Key]) -> String {
    let mut out =
        String::from("| Key | Values | Default | Here | Meaning |\n|---|---|---|---|---|\n");
    for key in keys {
        let kind = match key.kind {
            Kind::Text => "text".to_owned(),
            Kind::Integer { min, max } if max == BIG => format!("whole number from {min}"),
            Kind::Integer { min, max } => format!("whole number from {min} to {max}"),
            Kind::Bool => "true or false".to_owned(),
            Kind::OneOf(words) => words.join(", "),
            Kind::List => "list".to_owned(),
        };
        let fate = match key.fate {
            Fate::Built => "works",
            Fate::Stops { .. } => "stops the start",
            Fate::Ignored { .. } => "warns",
        };
        out.push_str(&format!(
            "| `{}` | {kind} | {} | {fate} | {} |\n",
            key.name,
            if key.default.is_empty() {
                "–"
            } else {
                key.default
            },
            key.meaning
        ));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tables_in_the_documentation_are_the_registries() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/SETTINGS.md");
        let tables = format!(
            "Keys of the file:\n\n{}\nKeys of each of its `flows`:\n\n{}",
            markdown(GLOBAL),
            markdown(FLOW)
        );
        if std::env::var_os("KINESIS_WRITE_DOCS").is_some() {
            std::fs::write(path, &tables).unwrap();
        }
        let written = std::fs::read_to_string(path).unwrap();
        assert!(
            written == tables,
            "again with: KINESIS_WRITE_DOCS=1 cargo test -p agent tables_in"
        );
    }

    #[test]
    fn names_are_unique_and_defaults_are_valid() {
        for keys in [GLOBAL, FLOW] {
            for (n, key) in keys.iter().enumerate() {
                assert!(
                    keys[n + 1..].iter().all(|k| k.name != key.name),
                    "{}",
                    key.name
                );
                if !key.default.is_empty() {
                    let value = serde_json::Value::String(key.default.to_owned());
                    assert!(
                        super::super::values::convert(key.kind, &value).is_ok(),
                        "{}",
                        key.name
                    );
                }
            }
        }
    }

    #[test]
    fn the_table_has_a_row_for_each_key() {
        assert_eq!(markdown(FLOW).lines().count(), 2 + FLOW.len());
        assert!(
            markdown(FLOW)
                .contains("| `maxBufferSizeRecords` | whole number from 1 to 500 | 500 | works |")
        );
    }
}
