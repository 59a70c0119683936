//! Samples that stand for records of which only the sum and the extremes are known.

/// The sizes of the smallest and of the largest record.
pub(crate) type Sizes = (u64, u64);

/// So many samples, each with its number: their count, their sum and, where they are given, their extremes
/// are those of the records. Those in between are taken as equal.
pub(super) fn spread(sum: u64, records: u64, extremes: Option<Sizes>) -> [(u64, u64); 4] {
    let (low, high) = match extremes {
        Some((low, high)) if records == 2 && low + high == sum => ((low, 1), (high, 1)),
        Some((low, high)) if records > 2 && low + high <= sum => ((low, 1), (high, 1)),
        _ => ((0, 0), (0, 0)),
    };
    let records = records.saturating_sub(low.1 + high.1);
    let sum = sum.saturating_sub(low.0 + high.0);
    let (each, more) = match records {
        0 => (0, 0),
        n => (sum / n, sum % n),
    };
    [low, high, (each, records - more), (each + 1, more)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn count_sum_and_extremes_are_those_of_the_records() {
        for sizes in [
            &[7][..],
            &[0],
            &[3, 9],
            &[5, 5],
            &[1, 2, 6],
            &[10, 10, 10, 11, 400],
            &[0, 0, 0, 1],
        ] {
            let (records, sum) = (sizes.len() as u64, sizes.iter().sum::<u64>());
            let (low, high) = (*sizes.iter().min().unwrap(), *sizes.iter().max().unwrap());
            for extremes in [Some((low, high)), None] {
                let samples = spread(sum, records, extremes);
                let taken = || samples.iter().filter(|(_, times)| *times > 0);
                assert_eq!(taken().map(|(_, times)| times).sum::<u64>(), records);
                assert_eq!(taken().map(|(size, times)| size * times).sum::<u64>(), sum);
                if extremes.is_some() || records == 1 {
                    assert_eq!(taken().map(|(size, _)| *size).min(), Some(low), "{sizes:?}");
                    assert_eq!(
                        taken().map(|(size, _)| *size).max(),
                        Some(high),
                        "{sizes:?}"
                    );
                }
            }
        }
        assert!(spread(0, 0, None).iter().all(|(_, times)| *times == 0));
    }
}
