//! JSON as the original's parser (Jackson) takes it: `//` and `/* */` comments, the last of two equal
//! keys, and any text after the root object.

use serde::Deserialize;
use serde_json::Value;

/// Reads the root value; comments become blanks first, so that the positions in errors stay right.
///
/// # Errors
/// What is not JSON, with line and column.
pub(super) fn parse(text: &str) -> Result<Value, serde_json::Error> {
    let blanked = without_comments(text);
    let mut reader = serde_json::Deserializer::from_str(&blanked);
    Value::deserialize(&mut reader)
}

#[derive(Clone, Copy, PartialEq)]
enum In {
    Json,
    String,
    Escape,
    Line,
    Block,
}

fn without_comments(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut state = In::Json;
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        let next = chars.peek().copied();
        match (state, c) {
            (In::Json, '/') if next == Some('/') => state = In::Line,
            (In::Json, '/') if next == Some('*') => {
                chars.next();
                out.push(' ');
                state = In::Block;
            }
            (In::Json, '"') => state = In::String,
            (In::String, '\\') => state = In::Escape,
            (In::String, '"') => {
                out.push(c);
                state = In::Json;
                continue;
            }
            (In::Escape, _) => {
                out.push(c);
                state = In::String;
                continue;
            }
            (In::Line, '\n') => state = In::Json,
            (In::Block, '*') if next == Some('/') => {
                chars.next();
                out.push_str("  ");
                state = In::Json;
                continue;
            }
            _ => {}
        }
        let hidden = matches!(state, In::Line | In::Block);
        out.push(if hidden && c != '\n' { ' ' } else { c });
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn comments_duplicates_and_trailing_text_are_taken_as_the_original_takes_them() {
        let cases = [
            ("{\"a\":1} // end", json!({"a": 1})),
            ("/* x \n \" */{\"a\":/*1*/2}", json!({"a": 2})),
            (
                "{\"a\":\"http://h/*x*/\", \"b\\\"//\":1}",
                json!({"a": "http://h/*x*/", "b\"//": 1}),
            ),
            ("{\"a\":1,\"a\":2} trailing }{", json!({"a": 2})),
            ("{\"a\":\"\\\\\"}// c", json!({"a": "\\"})),
            ("// one\n// two\n{}", json!({})),
        ];
        for (text, expected) in cases {
            assert_eq!(parse(text).unwrap(), expected, "{text}");
        }
    }

    #[test]
    fn errors_name_the_line_of_the_file_comments_included() {
        let error = parse("{ // one\n/* two\n three */ \"a\": oops }").unwrap_err();
        assert_eq!(error.line(), 3);
    }
}
