//! The file part of a `filePattern`: a glob with the rules of Java's `FileSystem.getPathMatcher`, which
//! the original uses, on a bare file name. Case counts; `**` is `*`; a leading dot is nothing special;
//! `[^a]` is a class that holds `^`; groups do not nest.

use std::fmt;

/// A compiled pattern.
#[derive(Clone, PartialEq, Eq)]
pub struct Glob {
    text: String,
    /// One per way to resolve the `{a,b}` groups.
    branches: Vec<Vec<Token>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    One(char),
    Any,
    Rest,
    Class {
        not: bool,
        ranges: Vec<(char, char)>,
    },
}

/// Why a pattern is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GlobError {
    /// `[` without `]`.
    #[error("a class that [ opens is not closed by ]")]
    OpenClass,
    /// `{` without `}`.
    #[error("a group that {{ opens is not closed by }}")]
    OpenGroup,
    /// `{` inside `{`.
    #[error("groups cannot be nested")]
    NestedGroup,
    /// A range from a later to an earlier character.
    #[error("the range {0}-{1} runs backwards")]
    Backwards(char, char),
    /// A backslash at the end.
    #[error("nothing follows the backslash at the end")]
    DanglingEscape,
    /// More ways to resolve the groups than are allowed (1000).
    #[error("its groups make more than 1000 patterns")]
    TooManyBranches,
}

const MAX_BRANCHES: usize = 1000;

impl Glob {
    /// Compiles a pattern.
    ///
    /// # Errors
    /// A malformed class, group or escape.
    pub fn new(text: &str) -> Result<Self, GlobError> {
        Ok(Self {
            text: text.to_owned(),
            branches: compile(text)?,
        })
    }

    /// The pattern as it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// True when the whole name fits.
    #[must_use]
    pub fn matches(&self, name: &str) -> bool {
        let name: Vec<char> = name.chars().collect();
        self.branches.iter().any(|tokens| fits(tokens, &name))
    }
}

impl fmt::Debug for Glob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Glob({:?})", self.text)
    }
}

fn compile(text: &str) -> Result<Vec<Vec<Token>>, GlobError> {
    let mut done: Vec<Vec<Token>> = vec![Vec::new()];
    // Inside a group: the alternatives so far; the last one is being read.
    let mut group: Option<Vec<Vec<Token>>> = None;
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        let token = match c {
            '{' if group.is_some() => return Err(GlobError::NestedGroup),
            '{' => {
                group = Some(vec![Vec::new()]);
                continue;
            }
            ',' if group.is_some() => {
                if let Some(alternatives) = &mut group {
                    alternatives.push(Vec::new());
                }
                continue;
            }
            '}' if group.is_some() => {
                let alternatives = group.take().unwrap_or_default();
                if done.len() * alternatives.len() > MAX_BRANCHES {
                    return Err(GlobError::TooManyBranches);
                }
                done = done
                    .iter()
                    .flat_map(|head| {
                        alternatives
                            .iter()
                            .map(|tail| [head.as_slice(), tail.as_slice()].concat())
                    })
                    .collect();
                continue;
            }
            '\\' => Token::One(chars.next().ok_or(GlobError::DanglingEscape)?),
            '*' => Token::Rest,
            '?' => Token::Any,
            '[' => class(&mut chars)?,
            other => Token::One(other),
        };
        match group
            .as_mut()
            .and_then(|alternatives| alternatives.last_mut())
        {
            Some(alternative) => alternative.push(token),
            None => done
                .iter_mut()
                .for_each(|branch| branch.push(token.clone())),
        }
    }
    if group.is_some() {
        return Err(GlobError::OpenGroup);
    }
    Ok(done)
}

/// Reads a class after its `[`. A `-` first, last or after a range stands for itself.
fn class(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Result<Token, GlobError> {
    let not = chars.next_if_eq(&'!').is_some();
    let mut ranges = Vec::new();
    let mut last: Option<char> = None;
    while let Some(c) = chars.next() {
        match (c, last) {
            (']', _) => {
                ranges.extend(last.map(|l| (l, l)));
                return Ok(Token::Class { not, ranges });
            }
            ('-', Some(from)) if chars.peek().is_some_and(|next| *next != ']') => {
                let to = chars.next().ok_or(GlobError::OpenClass)?;
                if to < from {
                    return Err(GlobError::Backwards(from, to));
                }
                ranges.push((from, to));
                last = None;
            }
            _ => {
                ranges.extend(last.map(|l| (l, l)));
                last = Some(c);
            }
        }
    }
    Err(GlobError::OpenClass)
}

/// Matching by one remembered `*`: linear in practice, at worst the product of both lengths.
fn fits(tokens: &[Token], name: &[char]) -> bool {
    let (mut t, mut n) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while let Some(c) = name.get(n) {
        let hit = match tokens.get(t) {
            Some(Token::Rest) => {
                star = Some((t, n));
                t += 1;
                continue;
            }
            Some(Token::Any) => true,
            Some(Token::One(one)) => one == c,
            Some(Token::Class { not, ranges }) => {
                ranges.iter().any(|(from, to)| from <= c && c <= to) != *not
            }
            None => false,
        };
        if hit {
            t += 1;
            n += 1;
        } else if let Some((at, from)) = star {
            star = Some((at, from + 1));
            t = at + 1;
            n = from + 1;
        } else {
            return false;
        }
    }
    tokens
        .get(t..)
        .is_some_and(|rest| rest.iter().all(|token| *token == Token::Rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_fit_as_java_fits_them() {
        let cases = [
            ("app.log", "app.log", true),
            ("app.log", "App.log", false),
            ("app.log", "app.log.1", false),
            ("app.log*", "app.log", true),
            ("app.log*", "app.log.1", true),
            ("*.log", ".log", true),
            ("**.log", "a.b.log", true),
            ("*a*b*c", "xxaxxbxxbc", true),
            ("*a*b*c", "xxaxxbxxbcd", false),
            ("?.log", "é.log", true),
            ("?.log", "ab.log", false),
            ("[a-c]x", "bx", true),
            ("[a-c]x", "dx", false),
            ("[!a-c]x", "dx", true),
            ("[!a-c]x", "bx", false),
            ("[^a]", "^", true),
            ("[^a]", "b", false),
            ("[a-]", "-", true),
            ("[-a]", "-", true),
            ("[\\]x", "\\x", true),
            ("{a,b}.log", "b.log", true),
            ("{a,b}.log", "c.log", false),
            ("{a*,b?}.{log,txt}", "abc.txt", true),
            ("{,x}y", "y", true),
            ("a}b", "a}b", true),
            ("a,b", "a,b", true),
            ("\\*.log", "*.log", true),
            ("\\*.log", "a.log", false),
            ("*", "", true),
        ];
        for (pattern, name, expected) in cases {
            assert_eq!(
                Glob::new(pattern).unwrap().matches(name),
                expected,
                "{pattern} on {name}"
            );
        }
    }

    #[test]
    fn malformed_patterns_are_named() {
        let cases = [
            ("[a", GlobError::OpenClass),
            ("{a,b", GlobError::OpenGroup),
            ("{a,{b}}", GlobError::NestedGroup),
            ("[z-a]", GlobError::Backwards('z', 'a')),
            ("a\\", GlobError::DanglingEscape),
            (
                "{a,b,c,d,e,f,g,h,i,j}{a,b,c,d,e,f,g,h,i,j}{a,b,c,d,e,f,g,h,i,j}{a,b}",
                GlobError::TooManyBranches,
            ),
        ];
        for (pattern, expected) in cases {
            assert_eq!(Glob::new(pattern).unwrap_err(), expected, "{pattern}");
        }
    }
}
