//! How a JSON value becomes a setting: the conversions of the original, with every refusal a text that
//! says what would be right.

use super::keys::Kind;
use serde_json::Value;

/// A converted value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Setting {
    Text(String),
    Integer(i64),
    Bool(bool),
    List(Vec<Value>),
}

/// Converts a value that is not `null`.
pub(super) fn convert(kind: Kind, value: &Value) -> Result<Setting, String> {
    match kind {
        Kind::Text => scalar(value)
            .map(Setting::Text)
            .ok_or_else(|| refusal(value, "text")),
        Kind::Bool => boolean(value)
            .map(Setting::Bool)
            .ok_or_else(|| refusal(value, "true or false")),
        Kind::Integer { min, max } => {
            let wanted = format!("a whole number from {min} to {max}");
            let n = integer(value).ok_or_else(|| refusal(value, &wanted))?;
            if (min..=max).contains(&n) {
                Ok(Setting::Integer(n))
            } else {
                Err(format!("{n} is outside of the valid range {min} to {max}"))
            }
        }
        Kind::OneOf(words) => scalar(value)
            .filter(|text| words.contains(&text.as_str()))
            .map(Setting::Text)
            .ok_or_else(|| refusal(value, &format!("one of {}", words.join(", ")))),
        Kind::List => match value {
            Value::Array(items) => Ok(Setting::List(items.clone())),
            _ => Err(refusal(value, "a list")),
        },
    }
}

/// Values are shown only by their type where they may be secrets: the caller redacts those keys.
fn refusal(value: &Value, wanted: &str) -> String {
    format!("{value} is not valid: expected {wanted}")
}

/// The text form of a scalar.
fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(n) => Some(n.to_string()),
        Value::Bool(b) => Some(b.to_string()),
        _ => None,
    }
}

fn boolean(value: &Value) -> Option<bool> {
    let text = scalar(value)?.to_ascii_lowercase();
    match text.as_str() {
        "true" | "t" | "yes" | "y" | "1" => Some(true),
        "false" | "f" | "no" | "n" | "0" => Some(false),
        _ => None,
    }
}

/// A JSON integer, or text as Java's `Long.decode` reads it: sign, `0x`, `#`, and a leading 0 for octal.
fn integer(value: &Value) -> Option<i64> {
    match value {
        Value::Number(n) => n.as_i64(),
        Value::String(text) => decode(text),
        _ => None,
    }
}

fn decode(text: &str) -> Option<i64> {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(rest) => ("-", rest),
        None => ("", text.strip_prefix('+').unwrap_or(text)),
    };
    let (digits, radix) = ["0x", "0X", "#"]
        .iter()
        .find_map(|prefix| digits.strip_prefix(prefix))
        .map(|rest| (rest, 16))
        .or_else(|| {
            let rest = digits.strip_prefix('0').filter(|rest| !rest.is_empty())?;
            Some((rest, 8))
        })
        .unwrap_or((digits, 10));
    if !digits.starts_with(|c: char| c.is_digit(radix)) {
        return None;
    }
    i64::from_str_radix(&format!("{sign}{digits}"), radix).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn numbers_are_read_as_java_decodes_them() {
        let kind = Kind::Integer { min: -9, max: 9999 };
        let cases = [
            (json!(2000), Some(2000)),
            (json!("2000"), Some(2000)),
            (json!("0x7d0"), Some(2000)),
            (json!("#ff"), Some(255)),
            (json!("010"), Some(8)),
            (json!("0"), Some(0)),
            (json!("-7"), Some(-7)),
            (json!("+7"), Some(7)),
            (json!("--7"), None),
            (json!("08"), None),
            (json!(1500.5), None),
            (json!("1500.5"), None),
            (json!(10_000), None),
            (json!(true), None),
            (json!(""), None),
            (json!([1]), None),
        ];
        for (value, expected) in cases {
            assert_eq!(
                convert(kind, &value).ok(),
                expected.map(Setting::Integer),
                "{value}"
            );
        }
    }

    #[test]
    fn booleans_text_words_and_lists() {
        for yes in [json!(true), json!("T"), json!("Yes"), json!("y"), json!(1)] {
            assert_eq!(convert(Kind::Bool, &yes), Ok(Setting::Bool(true)), "{yes}");
        }
        for no in [
            json!(false),
            json!("F"),
            json!("NO"),
            json!("n"),
            json!("0"),
        ] {
            assert_eq!(convert(Kind::Bool, &no), Ok(Setting::Bool(false)), "{no}");
        }
        assert!(convert(Kind::Bool, &json!("maybe")).is_err());
        assert_eq!(
            convert(Kind::Text, &json!(12.5)),
            Ok(Setting::Text("12.5".to_owned()))
        );
        assert!(convert(Kind::Text, &json!({})).is_err());
        let words = Kind::OneOf(&["RANDOM", "DETERMINISTIC"]);
        assert!(convert(words, &json!("RANDOM")).is_ok());
        assert_eq!(
            convert(words, &json!("random")).unwrap_err(),
            "\"random\" is not valid: expected one of RANDOM, DETERMINISTIC"
        );
        assert!(convert(Kind::List, &json!({})).is_err());
    }
}
