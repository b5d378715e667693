//! The `Date` of a response (RFC 9110 section 5.6.7), which is formatted only once a second.

const DAYS: [&[u8; 3]; 7] = [b"Thu", b"Fri", b"Sat", b"Sun", b"Mon", b"Tue", b"Wed"];
const MONTHS: [&[u8; 3]; 12] = [
    b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec",
];

/// Keeps the text of the last second that was asked for.
#[derive(Clone, Debug, Default)]
pub struct DateCache {
    last: Option<(u64, [u8; 29])>,
}

impl DateCache {
    /// Returns an empty cache.
    #[must_use]
    pub const fn new() -> Self {
        Self { last: None }
    }

    /// Returns the text of a time, in seconds since the epoch: `Sun, 06 Nov 1994 08:49:37 GMT`. Years have four digits:
    /// a time after 9999 is given as the last second before it.
    pub fn at(&mut self, seconds: u64) -> &[u8; 29] {
        if self.last.is_none_or(|(second, _)| second != seconds) {
            self.last = None;
        }
        &self
            .last
            .get_or_insert_with(|| (seconds, imf_fixdate(seconds)))
            .1
    }
}

fn imf_fixdate(seconds: u64) -> [u8; 29] {
    const LAST: u64 = 253_402_300_799;
    let seconds = seconds.min(LAST);
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    // Years that begin in March have the leap day at their end: from there, months repeat every five.
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = (shifted_month + 2) % 12;
    let year = year_of_era + era * 400 + u64::from(month < 2);

    let mut text = *b"Thu, 01 Jan 1970 00:00:00 GMT";
    text[..3].copy_from_slice(DAYS[(days % 7) as usize]);
    text[8..11].copy_from_slice(MONTHS[month as usize]);
    for (at, number) in [
        (5, day),
        (12, year / 100),
        (14, year % 100),
        (17, second / 3600),
        (20, second / 60 % 60),
        (23, second % 60),
    ] {
        text[at] = b'0' + (number / 10) as u8;
        text[at + 1] = b'0' + (number % 10) as u8;
    }
    text
}
