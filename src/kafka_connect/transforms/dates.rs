//! Java's `SimpleDateFormat` in UTC: patterns such as `yyyy-MM-dd'T'HH:mm:ss.SSS`.

use chrono::{DateTime, Datelike, NaiveDate, Timelike};

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const DAYS: [&str; 7] = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];
const LETTERS: &str = "GyYMLwWDdFEuaHkKhmsSzZX";

/// A pattern, read.
#[derive(Debug, Clone, PartialEq)]
pub struct DateFormat {
    pattern: String,
    parts: Vec<Part>,
}

#[derive(Debug, Clone, PartialEq)]
enum Part {
    Text(String),
    /// A letter, and how often it stands there.
    Field(char, usize),
}

/// What a text says of a moment.
struct Parsed {
    year: i64,
    month: i64,
    day: i64,
    day_of_year: Option<i64>,
    hour: i64,
    afternoon: Option<bool>,
    minute: i64,
    second: i64,
    milli: i64,
    offset_ms: i64,
}

impl DateFormat {
    /// # Errors
    /// A letter that means nothing, or is not available.
    pub fn new(pattern: &str) -> Result<DateFormat, String> {
        let mut parts: Vec<Part> = Vec::new();
        let mut rest = pattern.chars().peekable();
        let text = |parts: &mut Vec<Part>, character: char| match parts.last_mut() {
            Some(Part::Text(text)) => text.push(character),
            _ => parts.push(Part::Text(character.to_string())),
        };
        while let Some(character) = rest.next() {
            match character {
                '\'' if rest.next_if_eq(&'\'').is_some() => text(&mut parts, '\''),
                '\'' => loop {
                    match rest.next() {
                        Some('\'') if rest.next_if_eq(&'\'').is_some() => text(&mut parts, '\''),
                        Some('\'') => break,
                        Some(quoted) => text(&mut parts, quoted),
                        None => return Err("Unterminated quote".into()),
                    }
                },
                letter if letter.is_ascii_alphabetic() => {
                    if !LETTERS.contains(letter) {
                        return Err(format!("Illegal pattern character '{letter}'"));
                    }
                    if "GYwWF".contains(letter) {
                        return Err(format!("pattern character '{letter}' is not available"));
                    }
                    let mut count = 1;
                    while rest.next_if_eq(&letter).is_some() {
                        count += 1;
                    }
                    parts.push(Part::Field(letter, count));
                }
                other => text(&mut parts, other),
            }
        }
        Ok(DateFormat { pattern: pattern.to_owned(), parts })
    }

    pub fn pattern(&self) -> &str {
        &self.pattern
    }

    /// Milliseconds since 1970 as text.
    pub fn format(&self, ms: i64) -> String {
        let Some(time) = DateTime::from_timestamp_millis(ms) else { return ms.to_string() };
        let mut out = String::new();
        for part in &self.parts {
            match part {
                Part::Text(text) => out.push_str(text),
                Part::Field(letter, count) => out.push_str(&field(*letter, *count, &time)),
            }
        }
        out
    }

    /// The moment that a text says; what stands behind it is not read. Lenient as Java's: month 13 is in the next year.
    pub fn parse(&self, text: &str) -> Option<i64> {
        let mut said = Parsed {
            year: 1970,
            month: 1,
            day: 1,
            day_of_year: None,
            hour: 0,
            afternoon: None,
            minute: 0,
            second: 0,
            milli: 0,
            offset_ms: 0,
        };
        let mut rest = text;
        for (index, part) in self.parts.iter().enumerate() {
            match part {
                Part::Text(literal) => rest = rest.strip_prefix(literal.as_str())?,
                Part::Field(letter, count) => {
                    // A number that another one follows directly has just its own digits.
                    let adjoins =
                        matches!(self.parts.get(index + 1), Some(Part::Field(next, count)) if is_number(*next, *count));
                    rest = said.read(*letter, *count, adjoins, rest)?;
                }
            }
        }
        said.ms()
    }
}

fn is_number(letter: char, count: usize) -> bool {
    !("EazZX".contains(letter) || ("ML".contains(letter) && count >= 3))
}

fn field(letter: char, count: usize, time: &DateTime<chrono::Utc>) -> String {
    let padded = |number: i64| format!("{number:0count$}");
    let name = |names: &[&str], index: usize| names[index][..if count > 3 { names[index].len() } else { 3 }].to_owned();
    match letter {
        'y' if count == 2 => format!("{:02}", time.year().rem_euclid(100)),
        'y' => padded(i64::from(time.year())),
        'M' | 'L' if count >= 3 => name(&MONTHS, time.month0() as usize),
        'M' | 'L' => padded(i64::from(time.month())),
        'd' => padded(i64::from(time.day())),
        'D' => padded(i64::from(time.ordinal())),
        'E' => name(&DAYS, time.weekday().num_days_from_monday() as usize),
        'u' => padded(i64::from(time.weekday().number_from_monday())),
        'a' => if time.hour() < 12 { "AM" } else { "PM" }.to_owned(),
        'H' => padded(i64::from(time.hour())),
        'k' => padded(if time.hour() == 0 { 24 } else { i64::from(time.hour()) }),
        'K' => padded(i64::from(time.hour() % 12)),
        'h' => padded(i64::from((time.hour() + 11) % 12 + 1)),
        'm' => padded(i64::from(time.minute())),
        's' => padded(i64::from(time.second())),
        'S' => padded(i64::from(time.timestamp_subsec_millis())),
        'z' if count > 3 => "Coordinated Universal Time".to_owned(),
        'z' => "UTC".to_owned(),
        'Z' => "+0000".to_owned(),
        _ => "Z".to_owned(),
    }
}

impl Parsed {
    /// Reads one field and gives what follows it.
    fn read<'a>(&mut self, letter: char, count: usize, adjoins: bool, text: &'a str) -> Option<&'a str> {
        let text = text.trim_start_matches([' ', '\t']);
        if !is_number(letter, count) {
            return self.read_words(letter, text);
        }
        let digits = text.strip_prefix('-').unwrap_or(text);
        let most = if adjoins { count } else { usize::MAX };
        let length = digits.bytes().take(most).take_while(u8::is_ascii_digit).count();
        let end = text.len() - digits.len() + length;
        if length == 0 || (adjoins && length < count) {
            return None;
        }
        let number: i64 = text[..end].parse().ok()?;
        match letter {
            // Two digits are a year within 80 years before and 20 after today; a fixed window does not move.
            'y' if count <= 2 && length == 2 => self.year = if number < 50 { 2000 + number } else { 1900 + number },
            'y' => self.year = number,
            'M' | 'L' => self.month = number,
            'd' => self.day = number,
            'D' => self.day_of_year = Some(number),
            'H' => self.hour = number,
            'k' => self.hour = if number == 24 { 0 } else { number },
            'K' => self.hour = number,
            'h' => self.hour = if number == 12 { 0 } else { number },
            'm' => self.minute = number,
            's' => self.second = number,
            'S' => self.milli = number,
            _ => {}
        }
        Some(&text[end..])
    }

    fn read_words<'a>(&mut self, letter: char, text: &'a str) -> Option<&'a str> {
        let starts = |name: &str| text.get(..name.len()).is_some_and(|head| head.eq_ignore_ascii_case(name));
        let one_of = |names: &[&str]| {
            names.iter().enumerate().find_map(|(index, name)| {
                let length = if starts(name) { name.len() } else { 3 };
                starts(&name[..length]).then(|| (index, &text[length..]))
            })
        };
        match letter {
            'M' | 'L' => {
                let (month, rest) = one_of(&MONTHS)?;
                self.month = month as i64 + 1;
                Some(rest)
            }
            'E' => Some(one_of(&DAYS)?.1),
            'a' => {
                let afternoon = starts("PM");
                self.afternoon = Some(afternoon);
                (afternoon || starts("AM")).then(|| &text[2..])
            }
            _ => {
                for word in ["UTC", "GMT", "Z"] {
                    if starts(word) {
                        return Some(&text[word.len()..]);
                    }
                }
                let sign = if text.starts_with('-') { -1 } else { 1 };
                let digits = text.strip_prefix(['+', '-'])?;
                let hours: i64 = digits.get(..2)?.parse().ok()?;
                let behind = &digits[2..];
                let minutes = behind.strip_prefix(':').unwrap_or(behind);
                let (minutes, rest) = match minutes.get(..2).and_then(|text| text.parse::<i64>().ok()) {
                    Some(number) => (number, &minutes[2..]),
                    None => (0, behind),
                };
                self.offset_ms = sign * (hours * 60 + minutes) * 60_000;
                Some(rest)
            }
        }
    }

    fn ms(&self) -> Option<i64> {
        let months = self.year.checked_mul(12)?.checked_add(self.month - 1)?;
        let (year, month) = (i32::try_from(months.div_euclid(12)).ok()?, months.rem_euclid(12) as u32 + 1);
        let first = match self.day_of_year {
            Some(_) => NaiveDate::from_ymd_opt(i32::try_from(self.year).ok()?, 1, 1)?,
            None => NaiveDate::from_ymd_opt(year, month, 1)?,
        };
        let days = first.signed_duration_since(NaiveDate::default()).num_days();
        let days = days.checked_add(self.day_of_year.unwrap_or(self.day) - 1)?;
        let hour = self.hour + if self.afternoon == Some(true) { 12 } else { 0 };
        let minutes = days.checked_mul(24)?.checked_add(hour)?.checked_mul(60)?.checked_add(self.minute)?;
        let ms = minutes.checked_mul(60)?.checked_add(self.second)?.checked_mul(1_000)?.checked_add(self.milli)?;
        ms.checked_sub(self.offset_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_go_through_patterns_and_back() {
        let ms = 1_700_000_000_123;
        for (pattern, text, exact) in [
            ("yyyyMMdd", "20231114", false),
            ("yyyy-MM-dd'T'HH:mm:ss.SSS'Z'", "2023-11-14T22:13:20.123Z", true),
            ("EEE, d MMM yyyy hh:mm:ss.SSS a z", "Tue, 14 Nov 2023 10:13:20.123 PM UTC", true),
            ("yy.M.d H:m:s.S Z", "23.11.14 22:13:20.123 +0000", true),
            ("EEEE MMMM D ''u", "Tuesday November 318 '2", false),
            ("yyyy-MM-dd HH:mm:ss.SSSX", "2023-11-14 22:13:20.123Z", true),
        ] {
            let format = DateFormat::new(pattern).unwrap();
            assert_eq!(format.format(ms), text);
            if exact {
                assert_eq!(format.parse(text), Some(ms), "{pattern}");
            }
        }
    }

    #[test]
    fn reading_is_lenient() {
        let day = |text: &str| DateFormat::new("yyyy-MM-dd").unwrap().parse(text).map(|ms| ms / 86_400_000);
        assert_eq!(day("2023-13-01"), day("2024-01-01"));
        assert_eq!(day("2024-01-32 and more"), day("2024-02-01"));
        assert_eq!(day("nope"), None);
        let offset = DateFormat::new("HH:mmZ").unwrap();
        assert_eq!(offset.parse("01:00+0100"), Some(0));
        assert_eq!(DateFormat::new("yyyy-bb").unwrap_err(), "Illegal pattern character 'b'");
        assert_eq!(DateFormat::new("yyyy'").unwrap_err(), "Unterminated quote");
    }
}
