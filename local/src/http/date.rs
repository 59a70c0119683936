//! Dates as HTTP and as AWS' error texts write them. Times are milliseconds since the epoch.

const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
const MONTHS: [&str; 12] = [
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
];

struct Parts {
    weekday: &'static str,
    day: u64,
    month: &'static str,
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
        assert_eq!(of_errors(784_111_777_000), "Sun Nov 06 08:49:37 UTC 1994");
    }
}
