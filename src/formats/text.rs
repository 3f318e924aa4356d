//! Scalars as plain text and back: what JSON, CSV and keys of format `string` have in common.
//!
//! Dates and times are ISO 8601 / RFC 3339, bytes are base64, decimals and numbers are plain decimals.

use std::io::Write;

use arrow::datatypes::TimeUnit;

const SECONDS_PER_DAY: i64 = 86_400;
const NANOS_PER_SECOND: i64 = 1_000_000_000;

/// How many of a unit make a second.
pub(super) fn per_second(unit: TimeUnit) -> i64 {
    match unit {
        TimeUnit::Second => 1,
        TimeUnit::Millisecond => 1_000,
        TimeUnit::Microsecond => 1_000_000,
        TimeUnit::Nanosecond => NANOS_PER_SECOND,
    }
}

/// The decimals of a second that a unit counts.
pub(super) fn decimals(unit: TimeUnit) -> i8 {
    match unit {
        TimeUnit::Second => 0,
        TimeUnit::Millisecond => 3,
        TimeUnit::Microsecond => 6,
        TimeUnit::Nanosecond => 9,
    }
}

pub(super) fn put(value: impl std::fmt::Display, out: &mut Vec<u8>) {
    write!(out, "{value}").expect("writing into memory does not fail");
}

/// A whole number; several times faster than through `fmt`.
pub(super) fn put_integer(value: i64, out: &mut Vec<u8>) {
    /// Digits of 2^64 and a sign.
    const LENGTH_MAX: usize = 21;
    let mut digits = [0; LENGTH_MAX];
    let mut start = LENGTH_MAX;
    let mut rest = value.unsigned_abs();
    loop {
        start -= 1;
        digits[start] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    if value < 0 {
        start -= 1;
        digits[start] = b'-';
    }
    out.extend_from_slice(&digits[start..]);
}

/// So many last digits of a number, with zeros before them.
fn put_digits<const COUNT: usize>(value: i64, out: &mut Vec<u8>) {
    let mut digits = [b'0'; COUNT];
    let mut rest = value;
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    out.extend_from_slice(&digits);
}

/// The shortest text that reads back as the same number; `NaN` and infinities as Rust spells them.
pub(super) fn put_float(value: impl zmij::Float + Into<f64> + std::fmt::Debug, out: &mut Vec<u8>) {
    /// Several times faster than through `fmt`, which writes exponents elsewhere, and otherwise.
    const PLAIN: std::ops::Range<f64> = 1e-4..1e15;
    let size = value.into().abs();
    if PLAIN.contains(&size) || size == 0.0 {
        let mut buffer = zmij::Buffer::new();
        let text = buffer.format_finite(value).as_bytes();
        if !text.contains(&b'e') {
            return out.extend_from_slice(text);
        }
    }
    write!(out, "{value:?}").expect("writing into memory does not fail");
}

/// Sixteen bytes as `8-4-4-4-12` hexadecimal digits.
pub(super) fn put_uuid(bytes: &[u8], out: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    for (index, byte) in bytes.iter().enumerate() {
        if matches!(index, 4 | 6 | 8 | 10) {
            out.push(b'-');
        }
        out.extend_from_slice(&[HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
    }
}

pub(super) fn parse_uuid(text: &str) -> Option<[u8; 16]> {
    uuid::Uuid::try_parse(text).ok().map(uuid::Uuid::into_bytes)
}

const BASE64: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

pub(super) fn put_base64(bytes: &[u8], out: &mut Vec<u8>) {
    for chunk in bytes.chunks(3) {
        let word = chunk.iter().fold(0u32, |word, byte| word << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for index in 0..4 {
            let symbol = BASE64[(word >> (18 - 6 * index)) as usize & 63];
            out.push(if index <= chunk.len() { symbol } else { b'=' });
        }
    }
}

/// Appends the bytes that standard base64 with padding stands for; false if it is none (then `out` has rubbish at its end).
pub(super) fn parse_base64(text: &str, out: &mut Vec<u8>) -> bool {
    let bytes = text.as_bytes();
    let padding = bytes.iter().rev().take_while(|byte| **byte == b'=').count();
    if !bytes.len().is_multiple_of(4) || padding > 2 {
        return false;
    }
    let mut word = 0u32;
    for (index, byte) in bytes[..bytes.len() - padding].iter().enumerate() {
        let Some(value) = base64_value(*byte) else { return false };
        word = word << 6 | value;
        if index % 4 == 3 {
            out.extend_from_slice(&word.to_be_bytes()[1..]);
            word = 0;
        }
    }
    match padding {
        1 => out.extend_from_slice(&((word << 6).to_be_bytes()[1..3])),
        2 => out.extend_from_slice(&((word << 12).to_be_bytes()[1..2])),
        _ => {}
    }
    true
}

fn base64_value(byte: u8) -> Option<u32> {
    Some(u32::from(match byte {
        b'A'..=b'Z' => byte - b'A',
        b'a'..=b'z' => byte - b'a' + 26,
        b'0'..=b'9' => byte - b'0' + 52,
        b'+' => 62,
        b'/' => 63,
        _ => return None,
    }))
}

/// Days since 1970 as `2024-02-29`; years beyond 9999 with a sign.
pub(super) fn put_date(days: i64, out: &mut Vec<u8>) {
    let (year, month, day) = civil(days);
    match year {
        0..=9999 => put_digits::<4>(year, out),
        _ => write!(out, "{year:+05}").expect("writing into memory does not fail"),
    }
    out.push(b'-');
    put_digits::<2>(month, out);
    out.push(b'-');
    put_digits::<2>(day, out);
}

pub(super) fn parse_date(text: &str) -> Option<i32> {
    let mut reader = Reader { rest: text.as_bytes() };
    let days = reader.date()?;
    (reader.rest.is_empty()).then_some(i32::try_from(days).ok()?)
}

/// A time of day as `13:05:00`, with as many decimals as are not zero (3, 6 or 9).
pub(super) fn put_time(value: i64, unit: TimeUnit, out: &mut Vec<u8>) {
    let nanos = i128::from(value) * i128::from(NANOS_PER_SECOND / per_second(unit));
    put_clock(
        (nanos.div_euclid(i128::from(NANOS_PER_SECOND))) as i64,
        nanos.rem_euclid(NANOS_PER_SECOND.into()) as u32,
        out,
    );
}

fn put_clock(seconds: i64, nanos: u32, out: &mut Vec<u8>) {
    match seconds {
        0..360_000 => {
            put_digits::<2>(seconds / 3600, out);
            out.push(b':');
            put_digits::<2>(seconds / 60 % 60, out);
            out.push(b':');
            put_digits::<2>(seconds % 60, out);
        }
        // No time of any day, which a column may hold all the same.
        _ => put(format_args!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60), out),
    }
    if nanos == 0 {
        return;
    }
    out.push(b'.');
    let nanos = i64::from(nanos);
    match (nanos % 1_000_000, nanos % 1_000) {
        (0, _) => put_digits::<3>(nanos / 1_000_000, out),
        (_, 0) => put_digits::<6>(nanos / 1_000, out),
        _ => put_digits::<9>(nanos, out),
    }
}

/// A time of day in a unit; digits beyond the unit are cut off.
pub(super) fn parse_time(text: &str, unit: TimeUnit) -> Option<i64> {
    let mut reader = Reader { rest: text.as_bytes() };
    let (seconds, nanos) = reader.clock()?;
    reader
        .rest
        .is_empty()
        .then_some(seconds * per_second(unit) + i64::from(nanos) / (NANOS_PER_SECOND / per_second(unit)))
}

/// A point in time as RFC 3339 in UTC, `2024-01-01T00:00:00.123Z`; without the `Z` if it is a local time.
pub(super) fn put_timestamp(value: i64, unit: TimeUnit, utc: bool, out: &mut Vec<u8>) {
    let scale = per_second(unit);
    let (seconds, fraction) = (value.div_euclid(scale), value.rem_euclid(scale));
    put_date(seconds.div_euclid(SECONDS_PER_DAY), out);
    out.push(b'T');
    put_clock(seconds.rem_euclid(SECONDS_PER_DAY), (fraction * (NANOS_PER_SECOND / scale)) as u32, out);
    if utc {
        out.push(b'Z');
    }
}

/// RFC 3339 (`T` may be `t` or a space). A point in time needs its offset, a local time has none.
/// Digits beyond the unit are cut off.
pub(super) fn parse_timestamp(text: &str, unit: TimeUnit, utc: bool) -> Option<i64> {
    let mut reader = Reader { rest: text.as_bytes() };
    let days = reader.date()?;
    reader.one_of(b"Tt ")?;
    let (seconds, nanos) = reader.clock()?;
    let offset = if utc { reader.offset()? } else { 0 };
    if !reader.rest.is_empty() {
        return None;
    }
    let seconds = days.checked_mul(SECONDS_PER_DAY)?.checked_add(seconds - offset)?;
    let scale = per_second(unit);
    seconds.checked_mul(scale)?.checked_add(i64::from(nanos) / (NANOS_PER_SECOND / scale))
}

struct Reader<'a> {
    rest: &'a [u8],
}

impl Reader<'_> {
    fn one_of(&mut self, bytes: &[u8]) -> Option<u8> {
        let (first, rest) = self.rest.split_first()?;
        bytes.contains(first).then(|| self.rest = rest)?;
        Some(*first)
    }

    /// Exactly `count` digits.
    fn digits(&mut self, count: usize) -> Option<i64> {
        let (digits, rest) = self.rest.split_at_checked(count)?;
        let value =
            digits.iter().try_fold(0, |value, byte| byte.is_ascii_digit().then(|| value * 10 + i64::from(byte - b'0')));
        self.rest = rest;
        value
    }

    fn up_to(&mut self, count: usize, max: i64) -> Option<i64> {
        self.digits(count).filter(|value| *value <= max)
    }

    fn date(&mut self) -> Option<i64> {
        let year = self.digits(4)?;
        self.one_of(b"-")?;
        let month = self.up_to(2, 12)?;
        self.one_of(b"-")?;
        let day = self.up_to(2, 31)?;
        let days = days_from_civil(year, month, day);
        // 31 February is no day: it would come back as another one.
        (civil(days) == (year, month, day)).then_some(days)
    }

    fn clock(&mut self) -> Option<(i64, u32)> {
        let hours = self.up_to(2, 23)?;
        self.one_of(b":")?;
        let minutes = self.up_to(2, 59)?;
        self.one_of(b":")?;
        // A leap second counts as the one before it.
        let seconds = self.up_to(2, 60)?.min(59);
        let mut nanos = 0;
        if self.one_of(b".").is_some() {
            let count = self.rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
            let (digits, rest) = self.rest.split_at(count);
            if digits.is_empty() {
                return None;
            }
            nanos =
                (0..9).fold(0, |nanos, index| nanos * 10 + digits.get(index).map_or(0, |byte| u32::from(byte - b'0')));
            self.rest = rest;
        }
        Some((hours * 3600 + minutes * 60 + seconds, nanos))
    }

    fn offset(&mut self) -> Option<i64> {
        let sign = match self.one_of(b"Zz+-")? {
            b'+' => 1,
            b'-' => -1,
            _ => return Some(0),
        };
        let hours = self.up_to(2, 23)?;
        self.one_of(b":")?;
        Some(sign * (hours * 3600 + self.up_to(2, 59)? * 60))
    }
}

/// Year, month and day of a day since 1970 in the proleptic Gregorian calendar: eras of 400 years
/// that begin on 1 March.
fn civil(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = year - i64::from(month <= 2);
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let month_from_march = (month + 9) % 12;
    let day_of_year = (153 * month_from_march + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

/// An unscaled integer (its decimal digits) as a decimal: `-1234` of scale 2 is `-12.34`.
pub(super) fn put_decimal(digits: &str, scale: i8, out: &mut Vec<u8>) {
    let (sign, digits) = digits.strip_prefix('-').map_or(("", digits), |rest| ("-", rest));
    let scale = usize::try_from(scale).unwrap_or(0);
    out.extend_from_slice(sign.as_bytes());
    if scale == 0 {
        out.extend_from_slice(digits.as_bytes());
        return;
    }
    let whole = digits.len().saturating_sub(scale);
    out.extend_from_slice(if whole == 0 { b"0" } else { &digits.as_bytes()[..whole] });
    out.push(b'.');
    out.resize(out.len() + (scale + whole).saturating_sub(digits.len()), b'0');
    out.extend_from_slice(&digits.as_bytes()[whole..]);
}

/// A decimal number times 10^scale as the digits of an integer, into `digits`. Digits beyond the
/// scale must be zero, unless `cut` cuts them off (towards zero). `None`: not such a number.
pub(super) fn scaled<'a>(number: &str, scale: i8, cut: bool, digits: &'a mut String) -> Option<&'a str> {
    /// More than any of our types holds.
    const DIGITS_MAX: usize = 100;
    digits.clear();
    let (mantissa, exponent) = match number.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.strip_prefix('+').unwrap_or(exponent).parse::<i32>().ok()?),
        None => (number, 0),
    };
    let unsigned = mantissa.strip_prefix('-').unwrap_or(mantissa);
    let (whole, fraction) = unsigned.split_once('.').unwrap_or((unsigned, ""));
    let all = || whole.bytes().chain(fraction.bytes());
    if all().next().is_none() || !all().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    if mantissa.starts_with('-') {
        digits.push('-');
    }
    // The number is 0.DIGITS times 10^point, after scaling.
    let point = i64::try_from(whole.len()).ok()? + i64::from(exponent) + i64::from(scale);
    let significant = all().position(|byte| byte != b'0');
    let Some(first) = significant else {
        digits.push('0');
        return Some(digits);
    };
    let kept = usize::try_from(point).unwrap_or(0);
    if !cut && all().skip(kept).any(|byte| byte != b'0') {
        return None;
    }
    if kept.saturating_sub(first) > DIGITS_MAX {
        return None;
    }
    let start = digits.len();
    digits.extend(all().map(char::from).chain(std::iter::repeat('0')).take(kept).skip(first));
    if digits.len() == start {
        digits.push('0');
    }
    Some(digits)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn printed(put: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        put(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn timestamps_are_rfc_3339_both_ways() {
        for text in
            ["1969-12-31T23:59:59.999Z", "2024-02-29T12:00:00Z", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59.123Z"]
        {
            let value = parse_timestamp(text, TimeUnit::Millisecond, true).unwrap();
            assert_eq!(printed(|out| put_timestamp(value, TimeUnit::Millisecond, true, out)), text);
        }
        let parse = |text| parse_timestamp(text, TimeUnit::Microsecond, true);
        assert_eq!(parse("1970-01-01T01:00:00.0000019+01:00"), Some(1));
        assert_eq!(parse("1970-01-01 00:00:01z"), Some(1_000_000));
        for bad in ["1970-01-01T00:00:00", "1970-02-30T00:00:00Z", "1970-01-01T24:00:00Z", "x", "1970-01-01T00:00:00.Z"]
        {
            assert_eq!(parse(bad), None, "{bad}");
        }
        assert_eq!(parse_timestamp("1970-01-01T00:00:01", TimeUnit::Second, false), Some(1));
    }

    /// What is written without `fmt` is what `fmt` writes.
    #[test]
    fn dates_clocks_and_floats_are_those_of_fmt() {
        let mut state = 17_u64;
        let mut random = || {
            // SplitMix64.
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            mixed ^ (mixed >> 31)
        };
        let edges = [
            0.0,
            -0.0,
            1e-4,
            9.999e-5,
            99_999_999_999_999.9,
            1e14,
            1e15,
            999_999_999_999_999.9,
            1e16,
            0.1,
            0.3,
            f64::MIN_POSITIVE,
        ];
        let mut check = |value: f64| {
            // Where two shortest texts are equally near, each may take its own; only the last digits differ then.
            let is_like = |text: &str, fmt: &str| {
                text.len() == fmt.len()
                    && text.contains('e') == fmt.contains('e')
                    && text.contains('.') == fmt.contains('.')
            };
            let (text, fmt) = (printed(|out| put_float(value, out)), format!("{value:?}"));
            assert!(
                is_like(&text, &fmt) && text.parse::<f64>().unwrap().to_bits() == fmt.parse::<f64>().unwrap().to_bits(),
                "{text} {fmt}"
            );
            let narrow = value as f32;
            let (text, fmt) = (printed(|out| put_float(narrow, out)), format!("{narrow:?}"));
            assert!(
                is_like(&text, &fmt) && text.parse::<f32>().unwrap().to_bits() == fmt.parse::<f32>().unwrap().to_bits(),
                "{text} {fmt}"
            );
        };
        edges.into_iter().chain([f64::NAN, f64::INFINITY, f64::NEG_INFINITY]).for_each(&mut check);
        for _ in 0..200_000 {
            let bits = random();
            check(f64::from_bits(bits));
            check((bits >> 40) as f64 / 100.0);
            check(-(bits as i64 as f64) / 10f64.powi((bits % 23) as i32));
        }
        for (days, text) in [(-719_528, "0000-01-01"), (2_932_897, "+10000-01-01"), (-719_529, "-0001-12-31")] {
            assert_eq!(printed(|out| put_date(days, out)), text);
        }
        assert_eq!(printed(|out| put_time(-5, TimeUnit::Second, out)), "00:00:-5");
        assert_eq!(printed(|out| put_time(360_000, TimeUnit::Second, out)), "100:00:00");
        for _ in 0..100_000 {
            let nanos = (random() % 86_400_000_000_000) as i64;
            let nanos = [nanos, nanos / 1_000 * 1_000, nanos / 1_000_000 * 1_000_000][(nanos % 3) as usize];
            let (seconds, part) = (nanos / NANOS_PER_SECOND, nanos % NANOS_PER_SECOND);
            let mut text = format!("{:02}:{:02}:{:02}.{part:09}", seconds / 3600, seconds / 60 % 60, seconds % 60);
            while text.ends_with("000") && text.contains('.') {
                text.truncate(text.len() - 3);
            }
            assert_eq!(printed(|out| put_time(nanos, TimeUnit::Nanosecond, out)), text.trim_end_matches('.'));
        }
    }

    #[test]
    fn every_day_of_eight_centuries_comes_back() {
        for days in -146_097..146_097 {
            let (year, month, day) = civil(days);
            assert_eq!(days_from_civil(year, month, day), days);
        }
    }

    #[test]
    fn base64_comes_back() {
        for bytes in [&b""[..], b"\0", b"\0\xff", b"abc", b"abcd"] {
            let text = printed(|out| put_base64(bytes, out));
            let mut back = Vec::new();
            assert!(parse_base64(&text, &mut back) && back == bytes, "{text}");
        }
        assert!(!parse_base64("abc", &mut Vec::new()) && !parse_base64("ab*=", &mut Vec::new()));
    }

    #[test]
    fn numbers_are_scaled_exactly() {
        let of = |number: &str, scale, cut| scaled(number, scale, cut, &mut String::new()).map(str::to_owned);
        assert_eq!(of("12.34", 2, false).as_deref(), Some("1234"));
        assert_eq!(of("-0.5", 3, false).as_deref(), Some("-500"));
        assert_eq!(of("1e3", 0, false).as_deref(), Some("1000"));
        assert_eq!(of("1.50e1", 0, false).as_deref(), Some("15"));
        assert_eq!(of("0.000", 0, false).as_deref(), Some("0"));
        assert_eq!(of("1.5", 0, false), None);
        assert_eq!(of("1700000000.1239", 3, true).as_deref(), Some("1700000000123"));
        assert_eq!(of("0.0001", 3, true).as_deref(), Some("0"));
        assert_eq!((of("1e999999999", 0, false), of("1e-5", 2, false), of("", 0, false)), (None, None, None));
    }

    #[test]
    fn integers_are_those_of_fmt() {
        for value in [0, 9, 10, -1, i64::MAX, i64::MIN] {
            assert_eq!(printed(|out| put_integer(value, out)), value.to_string());
        }
    }

    #[test]
    fn decimals_have_their_scale() {
        let of = |digits, scale| printed(|out| put_decimal(digits, scale, out));
        assert_eq!([of("-1234", 2), of("5", 3), of("0", 2), of("7", 0)], ["-12.34", "0.005", "0.00", "7"]);
    }
}
