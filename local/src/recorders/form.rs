//! Forms: `a=b&c=d`, percent-encoded.

/// The pairs of a form, in order. What is no UTF-8 is replaced.
pub(crate) fn decode(body: &[u8]) -> Vec<(String, String)> {
    body.split(|b| *b == b'&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let cut = pair.iter().position(|b| *b == b'=').unwrap_or(pair.len());
            let (key, value) = pair.split_at(cut);
            (unescape(key), unescape(value.get(1..).unwrap_or_default()))
        })
        .collect()
}

fn unescape(text: &[u8]) -> String {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((first, tail)) = rest.split_first() {
        rest = tail;
        match first {
            b'+' => out.push(b' '),
            b'%' => match tail {
                [a, b, after @ ..] if hex(*a).is_some() && hex(*b).is_some() => {
                    out.push(hex(*a).unwrap_or(0) << 4 | hex(*b).unwrap_or(0));
                    rest = after;
                }
                _ => out.push(b'%'),
            },
            other => out.push(*other),
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

fn hex(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_are_unescaped() {
        let pairs = decode(b"Action=Put&a+b=%C3%A9%2B1&empty=&bare&&bad=%zz%4");
        let expected = [
            ("Action", "Put"),
            ("a b", "é+1"),
            ("empty", ""),
            ("bare", ""),
            ("bad", "%zz%4"),
        ];
        let expected = expected.map(|(k, v)| (k.to_owned(), v.to_owned()));
        assert_eq!(pairs, expected);
    }
}
