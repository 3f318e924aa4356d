//! Durations as the language writes them: `500ms`, `5s`, `1h30m`.

use super::Millis;

const UNITS: &[(&str, Millis)] = &[("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];

/// Parses `ms s m h d` and their combinations into milliseconds.
///
/// # Errors
/// A sentence fragment that says what is wrong, for the diagnostic's label.
pub fn parse(text: &str) -> Result<Millis, String> {
    let mut rest = text.trim();
    if rest.is_empty() {
        return Err("a duration is missing".into());
    }
    let mut total: Millis = 0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let number: Millis = rest[..digits].parse().map_err(|_| format!("`{text}` is not a duration"))?;
        rest = &rest[digits..];
        let letters = rest.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(rest.len());
        let unit = &rest[..letters];
        if unit.is_empty() {
            return Err(format!("`{text}` has no unit"));
        }
        let (_, factor) =
            UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(|| format!("`{unit}` is not a unit of time"))?;
        total = number.checked_mul(*factor).and_then(|ms| total.checked_add(ms)).ok_or("the duration is too long")?;
        rest = &rest[letters..];
    }
    Ok(total)
}

/// Prints milliseconds the way [`parse`] reads them: `90500` is `1m30s500ms`.
pub fn format(ms: Millis) -> String {
    if ms == 0 {
        return "0s".into();
    }
    let mut rest = ms;
    let mut text = String::new();
    for (unit, factor) in UNITS.iter().rev() {
        if rest / factor > 0 {
            text += &format!("{}{unit}", rest / factor);
            rest %= factor;
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_add_up_and_print_back() {
        assert_eq!(parse("1h30m"), Ok(5_400_000));
        assert_eq!(format(parse("1m30s500ms").unwrap()), "1m30s500ms");
        assert_eq!(format(86_400_000), "1d");
    }

    #[test]
    fn a_bare_number_has_no_unit() {
        assert_eq!(parse("5"), Err("`5` has no unit".into()));
        assert!(
            parse("5 s").is_err() && parse("5y").is_err() && parse("").is_err() && parse("99999999999999999d").is_err()
        );
    }
}
