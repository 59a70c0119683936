//! Opaque tokens: shard iterators and page tokens. They carry their whole state, so the endpoint
//! keeps none, and a seal, so that garbage, truncated and foreign tokens are told from good ones.

/// What a token is for; a token of one kind is not taken for another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    ShardIterator = 1,
    ListShards = 2,
    ListStreams = 3,
    ListStreamConsumers = 4,
}

/// Seals and opens tokens.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sealer {
    key: u64,
}

/// What a token says. What does not apply to a kind is left at its default.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Token {
    /// When it was given out, in milliseconds since the epoch.
    pub(crate) issued: u64,
    /// Which creation of the stream it belongs to.
    pub(crate) incarnation: u64,
    pub(crate) stream: String,
    pub(crate) shard: u32,
    /// The index of the next record.
    pub(crate) position: u64,
    /// ShardFilter of a ListShards page: its type, and its timestamp or shard index.
    pub(crate) filter: u8,
    pub(crate) filter_value: u64,
}

/// The first bytes of the service's own iterators.
const VERSION: [u8; 8] = [0, 0, 0, 0, 0, 0, 0, 1];
const SEAL_LENGTH: usize = 8;

impl Sealer {
    pub(crate) fn new(key: u64) -> Self {
        Self { key }
    }

    pub(crate) fn seal(&self, kind: Kind, token: &Token) -> String {
        let mut out = Vec::with_capacity(64 + token.stream.len());
        out.extend_from_slice(&VERSION);
        out.push(kind as u8);
        out.extend_from_slice(&token.issued.to_be_bytes());
        out.extend_from_slice(&token.incarnation.to_be_bytes());
        out.extend_from_slice(&token.shard.to_be_bytes());
        out.extend_from_slice(&token.position.to_be_bytes());
        out.push(token.filter);
        out.extend_from_slice(&token.filter_value.to_be_bytes());
        out.extend_from_slice(token.stream.as_bytes());
        let seal = self.digest(&out);
        out.extend_from_slice(&seal);
        base64_simd::STANDARD.encode_to_string(&out)
    }

    /// Reads a token back; none if it is not one of ours of that kind.
    pub(crate) fn open(&self, kind: Kind, text: &str) -> Option<Token> {
        let bytes = base64_simd::STANDARD.decode_to_vec(text).ok()?;
        let (content, seal) = bytes.split_at_checked(bytes.len().checked_sub(SEAL_LENGTH)?)?;
        if seal != self.digest(content) {
            return None;
        }
        let rest = content.strip_prefix(&VERSION)?;
        let (found, rest) = rest.split_first()?;
        if *found != kind as u8 {
            return None;
        }
        let (issued, rest) = take_u64(rest)?;
        let (incarnation, rest) = take_u64(rest)?;
        let (shard, rest) = rest.split_first_chunk::<4>()?;
        let (position, rest) = take_u64(rest)?;
        let (filter, rest) = rest.split_first()?;
        let (filter_value, rest) = take_u64(rest)?;
        Some(Token {
            issued,
            incarnation,
            stream: String::from_utf8(rest.to_vec()).ok()?,
            shard: u32::from_be_bytes(*shard),
            position,
            filter: *filter,
            filter_value,
        })
    }

    /// A stream's id: 20 lower-case letters and digits, a hyphen and three more, other for each
    /// incarnation.
    pub(crate) fn stream_id(&self, incarnation: u64) -> String {
        const LETTERS: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
        let [first, second] = [b"a", b"b"].map(|half| {
            let mut context = md5::Context::new();
            context.consume(self.key.to_be_bytes());
            context.consume(incarnation.to_be_bytes());
            context.consume(half);
            context.finalize().0
        });
        let letters = first.iter().chain(&second).map(|byte| {
            let letter = LETTERS.get(usize::from(byte % 32)).copied();
            char::from(letter.unwrap_or(b'a'))
        });
        let mut id: String = letters.take(23).collect();
        id.insert(20, '-');
        id
    }

    fn digest(&self, content: &[u8]) -> [u8; SEAL_LENGTH] {
        let mut context = md5::Context::new();
        context.consume(self.key.to_be_bytes());
        context.consume(content);
        let [a, b, c, d, e, f, g, h, ..] = context.finalize().0;
        [a, b, c, d, e, f, g, h]
    }
}

fn take_u64(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let (head, rest) = bytes.split_first_chunk::<8>()?;
    Some((u64::from_be_bytes(*head), rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token() -> Token {
        Token {
            issued: 1_700_000_000_000,
            incarnation: 3,
            stream: "s".repeat(128),
            shard: u32::MAX,
            position: u64::MAX,
            filter: 4,
            filter_value: 9,
        }
    }

    #[test]
    fn a_token_reads_back_and_fits_the_services_bound() {
        let sealer = Sealer::new(1);
        let text = sealer.seal(Kind::ShardIterator, &token());
        assert!(text.len() <= 512, "{}", text.len());
        assert_eq!(sealer.open(Kind::ShardIterator, &text), Some(token()));
    }

    #[test]
    fn foreign_truncated_and_altered_tokens_are_none() {
        let sealer = Sealer::new(1);
        let text = sealer.seal(Kind::ShardIterator, &token());
        assert_eq!(sealer.open(Kind::ListShards, &text), None);
        assert_eq!(Sealer::new(2).open(Kind::ShardIterator, &text), None);
        for cut in 0..text.len() {
            assert_eq!(sealer.open(Kind::ShardIterator, &text[..cut]), None);
        }
        let altered = text.replacen('c', "d", 1);
        assert_ne!(altered, text);
        for text in ["", "garbage", "AAAAAAAAAAE=", &altered] {
            assert_eq!(sealer.open(Kind::ShardIterator, text), None);
        }
    }
}
