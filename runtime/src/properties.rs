//! Java's `.properties` files, by the rules of `java.util.Properties.load`.
//!
//! A line that begins with `#` or `!` is a comment. A key ends at `=`, `:` or a blank; blanks around the
//! separator do not count, those behind the value do. A backslash at a line's end joins it with the next
//! one, whose leading blanks do not count; before another character it is an escape (`\t`, `\n`, `\r`,
//! `\f`, `\uXXXX`; any other stands for itself).

/// A key and its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Property {
    /// The line that it begins in, from 1.
    pub line: usize,
    /// The key.
    pub key: String,
    /// The value, blanks behind it included.
    pub value: String,
}

/// A line that cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("\\u is not followed by four hexadecimal digits")]
pub struct BadEscape {
    /// Where it begins, from 1.
    pub line: usize,
}

/// The characters of a file's bytes. As in Java, they are ISO 8859-1, whatever else they may look like.
#[must_use]
pub fn decode(bytes: &[u8]) -> String {
    bytes.iter().copied().map(char::from).collect()
}

/// Reads all properties, in order; a key may come more than once, and the last counts.
#[must_use]
pub fn read(text: &str) -> Vec<Result<Property, BadEscape>> {
    let mut out = Vec::new();
    let mut lines = Lines { rest: text, at: 0 };
    while let Some((first, number)) = lines.next() {
        let first = first.trim_start_matches(blank);
        if first.is_empty() || first.starts_with(['#', '!']) {
            continue;
        }
        let mut logical = first.to_owned();
        // An odd number of backslashes at the end: the last one joins.
        while (logical.len() - logical.trim_end_matches('\\').len()) % 2 == 1 {
            logical.pop();
            let Some((next, _)) = lines.next() else { break };
            logical.push_str(next.trim_start_matches(blank));
        }
        out.push(split(&logical, number));
    }
    out
}

/// Lines ended by `\n`, `\r` or both, numbered.
struct Lines<'a> {
    rest: &'a str,
    at: usize,
}

impl<'a> Lines<'a> {
    fn next(&mut self) -> Option<(&'a str, usize)> {
        if self.rest.is_empty() {
            return None;
        }
        self.at += 1;
        let (line, rest) = match self.rest.split_once(['\n', '\r']) {
            Some((line, rest)) => {
                let ended_by_both = self
                    .rest
                    .get(line.len()..)
                    .is_some_and(|end| end.starts_with("\r\n"));
                let rest = rest.strip_prefix('\n').filter(|_| ended_by_both);
                (line, rest.or_else(|| self.rest.get(line.len() + 1..)))
            }
            None => (self.rest, None),
        };
        self.rest = rest.unwrap_or_default();
        Some((line, self.at))
    }
}

const fn blank(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\u{c}')
}

fn split(logical: &str, line: usize) -> Result<Property, BadEscape> {
    let mut escaped = false;
    let end = logical
        .char_indices()
        .find(|(_, c)| {
            let ends = !escaped && (blank(*c) || matches!(c, '=' | ':'));
            escaped = !escaped && *c == '\\';
            ends
        })
        .map_or(logical.len(), |(at, _)| at);
    let (key, rest) = logical.split_at(end);
    let rest = rest.trim_start_matches(blank);
    let value = rest.strip_prefix(['=', ':']).unwrap_or(rest);
    let bad = BadEscape { line };
    Ok(Property {
        line,
        key: unescape(key).ok_or(bad)?,
        value: unescape(value.trim_start_matches(blank)).ok_or(bad)?,
    })
}

/// A character outside the basic plane is written as two halves.
fn unescape(text: &str) -> Option<String> {
    let mut units: Vec<u16> = Vec::with_capacity(text.len());
    let mut chars = text.chars();
    let push = |units: &mut Vec<u16>, c: char| {
        units.extend_from_slice(c.encode_utf16(&mut [0; 2]));
    };
    while let Some(c) = chars.next() {
        if c != '\\' {
            push(&mut units, c);
            continue;
        }
        match chars.next() {
            Some('t') => push(&mut units, '\t'),
            Some('n') => push(&mut units, '\n'),
            Some('r') => push(&mut units, '\r'),
            Some('f') => push(&mut units, '\u{c}'),
            Some('u') => {
                let mut unit = 0;
                for _ in 0..4 {
                    let digit = chars.next()?.to_digit(16)?;
                    unit = unit * 16 + u16::try_from(digit).ok()?;
                }
                units.push(unit);
            }
            Some(other) => push(&mut units, other),
            None => {}
        }
    }
    Some(String::from_utf16_lossy(&units))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(text: &str) -> Vec<(String, String)> {
        read(text)
            .into_iter()
            .map(|property| property.map(|p| (p.key, p.value)).unwrap())
            .collect()
    }

    /// The examples of `java.util.Properties.load`'s documentation, and its corners.
    #[test]
    fn reads_as_java_does() {
        let table: [(&str, &[(&str, &str)]); 17] = [
            ("Truth = Beauty", &[("Truth", "Beauty")]),
            ("  Truth:Beauty", &[("Truth", "Beauty")]),
            ("Truth                    :Beauty", &[("Truth", "Beauty")]),
            (
                "fruits           apple, banana, pear, \\\n   cantaloupe, \\\n   kiwi",
                &[("fruits", "apple, banana, pear, cantaloupe, kiwi")],
            ),
            ("cheeses", &[("cheeses", "")]),
            (
                "a=1\r\nb=2\rc=3\n\n\nd=4",
                &[("a", "1"), ("b", "2"), ("c", "3"), ("d", "4")],
            ),
            (
                "# a=1\n  ! b=2\nc=3 # no comment",
                &[("c", "3 # no comment")],
            ),
            ("a=1 \t", &[("a", "1 \t")]),
            ("a\\ b\\:c\\=d = e", &[("a b:c=d", "e")]),
            ("a = = b", &[("a", "= b")]),
            ("a == b", &[("a", "= b")]),
            ("path=c:\\\\dir\\", &[("path", "c:\\dir")]),
            ("even=x\\\\\nnext=y", &[("even", "x\\"), ("next", "y")]),
            ("u=\\u00e9\\uD834\\udd1e\\q\\t|", &[("u", "é𝄞q\t|")]),
            ("# joined \\\nnot=a comment", &[("not", "a comment")]),
            ("a=1\na=2", &[("a", "1"), ("a", "2")]),
            ("=x", &[("", "x")]),
        ];
        for (text, expected) in table {
            let expected: Vec<_> = expected
                .iter()
                .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
                .collect();
            assert_eq!(pairs(text), expected, "{text:?}");
        }
    }

    #[test]
    fn a_bad_escape_is_told_with_its_line() {
        for text in ["\n\na=\\u12", "\n\na=\\u12g4", "\n#x\n\\uzzzz=1"] {
            assert_eq!(read(text), [Err(BadEscape { line: 3 })], "{text:?}");
        }
    }

    #[test]
    fn bytes_are_latin_1() {
        assert_eq!(decode(b"a=\xe9"), "a=é");
    }
}
