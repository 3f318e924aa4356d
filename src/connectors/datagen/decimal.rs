//! Decimals: unscaled numbers of up to 76 digits, drawn as the genuine generator draws them.

use arrow::datatypes::{DataType, i256};
use serde_json::Value as Json;

use super::random::Random;

/// Digits of one draw.
const CHUNK: u32 = 15;

/// How a decimal is made.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct DecimalRule {
    pub precision: u8,
    pub scale: i8,
    /// min ≤ x < max; without it, any number of the precision.
    pub range: Option<(f64, f64)>,
}

impl DecimalRule {
    /// Of a decimal column; `None` for another type.
    pub fn of(data_type: &DataType) -> Option<DecimalRule> {
        match data_type {
            DataType::Decimal128(precision, scale) | DataType::Decimal256(precision, scale) => {
                Some(DecimalRule { precision: *precision, scale: *scale, range: None })
            }
            _ => None,
        }
    }

    /// An unscaled value that 38 digits hold.
    pub fn draw_small(&self, random: &mut Random) -> i128 {
        if let Some(range) = self.range {
            return unscaled(between(range, random), self.scale).unwrap_or_default();
        }
        let mut value = 0i128;
        let negative = each_chunk(self.precision, random, |digits, places| value = value * 10i128.pow(places) + digits);
        if negative { -value } else { value }
    }

    /// An unscaled value of any precision.
    pub fn draw_large(&self, random: &mut Random) -> i256 {
        if let Some(range) = self.range {
            return cut(&between(range, random).to_string(), self.scale);
        }
        let mut value = i256::ZERO;
        let negative = each_chunk(self.precision, random, |digits, places| {
            value = value.wrapping_mul(i256::from_i128(10i128.pow(places))).wrapping_add(i256::from_i128(digits));
        });
        if negative { value.wrapping_neg() } else { value }
    }
}

/// Draws chunks of 15 digits, the last one cut to the places that are left; true if the number is negative.
fn each_chunk(precision: u8, random: &mut Random, mut put: impl FnMut(i128, u32)) -> bool {
    let mut left = u32::from(precision);
    while left > 0 {
        let digits = (random.next_double() * 1e15) as i64;
        let places = left.min(CHUNK);
        put(i128::from(digits / 10i64.pow(CHUNK - places)), places);
        left -= places;
    }
    random.next_boolean()
}

fn between((min, max): (f64, f64), random: &mut Random) -> f64 {
    min + random.next_double() * (max - min)
}

/// The number's shortest decimal text, times 10^scale, cut towards zero; `None` if 38 digits do not hold it.
pub fn unscaled(number: f64, scale: i8) -> Option<i128> {
    let text = format!("{number:e}");
    let (digits, exponent) = text.split_once('e')?;
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let value: i128 = format!("{whole}{fraction}").parse().ok()?;
    let shift = exponent.parse::<i32>().ok()? - fraction.len() as i32 + i32::from(scale);
    match u32::try_from(shift) {
        Ok(shift) => value.checked_mul(10i128.checked_pow(shift)?),
        Err(_) => Some(10i128.checked_pow(shift.unsigned_abs()).map_or(0, |factor| value / factor)),
    }
}

/// Plain decimal text, times 10^scale, cut towards zero.
fn cut(text: &str, scale: i8) -> i256 {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let places = usize::try_from(scale).unwrap_or_default();
    let digits: String = fraction.chars().chain(std::iter::repeat('0')).take(places).collect();
    i256::from_string(&format!("{whole}{digits}")).unwrap_or(i256::ZERO)
}

/// An option of a decimal: a number, or a text whose bytes are the unscaled value (as the genuine generator has it).
pub fn option(json: &Json, scale: i8) -> Option<i256> {
    match json {
        Json::Number(number) => unscaled(number.as_f64()?, scale).map(i256::from_i128),
        Json::String(text) => from_bytes(text.as_bytes()),
        _ => None,
    }
}

/// Two's complement, most significant byte first, at most 32.
pub fn from_bytes(bytes: &[u8]) -> Option<i256> {
    let sign = if bytes.first()? & 0x80 == 0 { 0 } else { 0xff };
    let mut all = [sign; 32];
    all[32usize.checked_sub(bytes.len())?..].copy_from_slice(bytes);
    Some(i256::from_be_bytes(all))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn numbers_are_cut_towards_zero_at_the_scale() {
        assert_eq!(unscaled(4.99, 2), Some(499));
        assert_eq!(unscaled(-1.239, 2), Some(-123));
        assert_eq!(unscaled(1e20, 2), Some(10i128.pow(22)));
        assert_eq!(unscaled(1.5e-7, 2), Some(0));
        assert_eq!(unscaled(1e300, 2), None);
        assert_eq!(cut("-12.345", 2), i256::from_i128(-1234));
        assert_eq!(cut("7", 3), i256::from_i128(7000));
    }

    #[test]
    fn options_are_numbers_or_the_bytes_of_the_unscaled_value() {
        assert_eq!(option(&json!(1.25), 2), Some(i256::from_i128(125)));
        assert_eq!(option(&json!(3), 2), Some(i256::from_i128(300)));
        assert_eq!(option(&json!("a"), 2), Some(i256::from_i128(0x61)));
        assert_eq!(from_bytes(&[0xff]), Some(i256::from_i128(-1)));
        assert_eq!(from_bytes(&[0; 33]), None);
        assert_eq!(option(&json!(true), 2), None);
    }
}
