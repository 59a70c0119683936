//! What is sent to a shard that was throttled, to find out whether it takes something again: pure
//! decisions.

/// What is smaller goes as it is.
const SMALL: usize = 4 * 1024;

/// A probe takes so many bytes of user records, or this part of the whole if that is more.
const PROBE: usize = 1024;
const PART: usize = 32;

/// A probe is to be cut off a Kinesis record of so many bytes and user records.
pub(crate) const fn is_divisible(size: usize, records: u32) -> bool {
    records > 1 && size >= SMALL
}

/// How many of its first user records, of these sizes, a probe takes: one at least.
pub(crate) fn first_records(size: usize, records: impl IntoIterator<Item = usize>) -> usize {
    let most = PROBE.max(size / PART);
    let mut sum = 0usize;
    let fits = |bytes: &usize| {
        sum = sum.saturating_add(*bytes);
        sum <= most
    };
    records.into_iter().take_while(fits).count().max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_small_or_one_record_goes_whole() {
        // bytes, user records -> cut
        let table = [
            (0, 0, false),
            (1 << 20, 1, false),
            (SMALL - 1, 100, false),
            (SMALL, 1, false),
            (SMALL, 2, true),
            (51_200, 50, true),
        ];
        for (size, records, cut) in table {
            assert_eq!(is_divisible(size, records), cut, "{size} {records}");
        }
    }

    #[test]
    fn a_probe_takes_a_kibibyte_or_a_part_and_one_record_at_least() {
        // bytes, the user records' bytes -> how many of them
        let table: [(usize, &[usize], usize); 8] = [
            (4_096, &[100; 40], 10),
            (4_096, &[1_024, 1_024, 2_048], 1),
            (4_096, &[1_025, 10], 1),
            (40_000, &[39_000, 1_000], 1),
            (32 * 2_000, &[1_000; 64], 2),
            (32 * 2_000, &[2_001, 1], 1),
            (1 << 20, &[100; 10_000], 327),
            (1 << 20, &[usize::MAX, 1], 1),
        ];
        for (size, records, first) in table {
            let sizes = records.iter().copied();
            assert_eq!(first_records(size, sizes), first, "{size} {records:?}");
        }
    }
}
