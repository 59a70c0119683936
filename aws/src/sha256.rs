//! SHA-256 of bodies that lie in pieces. One is hashed by `ring`. Two are hashed side by side where the CPU
//! has instructions for it: its steps wait for each other, and those of another body fill the gaps.

#[cfg(target_arch = "x86_64")]
mod input;
#[cfg(target_arch = "x86_64")]
mod x86;

use bytes::Bytes;

pub(crate) type Digest = [u8; 32];

/// The SHA-256 of the pieces, one behind the other.
pub(crate) fn of_one(pieces: &[Bytes]) -> Digest {
    let mut hash = ring::digest::Context::new(&ring::digest::SHA256);
    pieces.iter().for_each(|piece| hash.update(piece));
    let digest = hash.finish();
    // It has 32 bytes.
    digest.as_ref().try_into().unwrap_or_default()
}

/// Whether two are quicker together than apart.
pub(crate) fn pairs() -> bool {
    #[cfg(target_arch = "x86_64")]
    let pairs = x86::is_available();
    #[cfg(not(target_arch = "x86_64"))]
    let pairs = false;
    pairs
}

/// The same as [`of_one`], of two.
pub(crate) fn of_two(inputs: [&[Bytes]; 2]) -> [Digest; 2] {
    #[cfg(target_arch = "x86_64")]
    if pairs() {
        let [mut one, mut other] = inputs.map(input::Input::new);
        while let (Some(blocks), Some(others)) = (one.blocks(), other.blocks()) {
            let count = blocks.len().min(others.len());
            let blocks = [blocks, others].map(|blocks| blocks.get(..count).unwrap_or_default());
            let [state, other_state] = x86::compress([one.state, other.state], blocks);
            one.took(count, state);
            other.took(count, other_state);
        }
        return [one, other].map(|mut longer| {
            while let Some(blocks) = longer.blocks() {
                let count = blocks.len();
                let [state] = x86::compress([longer.state], [blocks]);
                longer.took(count, state);
            }
            longer.digest()
        });
    }
    inputs.map(of_one)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes of this length, in pieces of these lengths over and over.
    fn pieces(length: usize, of: &[usize]) -> Vec<Bytes> {
        let mut rest: Bytes = (0..=u8::MAX)
            .cycle()
            .map(|n| n.wrapping_mul(7))
            .take(length)
            .collect();
        let mut pieces = Vec::new();
        for size in of.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            pieces.push(rest.split_to((*size).min(rest.len())));
        }
        pieces
    }

    fn apart(inputs: [&[Bytes]; 2]) -> [Digest; 2] {
        inputs.map(of_one)
    }

    #[test]
    fn the_empty_input_and_the_standard_s_example() {
        let abc = [Bytes::from_static(b"abc")];
        let hex = of_two([&[], &abc]).map(|digest| crate::sign::hex(&digest));
        assert_eq!(
            hex,
            [
                "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
                "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
            ]
        );
    }

    #[test]
    fn two_together_have_the_hashes_of_each_alone() {
        let layouts: [&[usize]; 6] = [&[usize::MAX], &[1], &[63], &[64], &[65, 1, 200], &[3, 128]];
        // Around the ends of blocks, of all sorts.
        let lengths = (0..=200).chain([1_000, 4_095, 4_096, 4_097]);
        for length in lengths {
            for (n, layout) in layouts.iter().enumerate() {
                let one = pieces(length, layout);
                for other_length in [0, 55, 56, 64, 119, 120, length, 3 * length + 1] {
                    let other = pieces(other_length, layouts[(n + 1) % layouts.len()]);
                    for inputs in [[&*one, &*other], [&*other, &*one]] {
                        assert_eq!(of_two(inputs), apart(inputs), "{length} {other_length} {n}");
                    }
                }
            }
        }
    }
}
