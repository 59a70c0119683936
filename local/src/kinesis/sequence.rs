//! Sequence numbers, in the shape of the service's second version.
//!
//! As a number of 47 hexadecimal digits (186 bits, 56 decimal digits, first `2`): creation time of the
//! shard in seconds (9 digits), low digit of the shard's index, index of the record in the shard (16),
//! `00`, arrival time in seconds (9), index of the shard (8), version `2`. The layout was read from
//! real numbers by the authors of kinesalite. A child shard's creation time is later than its
//! parents', so its numbers lie above all of theirs.

use std::fmt;

/// A record's place. The derived order is the numeric order, because the fields are in the order of
/// the digits (the shard's low digit, left out, is the same within a shard).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Sequence {
    /// When its shard was created, in seconds since the epoch.
    pub(crate) created: u64,
    /// Its index in the shard, from 1; 0 is the shard's start.
    pub(crate) index: u64,
    /// When it arrived, in seconds since the epoch.
    pub(crate) time: u64,
    /// The index of its shard in the stream.
    pub(crate) shard: u32,
}

/// The index that the end of a closed shard has: above every record's.
pub(crate) const END_INDEX: u64 = 0x7fff_ffff_ffff_ffff;

const NINE_DIGITS: u64 = 0xf_ffff_ffff;

impl Sequence {
    /// The number in decimal. Its fields are summed up in limbs of seven decimal digits, each field
    /// times what its lowest bit is worth: no limb overflows, and no long division is needed.
    pub(crate) fn digits(self) -> Digits {
        let shard = u64::from(self.shard);
        let fields = [
            // 2 | created 9 | shard digit 1 | index 16 | 00 | time 9 | shard 8 | 2
            (2, &AT_184),
            (self.created & NINE_DIGITS, &AT_148),
            (shard & 0xf, &AT_144),
            (self.index >> 32, &AT_112),
            (self.index & 0xffff_ffff, &AT_80),
            (self.time & NINE_DIGITS, &AT_36),
            (shard, &AT_4),
            (2, &AT_0),
        ];
        let mut limbs = [0_u64; LIMBS];
        for (field, worth) in fields {
            for (limb, worth) in limbs.iter_mut().zip(worth) {
                *limb += field * worth;
            }
        }
        let mut places = [[b'0'; LIMB_DIGITS]; LIMBS];
        let mut carry = 0;
        for (limb, place) in limbs.into_iter().zip(places.iter_mut().rev()) {
            let limb = limb + carry;
            carry = limb / LIMB;
            let limb = limb % LIMB;
            let [_, a] = pair(limb / 1_000_000);
            let [b, c] = pair(limb / 10_000 % 100);
            let [d, e] = pair(limb / 100 % 100);
            let [f, g] = pair(limb % 100);
            *place = [a, b, c, d, e, f, g];
        }
        Digits(places)
    }

    /// Reads a decimal number; none if it does not have this shape.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        if text.len() != 56 {
            return None;
        }
        // Long multiplication in base 2^96, most significant digit first.
        let (mut high, mut low) = (0_u128, 0_u128);
        for byte in text.bytes() {
            let digit = byte.checked_sub(b'0').filter(|d| *d <= 9)?;
            low = low * 10 + u128::from(digit);
            high = high * 10 + (low >> 96);
            low &= (1 << 96) - 1;
        }
        if high >> 88 != 2 || low & 0xf != 2 || (low >> 72) & 0xff != 0 {
            return None;
        }
        let shard = u32::try_from((low >> 4) & 0xffff_ffff).ok()?;
        let index = u64::try_from(((high & 0xffff_ffff_ffff) << 16) | (low >> 80)).ok()?;
        if (high >> 48) & 0xf != u128::from(shard & 0xf) || index > END_INDEX {
            return None;
        }
        Some(Self {
            created: u64::try_from((high >> 52) & u128::from(NINE_DIGITS)).ok()?,
            index,
            time: u64::try_from((low >> 36) & u128::from(NINE_DIGITS)).ok()?,
            shard,
        })
    }
}

impl fmt::Display for Sequence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.digits().as_str())
    }
}

/// Limbs of a number, lowest first: 56 digits hold every number that begins with the digit 2 in
/// hexadecimal.
const LIMBS: usize = 8;
const LIMB_DIGITS: usize = 7;
const LIMB: u64 = 10_000_000;

const AT_0: [u64; LIMBS] = power_of_two(0);
const AT_4: [u64; LIMBS] = power_of_two(4);
const AT_36: [u64; LIMBS] = power_of_two(36);
const AT_80: [u64; LIMBS] = power_of_two(80);
const AT_112: [u64; LIMBS] = power_of_two(112);
const AT_144: [u64; LIMBS] = power_of_two(144);
const AT_148: [u64; LIMBS] = power_of_two(148);
const AT_184: [u64; LIMBS] = power_of_two(184);

/// The numbers below a hundred as two digits each.
const PAIRS: [[u8; 2]; 100] = pairs();

fn pair(number: u64) -> [u8; 2] {
    let place = usize::try_from(number).unwrap_or(usize::MAX);
    PAIRS.get(place).copied().unwrap_or([b'0'; 2])
}

#[expect(clippy::indexing_slicing, reason = "checked when it is compiled")]
const fn pairs() -> [[u8; 2]; 100] {
    let mut pairs = [[b'0'; 2]; 100];
    let (mut at, mut tens, mut ones) = (0, b'0', b'0');
    while at < pairs.len() {
        pairs[at] = [tens, ones];
        at += 1;
        if ones == b'9' {
            tens += 1;
            ones = b'0';
        } else {
            ones += 1;
        }
    }
    pairs
}

#[expect(clippy::indexing_slicing, reason = "checked when it is compiled")]
const fn power_of_two(exponent: u32) -> [u64; LIMBS] {
    let mut limbs = [0; LIMBS];
    limbs[0] = 1;
    let mut doubled = 0;
    while doubled < exponent {
        let (mut at, mut carry) = (0, 0);
        while at < LIMBS {
            let limb = 2 * limbs[at] + carry;
            limbs[at] = limb % LIMB;
            carry = limb / LIMB;
            at += 1;
        }
        doubled += 1;
    }
    limbs
}

/// A sequence number as text.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Digits([[u8; LIMB_DIGITS]; LIMBS]);

impl Digits {
    pub(crate) fn as_str(&self) -> &str {
        // They are digits.
        std::str::from_utf8(self.0.as_flattened()).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Hexadecimal digits to decimal, digit by digit: the slow way, as a check on the fast one.
    fn decimal_of_hex(hex: &str) -> String {
        let mut digits = vec![0_u8];
        for h in hex.chars() {
            let mut carry = h.to_digit(16).unwrap();
            for digit in &mut digits {
                let value = u32::from(*digit) * 16 + carry;
                *digit = u8::try_from(value % 10).unwrap();
                carry = value / 10;
            }
            while carry > 0 {
                digits.push(u8::try_from(carry % 10).unwrap());
                carry /= 10;
            }
        }
        digits.iter().rev().map(|d| char::from(b'0' + d)).collect()
    }

    proptest! {
        #[test]
        fn text_is_the_layout_and_reads_back(
            created in 0..16_025_175_000_u64,
            index in 0..=END_INDEX,
            time in 0..16_025_175_000_u64,
            shard in 0..0x7fff_ffff_u32,
        ) {
            let sequence = Sequence { created, index, time, shard };
            let hex = format!("2{created:09x}{:x}{index:016x}00{time:09x}{shard:08x}2", shard & 0xf);
            prop_assert_eq!(hex.len(), 47);
            prop_assert_eq!(sequence.to_string(), decimal_of_hex(&hex));
            prop_assert_eq!(Sequence::parse(&sequence.to_string()), Some(sequence));
        }

        #[test]
        fn numeric_order_is_the_order_within_a_shard(
            a in (1_600_000_000..1_800_000_000_u64, 0..1_000_u64, 1_600_000_000..1_800_000_000_u64),
            b in (1_600_000_000..1_800_000_000_u64, 0..1_000_u64, 1_600_000_000..1_800_000_000_u64),
        ) {
            let make = |(created, index, time)| Sequence { created, index, time, shard: 7 };
            let (a, b) = (make(a), make(b));
            // Equal length, so text order is numeric order.
            prop_assert_eq!(a.cmp(&b), a.to_string().cmp(&b.to_string()));
        }
    }

    #[test]
    fn numbers_of_our_years_have_56_digits_and_start_as_the_services_do() {
        for created in [1_400_000_000, 1_600_000_000, 1_760_000_000] {
            let text = Sequence {
                created,
                index: 0,
                time: created,
                shard: 0,
            }
            .to_string();
            assert_eq!(text.len(), 56);
            assert!(text.starts_with("495") || text.starts_with("496"), "{text}");
        }
    }

    /// A number that the service's documentation shows.
    #[test]
    fn a_published_number_is_read() {
        let text = "49543463076548007577105092703039560359975228518395019266";
        let sequence = Sequence::parse(text).unwrap();
        assert_eq!(sequence.to_string(), text);
        assert_eq!(sequence.shard, 0);
        // Both times lie in September 2014.
        assert!((1_409_500_000..1_412_200_000).contains(&sequence.created));
        assert!((1_409_500_000..1_412_200_000).contains(&sequence.time));
    }

    #[test]
    fn what_is_no_sequence_number_is_none() {
        let good = "49543463076548007577105092703039560359975228518395019266";
        let last = format!("{}7", &good[..55]);
        let huge = "9".repeat(56);
        for text in ["", "0", "123", &good[1..], &last, &huge, &"x".repeat(56)] {
            assert_eq!(Sequence::parse(text), None, "{text}");
        }
    }
}
