//! Times as credential sources write them.

use std::time::{Duration, SystemTime};

/// Reads `2026-11-21T16:36:03Z`, also with a fraction of a second, an offset, or `UTC` for `Z` (as old
/// caches of SSO tokens have it). `None` for anything else, and for times before 1970.
pub(super) fn parse(text: &str) -> Option<SystemTime> {
    let text = text.trim();
    let (date, rest) = text.split_once(['T', 't', ' '])?;
    let zone_at = rest.find(['Z', 'z', 'U', '+', '-'])?;
    let (clock, zone) = (rest.get(..zone_at)?, rest.get(zone_at..)?);
    let [year, month, day] = numbers(date, '-')?;
    let (clock, fraction) = clock.split_once('.').unwrap_or((clock, "0"));
    let [hour, minute, second] = numbers(clock, ':')?;
    let valid = (1..=12).contains(&month)
        && (1..=31).contains(&day)
        && hour < 24
        && minute < 60
        && second <= 60
        && year <= 9_999
        && fraction.bytes().all(|b| b.is_ascii_digit());
    if !valid {
        return None;
    }
    let seconds = days(year, month, day) * 86_400 + hour * 3_600 + minute * 60 + second;
    let seconds = seconds - offset(zone)?;
    let at = Duration::from_secs(u64::try_from(seconds).ok()?);
    SystemTime::UNIX_EPOCH.checked_add(at)
}

/// Three numbers, digits alone.
fn numbers(text: &str, between: char) -> Option<[i64; 3]> {
    let mut parts = text.split(between).map(|part| {
        let digits = !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
        part.parse().ok().filter(|_| digits)
    });
    let three = [parts.next()??, parts.next()??, parts.next()??];
    parts.next().is_none().then_some(three)
}

/// Seconds east of Greenwich.
fn offset(zone: &str) -> Option<i64> {
    let (sign, rest) = match zone {
        "Z" | "z" | "UTC" => return Some(0),
        _ => (
            if zone.starts_with('-') { -1 } else { 1 },
            zone.get(1..)?.replace(':', ""),
        ),
    };
    let digits = rest.len() == 4 && rest.bytes().all(|b| b.is_ascii_digit());
    let (hours, minutes) = rest.split_at_checked(2)?;
    let (hours, minutes): (i64, i64) = (hours.parse().ok()?, minutes.parse().ok()?);
    digits.then_some(sign * (hours * 3_600 + minutes * 60))
}

/// Days since 1970-01-01 in the Gregorian calendar, by counting in years that begin in March.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

/// `2026-11-21T16:36:03Z`. A time before 1970 counts as 1970.
pub(super) fn text(at: SystemTime) -> String {
    let seconds = runtime::time::epoch_millis(at) / 1_000;
    let (day, second) = (seconds / 86_400, seconds % 86_400);
    // Counted as in `days`: in years that begin in March, four hundred of which are an era.
    let day = day + 719_468;
    let (era, of_era) = (day / 146_097, day % 146_097);
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * from_march + 2) / 5 + 1;
    let month = (from_march + 2) % 12 + 1;
    let year = year + era * 400 + u64::from(month <= 2);
    let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(text: &str) -> Option<u64> {
        let at = parse(text)?;
        Some(at.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs())
    }

    #[test]
    fn times_of_all_sources_are_read() {
        for (text, expected) in [
            ("1970-01-01T00:00:00Z", 0),
            ("2016-02-25T06:03:31Z", 1_456_380_211),
            ("2020-06-17T10:02:08UTC", 1_592_388_128),
            ("2024-02-29T23:59:59.123456Z", 1_709_251_199),
            ("2023-11-14T22:13:20+00:00", 1_700_000_000),
            ("2023-11-15T00:13:20+02:00", 1_700_000_000),
            ("2023-11-14T17:13:20-0500", 1_700_000_000),
            ("2023-11-14 22:13:20Z", 1_700_000_000),
            ("2100-03-01T00:00:00Z", 4_107_542_400),
        ] {
            assert_eq!(seconds(text), Some(expected), "{text}");
        }
    }

    #[test]
    fn what_is_no_time_is_none() {
        for text in [
            "",
            "tomorrow",
            "2023-11-14",
            "2023-11-14T22:13:20",
            "2023-13-14T22:13:20Z",
            "2023-11-14T25:13:20Z",
            "2023-11-14T22:13Z",
            "2023-11-14T22:13:20+2",
            "2023-11-14T22:13:20.xZ",
            "1969-12-31T23:59:59Z",
            "+023-11-14T22:13:20Z",
        ] {
            assert_eq!(seconds(text), None, "{text}");
        }
    }

    #[test]
    fn times_are_written_as_they_are_read() {
        for written in [
            "1970-01-01T00:00:00Z",
            "2016-02-25T06:03:31Z",
            "2024-02-29T23:59:59Z",
            "2024-03-01T00:00:00Z",
            "2023-12-31T23:59:59Z",
            "2100-03-01T00:00:00Z",
        ] {
            assert_eq!(text(parse(written).unwrap()), written);
        }
    }

    proptest::proptest! {
        #[test]
        fn any_second_is_written_and_read_again(seconds in 0_u64..253_402_300_800) {
            let at = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
            proptest::prop_assert_eq!(parse(&text(at)), Some(at));
        }

        #[test]
        fn any_text_is_taken(text: String, near in "[0-9]{1,4}-[0-9]{1,2}-[0-9]{1,2}T[0-9:.]{0,9}[Z+é-][0-9:]{0,5}") {
            let _ = (parse(&text), parse(&near));
        }
    }
}
