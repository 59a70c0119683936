//! MD5 of many independent inputs behind one door: in the lanes of the CPU's vector registers where it
//! has them, else one by one.

#[cfg(any(
    target_arch = "x86_64",
    all(target_arch = "aarch64", target_endian = "little")
))]
mod lanes;
#[cfg(all(target_arch = "aarch64", target_endian = "little"))]
mod neon;
#[cfg(target_arch = "x86_64")]
mod x86;

/// The MD5 of one input.
pub fn md5_one(input: &[u8]) -> [u8; 16] {
    #[cfg(target_arch = "x86_64")]
    if input.len() <= SHORT
        && let Some(digest) = short_alone(input)
    {
        return digest;
    }
    ::md5::compute(input).0
}

/// As [`md5_one`], where the CPU has instructions by which one lane alone is quicker than the library.
#[cfg(target_arch = "x86_64")]
fn short_alone(input: &[u8]) -> Option<[u8; 16]> {
    use std::arch::is_x86_feature_detected as has;
    if !(has!("avx512f") && has!("avx512vl")) {
        return None;
    }
    let mut digests = [[0; 16]];
    // SAFETY: the features were found just now.
    #[expect(unsafe_code, reason = "calls what needs features of the CPU")]
    unsafe {
        x86::short_alone_with_avx512(&[input], &mut digests);
    }
    let [digest] = digests;
    Some(digest)
}

/// The MD5 of each input, in order. `out` is cleared first and then holds as many digests as there
/// are inputs; its allocation is reused.
///
/// Inputs that are hashed together cost no more than apart, and less where the CPU can hash several
/// at a time (AVX-512, AVX2, NEON; found out at run time); whoever has many keys or bodies at hand
/// passes them in one call.
pub fn md5_many(inputs: &[&[u8]], out: &mut Vec<[u8; 16]>) {
    out.clear();
    if inputs.iter().all(|input| input.len() <= SHORT) {
        out.resize(inputs.len(), [0; 16]);
        md5_short(inputs, out);
    } else {
        Engine::best(inputs.len()).digests(inputs.iter().map(std::slice::from_ref), out);
    }
}

/// As [`md5_many`], into as many digests as there are inputs, of which none may have more than
/// [`SHORT`] bytes.
pub(crate) fn md5_short(inputs: &[&[u8]], out: &mut [[u8; 16]]) {
    // One register's worth at a time: filling the lanes takes longer than the steps, and more lanes would
    // more often stay empty.
    Engine::best(inputs.len().min(16)).short_digests(inputs, out);
}

/// As [`md5_many`], for inputs that lie in three pieces each: the pieces are not joined.
pub(crate) fn md5_many_in_pieces(inputs: &[[&[u8]; 3]], out: &mut Vec<[u8; 16]>) {
    out.clear();
    Engine::best(inputs.len()).digests(inputs.iter().map(<[_; 3]>::as_slice), out);
}

/// The longest input that fits one block of MD5 with its padding.
pub(crate) const SHORT: usize = 55;

/// From so many inputs on, lanes are quicker than one after the other even if most stay empty.
const ENOUGH: usize = 3;

/// What hashes. The variants of a CPU's feature are made where it was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Engine {
    /// Thirty-two at a time.
    #[cfg(target_arch = "x86_64")]
    TwiceAvx512,
    #[cfg(target_arch = "x86_64")]
    Avx512,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    #[cfg(all(target_arch = "aarch64", target_endian = "little"))]
    Neon,
    OneByOne,
}

impl Engine {
    fn best(inputs: usize) -> Self {
        if inputs < ENOUGH {
            return Self::OneByOne;
        }
        let best = Self::available().next().unwrap_or(Self::OneByOne);
        match best {
            // A second register that stays empty costs as much as a full one.
            #[cfg(target_arch = "x86_64")]
            Self::TwiceAvx512 if inputs <= 16 => Self::Avx512,
            best => best,
        }
    }

    /// What this machine has, the quickest first.
    fn available() -> impl Iterator<Item = Self> {
        [
            #[cfg(target_arch = "x86_64")]
            std::arch::is_x86_feature_detected!("avx512f").then_some(Self::TwiceAvx512),
            #[cfg(target_arch = "x86_64")]
            std::arch::is_x86_feature_detected!("avx512f").then_some(Self::Avx512),
            #[cfg(target_arch = "x86_64")]
            std::arch::is_x86_feature_detected!("avx2").then_some(Self::Avx2),
            #[cfg(all(target_arch = "aarch64", target_endian = "little"))]
            std::arch::is_aarch64_feature_detected!("neon").then_some(Self::Neon),
            Some(Self::OneByOne),
        ]
        .into_iter()
        .flatten()
    }

    #[cfg_attr(
        any(
            target_arch = "x86_64",
            all(target_arch = "aarch64", target_endian = "little")
        ),
        expect(unsafe_code, reason = "calls what needs a feature of the CPU")
    )]
    fn digests<'a>(self, inputs: impl Iterator<Item = &'a [&'a [u8]]>, out: &mut Vec<[u8; 16]>) {
        match self {
            // SAFETY: a variant is made only where `available` found the feature.
            #[cfg(target_arch = "x86_64")]
            Self::TwiceAvx512 => unsafe { x86::with_avx512_twice(inputs, out) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => unsafe { x86::with_avx512(inputs, out) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => unsafe { x86::with_avx2(inputs, out) },
            // SAFETY: as above.
            #[cfg(all(target_arch = "aarch64", target_endian = "little"))]
            Self::Neon => unsafe { neon::with_neon(inputs, out) },
            Self::OneByOne => out.extend(inputs.map(|pieces| {
                let mut context = ::md5::Context::new();
                for piece in pieces {
                    context.consume(piece);
                }
                context.finalize().0
            })),
        }
    }

    #[cfg_attr(
        any(
            target_arch = "x86_64",
            all(target_arch = "aarch64", target_endian = "little")
        ),
        expect(unsafe_code, reason = "calls what needs a feature of the CPU")
    )]
    fn short_digests(self, inputs: &[&[u8]], out: &mut [[u8; 16]]) {
        debug_assert_eq!(inputs.len(), out.len());
        debug_assert!(inputs.iter().all(|input| input.len() <= SHORT));
        match self {
            // SAFETY: a variant is made only where `available` found the feature.
            #[cfg(target_arch = "x86_64")]
            Self::TwiceAvx512 => unsafe { x86::short_with_avx512_twice(inputs, out) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => unsafe { x86::short_with_avx512(inputs, out) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => unsafe { x86::short_with_avx2(inputs, out) },
            // SAFETY: as above.
            #[cfg(all(target_arch = "aarch64", target_endian = "little"))]
            Self::Neon => unsafe { neon::short_with_neon(inputs, out) },
            Self::OneByOne => {
                for (digest, input) in out.iter_mut().zip(inputs) {
                    *digest = md5_one(input);
                }
            }
        }
    }
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

    /// Bytes that differ, from a small generator with a fixed start.
    fn bytes(count: usize) -> Vec<u8> {
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        (0..count)
            .map(|_| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                state.to_le_bytes()[0]
            })
            .collect()
    }

    fn library(input: &[u8]) -> [u8; 16] {
        ::md5::compute(input).0
    }

    #[test]
    fn one_alone_equals_the_library() {
        let text = bytes(300);
        for length in 0..=150 {
            let input = &text[length..2 * length];
            assert_eq!(md5_one(input), library(input), "{length}");
        }
    }

    /// Every engine of this machine gives what the library gives: every length around a block's
    /// edges, any number of inputs, long ones beside short ones, any cut into pieces.
    #[test]
    fn every_engine_equals_the_library() {
        let text = bytes(5000);
        let engines: Vec<Engine> = Engine::available().collect();
        println!("engines of this machine: {engines:?}");
        for engine in engines {
            let mut out = Vec::new();
            for count in (0..=40).chain([257]) {
                let inputs: Vec<&[u8]> = (0..count)
                    .map(|n| &text[n..n + (n * 37 + count * 11) % 300])
                    .collect();
                out.clear();
                engine.digests(inputs.iter().map(std::slice::from_ref), &mut out);
                let want: Vec<[u8; 16]> = inputs.iter().map(|input| library(input)).collect();
                assert_eq!(out, want, "{engine:?}, {count} inputs");
                let inputs: Vec<&[u8]> = (0..count).map(|n| &text[n..n + (n * 7) % 56]).collect();
                out.fill([0; 16]);
                engine.short_digests(&inputs, &mut out);
                let want: Vec<[u8; 16]> = inputs.iter().map(|input| library(input)).collect();
                assert_eq!(out, want, "{engine:?}, {count} short inputs");
            }
            for long in [0, 1, 63, 64, 65, 4096, 4999] {
                let pieces: Vec<[&[u8]; 3]> = (0..130)
                    .map(|n| {
                        let whole = if n == 7 { &text[..long] } else { &text[..n] };
                        let (head, rest) = whole.split_at(n.min(whole.len()) / 2);
                        let (middle, tail) = rest.split_at(rest.len() / 3);
                        [head, middle, tail]
                    })
                    .collect();
                out.clear();
                engine.digests(pieces.iter().map(<[_; 3]>::as_slice), &mut out);
                let want: Vec<[u8; 16]> = pieces
                    .iter()
                    .map(|pieces| library(&pieces.concat()))
                    .collect();
                assert_eq!(out, want, "{engine:?}, {long} bytes in one lane");
            }
        }
    }
}
