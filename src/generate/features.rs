//! Features: further columns of made data, declared in a file of `name,type,length,cardinality`.
//!
//! ```text
//! name,type,length,cardinality,distribution
//! country,categorical,2,200,zipf 1.1
//! session,random,16,
//! price,numeric,2,,lognormal 3 0.8
//! ```
//!
//! `categorical`: one of `cardinality` texts of `length` letters. `random`: a new text of `length` letters each time.
//! `numeric`: a number with `length` digits behind the point. The fifth column may be left out.

use std::path::Path;

use rand_distr::{Distribution, Exp, LogNormal, Normal, Poisson, Zipf};
use rand_xoshiro::Xoshiro256PlusPlus;
use rand_xoshiro::rand_core::Rng;

use super::{Format, below, mixed, put_number};
use crate::report::Failure;

/// A column of made data.
#[derive(Debug, Clone)]
pub struct Feature {
    pub name: String,
    kind: Kind,
}

#[derive(Debug, Clone)]
enum Kind {
    /// The last `digits` letters tell the categories apart.
    Categorical {
        length: usize,
        digits: usize,
        salt: u64,
        which: Which,
    },
    Random {
        length: usize,
    },
    Numeric {
        decimals: u32,
        numbers: Numbers,
    },
}

/// Which of the categories, counted from 0.
#[derive(Debug, Clone)]
enum Which {
    Uniform(u64),
    /// The first is the most frequent.
    Zipf(Zipf<f64>),
}

#[derive(Debug, Clone)]
enum Numbers {
    Uniform { from: f64, to: f64 },
    Normal(Normal<f64>),
    LogNormal(LogNormal<f64>),
    Exponential(Exp<f64>),
    Poisson(Poisson<f64>),
    Zipf(Zipf<f64>),
}

const LENGTH_MAX: usize = 4_096;
const DECIMALS_MAX: u32 = 9;
/// Texts are made of these: five bits each, and nothing that JSON or CSV would have to quote.
const LETTERS: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";

/// Reads a file of features.
///
/// # Errors
/// `generate.features`: it cannot be read, or a line of it says something else than a feature; all of these are named.
pub fn read(path: &Path) -> Result<Vec<Feature>, Failure> {
    let text = std::fs::read_to_string(path).map_err(|error| {
        Failure::user("generate.features", format!("the features `{}` cannot be read", path.display())).because(error)
    })?;
    parse(&path.display().to_string(), &text)
}

pub(super) fn parse(file: &str, text: &str) -> Result<Vec<Feature>, Failure> {
    let (mut features, mut wrong) = (Vec::<Feature>::new(), Vec::new());
    for (line, text) in (1..).zip(text.lines().map(str::trim)) {
        let cells: Vec<&str> = text.split(',').map(str::trim).collect();
        // The first line may name the columns.
        let names_columns = line == 1 && cells.starts_with(&["name", "type"]);
        if text.is_empty() || text.starts_with('#') || names_columns {
            continue;
        }
        match feature(&cells, features.len() as u64) {
            Ok(feature) if features.iter().any(|other| other.name == feature.name) => {
                wrong.push(format!("{file}:{line}: `{}` is there already", feature.name));
            }
            Ok(feature) => features.push(feature),
            Err(error) => wrong.push(format!("{file}:{line}: {error}")),
        }
    }
    if wrong.is_empty() {
        return Ok(features);
    }
    Err(Failure::user("generate.features", wrong.join("\n"))
        .hint("a line is `name,type,length,cardinality` and, where wanted, a distribution, for example `price,numeric,2,,lognormal 3 0.8`"))
}

fn feature(cells: &[&str], index: u64) -> Result<Feature, String> {
    let [name, kind, length, rest @ ..] = cells else {
        return Err(format!("`{}` has fewer than three columns", cells.join(",")));
    };
    let (cardinality, distribution) = match rest {
        [] => ("", ""),
        [cardinality] => (*cardinality, ""),
        [cardinality, distribution] => (*cardinality, *distribution),
        _ => return Err(format!("{} columns, five at most are known", cells.len())),
    };
    let is_name = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    if !is_name {
        return Err(format!("`{name}` is no name of a column: letters, digits and `_`"));
    }
    if super::COLUMNS.contains(name) {
        return Err(format!("every record has a column `{name}` already"));
    }
    let cardinality = match cardinality {
        "" => None,
        text => Some(
            text.parse::<u64>()
                .ok()
                .filter(|count| *count > 0)
                .ok_or_else(|| format!("the cardinality `{text}` is no whole number above 0"))?,
        ),
    };
    let kind = match *kind {
        "categorical" => {
            let count = cardinality.ok_or("a categorical feature needs its cardinality")?;
            let length = length_of(length)?;
            let digits = digits(count);
            if digits > length {
                return Err(format!("there are no {count} different texts of {length} letters"));
            }
            let salt = mixed(index + 1);
            Kind::Categorical { length, digits, salt, which: which(count, distribution)? }
        }
        "random" if cardinality.is_some() => {
            return Err("a random feature has no cardinality: each value is new; a categorical one has".into());
        }
        "random" if !distribution.is_empty() => return Err("a random feature has no distribution".into()),
        "random" => Kind::Random { length: length_of(length)? },
        "numeric" => {
            let decimals = if length.is_empty() { Ok(0) } else { length.parse::<u32>() };
            let decimals = decimals.ok().filter(|decimals| *decimals <= DECIMALS_MAX);
            let decimals = decimals.ok_or_else(|| {
                format!(
                    "the length `{length}` of a number is how many digits it has behind the point, 0 to {DECIMALS_MAX}"
                )
            })?;
            Kind::Numeric { decimals, numbers: numbers(cardinality, distribution)? }
        }
        other => return Err(format!("`{other}` is not `categorical`, `random` or `numeric`")),
    };
    Ok(Feature { name: (*name).to_owned(), kind })
}

fn length_of(text: &str) -> Result<usize, String> {
    let length = text.parse().ok().filter(|length| (1..=LENGTH_MAX).contains(length));
    length.ok_or_else(|| format!("the length `{text}` is not a number from 1 to {LENGTH_MAX}"))
}

/// Letters that tell so many texts apart.
fn digits(count: u64) -> usize {
    ((64 - (count - 1).leading_zeros()).div_ceil(5) as usize).max(1)
}

fn which(count: u64, distribution: &str) -> Result<Which, String> {
    match distribution.split_whitespace().collect::<Vec<_>>()[..] {
        [] | ["uniform"] => Ok(Which::Uniform(count)),
        ["zipf", exponent] => Ok(Which::Zipf(zipf(count, exponent)?)),
        _ => Err(format!("`{distribution}` is not `uniform` or `zipf EXPONENT`")),
    }
}

fn zipf(count: u64, exponent: &str) -> Result<Zipf<f64>, String> {
    Zipf::new(count as f64, number(exponent)?).map_err(|error| format!("`zipf {exponent}`: {error}"))
}

fn number(text: &str) -> Result<f64, String> {
    text.parse::<f64>().ok().filter(|number| number.is_finite()).ok_or_else(|| format!("`{text}` is not a number"))
}

fn not_negative(text: &str) -> Result<f64, String> {
    let found = number(text)?;
    if found < 0.0 { Err(format!("the deviation {text} is negative")) } else { Ok(found) }
}

const DISTRIBUTIONS: &str = "`uniform FROM TO`, `normal MEAN DEVIATION`, `lognormal MU SIGMA`, `exponential RATE`, `poisson MEAN` or `zipf EXPONENT`";

fn numbers(cardinality: Option<u64>, distribution: &str) -> Result<Numbers, String> {
    let wrong = |error: String| format!("`{distribution}`: {error}");
    let words: Vec<&str> = distribution.split_whitespace().collect();
    let needed =
        |word: &str| cardinality.ok_or_else(|| format!("`{word}` needs the cardinality: how many numbers there are"));
    if cardinality.is_some() && !matches!(words.first(), None | Some(&"uniform" | &"zipf")) {
        return Err(format!("`{distribution}` has no cardinality"));
    }
    Ok(match words[..] {
        [] | ["uniform"] => Numbers::Uniform { from: 0.0, to: needed("uniform")? as f64 },
        ["uniform", from, to] if cardinality.is_none() => {
            let (from, to) = (number(from)?, number(to)?);
            if from >= to {
                return Err(wrong(format!("{from} is not below {to}")));
            }
            Numbers::Uniform { from, to }
        }
        ["normal", mean, deviation] => {
            let normal = Normal::new(number(mean)?, not_negative(deviation)?);
            Numbers::Normal(normal.map_err(|error| wrong(error.to_string()))?)
        }
        ["lognormal", mu, sigma] => {
            let normal = LogNormal::new(number(mu)?, not_negative(sigma)?);
            Numbers::LogNormal(normal.map_err(|error| wrong(error.to_string()))?)
        }
        ["exponential", rate] => Numbers::Exponential(Exp::new(number(rate)?).map_err(|e| wrong(e.to_string()))?),
        ["poisson", mean] => Numbers::Poisson(Poisson::new(number(mean)?).map_err(|e| wrong(e.to_string()))?),
        ["zipf", exponent] => Numbers::Zipf(zipf(needed("zipf")?, exponent)?),
        _ => return Err(format!("`{distribution}` is not {DISTRIBUTIONS}")),
    })
}

impl Feature {
    /// Appends a value.
    pub(super) fn put(&self, format: Format, random: &mut Xoshiro256PlusPlus, out: &mut Vec<u8>) {
        let quoted = format == Format::Json && !matches!(self.kind, Kind::Numeric { .. });
        if quoted {
            out.push(b'"');
        }
        match &self.kind {
            Kind::Categorical { length, digits, salt, which } => {
                put_category(which.draw(random), *salt, *length, *digits, out);
            }
            Kind::Random { length } => put_letters(*length, || random.next_u64(), out),
            Kind::Numeric { decimals, numbers } => put_decimal(numbers.draw(random), *decimals, out),
        }
        if quoted {
            out.push(b'"');
        }
    }
}

impl Which {
    fn draw(&self, random: &mut Xoshiro256PlusPlus) -> u64 {
        match self {
            Which::Uniform(count) => below(random.next_u64(), *count),
            Which::Zipf(zipf) => zipf.sample(random) as u64 - 1,
        }
    }
}

impl Numbers {
    fn draw(&self, random: &mut Xoshiro256PlusPlus) -> f64 {
        match self {
            Numbers::Uniform { from, to } => {
                let share = (random.next_u64() >> 11) as f64 / (1u64 << 53) as f64;
                from + (to - from) * share
            }
            Numbers::Normal(normal) => normal.sample(random),
            Numbers::LogNormal(normal) => normal.sample(random),
            Numbers::Exponential(exponential) => exponential.sample(random),
            Numbers::Poisson(poisson) => poisson.sample(random),
            Numbers::Zipf(zipf) => zipf.sample(random),
        }
    }
}

/// The text of a category: its number in the last letters, so that no two are alike, and what looks random before it.
fn put_category(category: u64, salt: u64, length: usize, digits: usize, out: &mut Vec<u8>) {
    const STEP: u64 = 0x9e37_79b9_7f4a_7c15;
    let start = out.len();
    let mut state = salt ^ category.wrapping_mul(STEP);
    let random = || {
        state = state.wrapping_add(STEP);
        mixed(state)
    };
    put_letters(length, random, out);
    let mut rest = category;
    for letter in out[start..].iter_mut().rev().take(digits) {
        *letter = LETTERS[(rest % 32) as usize];
        rest /= 32;
    }
}

fn put_letters(length: usize, mut bits: impl FnMut() -> u64, out: &mut Vec<u8>) {
    let end = out.len() + length;
    while out.len() < end {
        let mut letters = bits();
        for _ in 0..(end - out.len()).min(12) {
            out.push(LETTERS[(letters & 31) as usize]);
            letters >>= 5;
        }
    }
}

/// A number with so many digits behind the point. What has too many before it becomes the largest that has not.
fn put_decimal(number: f64, decimals: u32, out: &mut Vec<u8>) {
    let scale = 10_i64.pow(decimals);
    // A cast stops at the ends of the type.
    let scaled = (number * scale as f64).floor() as i64;
    if scaled < 0 {
        out.push(b'-');
    }
    let (whole, part) = (scaled.unsigned_abs() / scale as u64, scaled.unsigned_abs() % scale as u64);
    put_number(whole, out);
    if decimals > 0 {
        out.push(b'.');
        let start = out.len();
        put_number(part, out);
        let missing = decimals as usize - (out.len() - start);
        out.extend(std::iter::repeat_n(b'0', missing));
        out[start..].rotate_right(missing);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use rand_xoshiro::rand_core::SeedableRng;

    use super::*;

    fn one(line: &str) -> Feature {
        parse("features.csv", line).unwrap().remove(0)
    }

    fn texts(line: &str, count: usize) -> Vec<String> {
        let (feature, mut random) = (one(line), Xoshiro256PlusPlus::seed_from_u64(3));
        let text = |_| {
            let mut out = Vec::new();
            feature.put(Format::Csv, &mut random, &mut out);
            String::from_utf8(out).unwrap()
        };
        (0..count).map(text).collect()
    }

    fn numbers_of(line: &str) -> Vec<f64> {
        texts(line, 20_000).iter().map(|text| text.parse().unwrap()).collect()
    }

    fn mean_and_deviation(numbers: &[f64]) -> (f64, f64) {
        let mean = numbers.iter().sum::<f64>() / numbers.len() as f64;
        let square = numbers.iter().map(|number| (number - mean).powi(2)).sum::<f64>() / numbers.len() as f64;
        (mean, square.sqrt())
    }

    #[test]
    fn categories_are_as_many_and_as_long_as_asked_for() {
        for (length, cardinality) in [(1, 32), (1, 1), (2, 33), (8, 1_000)] {
            let texts = texts(&format!("c,categorical,{length},{cardinality}"), 30_000);
            let mut counts = BTreeMap::new();
            texts.iter().for_each(|text| *counts.entry(text).or_insert(0) += 1);
            assert_eq!(counts.len(), cardinality);
            assert!(texts.iter().all(|text| text.len() == length));
            let even = 30_000 / cardinality;
            assert!(counts.values().all(|count| (even / 3..even * 3).contains(count)), "{counts:?}");
        }
    }

    #[test]
    fn zipf_prefers_one_category() {
        let mut counts = BTreeMap::new();
        texts("c,categorical,4,100,zipf 1.2", 10_000)
            .into_iter()
            .for_each(|text| *counts.entry(text).or_insert(0) += 1);
        let mut counts: Vec<i32> = counts.into_values().collect();
        counts.sort_unstable();
        let most = counts[counts.len() - 1];
        assert!(most > 2_000 && most > 20 * counts[0], "{counts:?}");
    }

    #[test]
    fn random_texts_are_all_different() {
        let mut texts = texts("r,random,13", 10_000);
        texts.sort_unstable();
        texts.dedup();
        assert_eq!(texts.len(), 10_000);
        assert!(texts.iter().all(|text| text.len() == 13));
    }

    #[test]
    fn numbers_follow_their_distributions() {
        let near = |line: &str, mean: f64, deviation: f64| {
            let (found_mean, found) = mean_and_deviation(&numbers_of(line));
            assert!((found_mean - mean).abs() < 0.05 * deviation, "{line}: mean {found_mean}");
            assert!((found - deviation).abs() < 0.05 * deviation, "{line}: deviation {found}");
        };
        near("n,numeric,4,,normal -50 7", -50.0, 7.0);
        near("n,numeric,4,,uniform -3 9", 3.0, 12.0 / 12f64.sqrt());
        near("n,numeric,4,,exponential 0.25", 4.0, 4.0);
        near("n,numeric,0,,poisson 9", 9.0, 3.0);
        near("n,numeric,6,,lognormal 0 0.25", (0.25f64.powi(2) / 2.0).exp(), 0.2621);
        let whole = numbers_of("n,numeric,,6");
        assert!(whole.iter().all(|number| (0.0..=5.0).contains(number) && number.fract() == 0.0));
        near("n,numeric,,6", 2.5, (35f64 / 12.0).sqrt());
        assert!(numbers_of("n,numeric,,6,zipf 1").iter().all(|number| (1.0..=6.0).contains(number)));
    }

    #[test]
    fn a_decimal_is_written_with_all_its_digits() {
        let text = |number, decimals| {
            let mut out = Vec::new();
            put_decimal(number, decimals, &mut out);
            String::from_utf8(out).unwrap()
        };
        assert_eq!(text(1.25, 1), "1.2");
        assert_eq!(text(3.0, 3), "3.000");
        assert_eq!(text(0.0625, 3), "0.062");
        assert_eq!(text(-0.0625, 2), "-0.07");
        assert_eq!(text(12.0, 0), "12");
        assert_eq!(text(1e30, 0), i64::MAX.to_string());
    }

    #[test]
    fn everything_that_is_wrong_is_named_with_its_line() {
        let text = "name,type,length,cardinality\na,categorical,2,\nts,random,3,\n9x,random,3\nb,categorical,1,33\n\
                    # a comment\nc,numeric,12,5\nd,numeric,1,,weird 3\ne,text,3\ng,random,0\nh,random,3,9\nok,random,3,\nok,random,3,\ni,numeric,0,,normal 0 -1\n";
        let message = parse("f.csv", text).unwrap_err().message;
        let wanted = [
            "f.csv:2: a categorical feature needs its cardinality",
            "f.csv:3: every record has a column `ts` already",
            "f.csv:4: `9x` is no name",
            "f.csv:5: there are no 33 different texts of 1 letters",
            "f.csv:7: the length `12` of a number",
            "f.csv:8: `weird 3` is not `uniform FROM TO`",
            "f.csv:9: `text` is not `categorical`",
            "f.csv:10: the length `0`",
            "f.csv:11: a random feature has no cardinality",
            "f.csv:13: `ok` is there already",
            "f.csv:14: the deviation -1 is negative",
        ];
        assert_eq!(message.lines().count(), wanted.len(), "{message}");
        for (line, wanted) in message.lines().zip(wanted) {
            assert!(line.starts_with(wanted), "{line}");
        }
    }
}
