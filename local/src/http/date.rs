//! Dates as HTTP and as AWS' error texts write them. Times are milliseconds since the epoch.

const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
const MONTHS: [&str; 12] = [
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
];

struct Parts {
    weekday: &'static str,
    day: u64,
    month: &'static str,
    month_number: u64,
    year: u64,
    time: String,
}

/// For the `Date` header: `Sun, 06 Nov 1994 08:49:37 GMT`.
pub(crate) fn of_header(millis: u64) -> String {
    let p = parts(millis);
    format!(
        "{}, {:02} {} {:04} {} GMT",
        p.weekday, p.day, p.month, p.year, p.time
    )
}

/// For error texts: `Sun Nov 06 08:49:37 UTC 1994`.
pub(crate) fn of_errors(millis: u64) -> String {
    let p = parts(millis);
    format!(
        "{} {} {:02} {} UTC {:04}",
        p.weekday, p.month, p.day, p.time, p.year
    )
}

/// For signatures: `19941106T084937Z`.
pub(crate) fn basic_format(millis: u64) -> String {
    let p = parts(millis);
    let time = p.time.replace(':', "");
    format!("{:04}{:02}{:02}T{time}Z", p.year, p.month_number, p.day)
}

/// For XML and people: `1994-11-06T08:49:37Z`.
pub(crate) fn iso(millis: u64) -> String {
    let p = parts(millis);
    format!(
        "{:04}-{:02}-{:02}T{}Z",
        p.year, p.month_number, p.day, p.time
    )
}

/// Year, month and day, hour, minute and second as milliseconds since the epoch; none for what is in
/// no calendar, or before the epoch.
pub(crate) fn to_millis(date: [u64; 3], time: [u64; 3]) -> Option<u64> {
    let [year, month, day] = date;
    let [hour, minute, second] = time;
    let sound = (1970..=9999).contains(&year)
        && (1..=12).contains(&month)
        && (1..=31).contains(&day)
        && hour < 24
        && minute < 60
        && second <= 60;
    if !sound {
        return None;
    }
    // Howard Hinnant's days-from-civil, for years after 1970.
    let y = year - u64::from(month <= 2);
    let era = y / 400;
    let yoe = y % 400;
    let mp = if month > 2 { month - 3 } else { month + 9 };
    let doy = (153 * mp + 2) / 5 + day - 1;
    let doe = yoe * 365 + yoe / 4 - yoe / 100 + doy;
    let days = (era * 146_097 + doe).checked_sub(719_468)?;
    Some((days * 86_400 + hour * 3_600 + minute * 60 + second) * 1_000)
}

fn parts(millis: u64) -> Parts {
    let seconds = millis / 1_000;
    let days = seconds / 86_400;
    let of_day = seconds % 86_400;
    // Howard Hinnant's civil-from-days, for years after 1970.
    let z = days + 719_468;
    let era = z / 146_097;
    let doe = z % 146_097;
    let yoe = (doe - doe / 1_460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let day = doy - (153 * mp + 2) / 5 + 1;
    let month = if mp < 10 { mp + 3 } else { mp - 9 };
    let year = yoe + era * 400 + u64::from(month <= 2);
    Parts {
        weekday: name(&DAYS, days % 7),
        day,
        month: name(&MONTHS, month - 1),
        month_number: month,
        year,
        time: format!(
            "{:02}:{:02}:{:02}",
            of_day / 3_600,
            of_day / 60 % 60,
            of_day % 60
        ),
    }
}

fn name(names: &[&'static str], index: u64) -> &'static str {
    usize::try_from(index)
        .ok()
        .and_then(|i| names.get(i))
        .copied()
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first from RFC 9110, the others from a calendar.
    #[test]
    fn dates_are_written_as_http_does() {
        let cases = [
            (784_111_777_000, "Sun, 06 Nov 1994 08:49:37 GMT"),
            (0, "Thu, 01 Jan 1970 00:00:00 GMT"),
            (951_782_400_000, "Tue, 29 Feb 2000 00:00:00 GMT"),
            (1_709_251_199_999, "Thu, 29 Feb 2024 23:59:59 GMT"),
            (1_735_689_600_000, "Wed, 01 Jan 2025 00:00:00 GMT"),
            (4_102_444_799_000, "Thu, 31 Dec 2099 23:59:59 GMT"),
        ];
        for (millis, text) in cases {
            assert_eq!(of_header(millis), text);
        }
        assert_eq!(basic_format(784_111_777_000), "19941106T084937Z");
        assert_eq!(iso(784_111_777_000), "1994-11-06T08:49:37Z");
        for (millis, date) in [
            (0, [1970, 1, 1]),
            (951_782_400_000, [2000, 2, 29]),
            (1_735_689_600_000, [2025, 1, 1]),
        ] {
            assert_eq!(to_millis(date, [0, 0, 0]), Some(millis));
        }
        assert_eq!(to_millis([1994, 11, 6], [8, 49, 37]), Some(784_111_777_000));
        assert_eq!(to_millis([1994, 13, 6], [0, 0, 0]), None);
        assert_eq!(to_millis([1994, 1, 6], [24, 0, 0]), None);
        assert_eq!(of_errors(784_111_777_000), "Sun Nov 06 08:49:37 UTC 1994");
    }
}
