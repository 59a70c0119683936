//! MD5 of many independent inputs behind one door, so that lanes can come behind it.

/// The MD5 of one input.
pub fn md5_one(input: &[u8]) -> [u8; 16] {
    ::md5::compute(input).0
}

/// The MD5 of each input, in order. `out` is cleared first and then holds as many digests as there
/// are inputs; its allocation is reused.
///
/// Inputs that are hashed together cost no more than apart, and less where the machine can hash
/// several at a time; whoever has many keys or bodies at hand passes them in one call.
pub fn md5_many(inputs: &[&[u8]], out: &mut Vec<[u8; 16]>) {
    out.clear();
    out.extend(inputs.iter().map(|input| md5_one(input)));
}

/// As [`md5_many`], for inputs that lie in three pieces each: the pieces are not joined.
pub(crate) fn md5_many_in_pieces(inputs: &[[&[u8]; 3]], out: &mut Vec<[u8; 16]>) {
    out.clear();
    out.extend(inputs.iter().map(|pieces| {
        let mut context = ::md5::Context::new();
        for piece in pieces {
            context.consume(piece);
        }
        context.finalize().0
    }));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(digest: [u8; 16]) -> String {
        digest.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// The test suite of RFC 1321, section A.5.
    const RFC_1321: [(&str, &str); 7] = [
        ("", "d41d8cd98f00b204e9800998ecf8427e"),
        ("a", "0cc175b9c0f1b6a831c399e269772661"),
        ("abc", "900150983cd24fb0d6963f7d28e17f72"),
        ("message digest", "f96b697d7cb7938d525a2f31aaf161d0"),
        (
            "abcdefghijklmnopqrstuvwxyz",
            "c3fcd3d76192e4007dfb496cca67e13b",
        ),
        (
            "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789",
            "d174ab98d277d9f5a5611c2c9f419d9f",
        ),
        (
            "12345678901234567890123456789012345678901234567890123456789012345678901234567890",
            "57edf4a22be3c955ac49da2e2107b67a",
        ),
    ];

    #[test]
    fn digests_of_the_rfc() {
        let inputs: Vec<&[u8]> = RFC_1321.iter().map(|(input, _)| input.as_bytes()).collect();
        let mut many = vec![[0xff; 16]; 3];
        md5_many(&inputs, &mut many);
        assert_eq!(many.len(), RFC_1321.len(), "what was in `out` is gone");
        for ((input, want), digest) in RFC_1321.iter().zip(many) {
            assert_eq!(hex(digest), *want, "{input:?}");
            assert_eq!(hex(md5_one(input.as_bytes())), *want, "{input:?}");
        }
    }

    #[test]
    fn pieces_hash_as_the_whole() {
        let whole: Vec<u8> = (0..=255).cycle().take(1000).collect();
        let cuts = [
            (0, 0),
            (0, 1000),
            (1, 64),
            (63, 65),
            (128, 128),
            (999, 1000),
        ];
        let inputs: Vec<[&[u8]; 3]> = cuts
            .iter()
            .map(|&(a, b)| [&whole[..a], &whole[a..b], &whole[b..]])
            .collect();
        let mut out = vec![[0; 16]];
        md5_many_in_pieces(&inputs, &mut out);
        assert_eq!(out, [md5_one(&whole); 6]);
    }
}
