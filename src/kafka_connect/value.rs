//! Values of Kafka Connect, with or without a schema beside them.

use std::fmt::Write as _;
use std::sync::Arc;

use arrow::datatypes::i256;

use super::schema::Schema;

/// A value. Without a schema it says itself what it is, as Java's classes do.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    Null,
    Int8(i8),
    Int16(i16),
    Int32(i32),
    Int64(i64),
    Float32(f32),
    Float64(f64),
    Boolean(bool),
    String(String),
    Bytes(Vec<u8>),
    Array(Vec<Value>),
    /// Entries in the order in which they came.
    Map(Vec<(Value, Value)>),
    Struct(Struct),
    Decimal(Decimal),
    /// Days since 1970.
    Date(i32),
    /// Milliseconds of a day.
    Time(i32),
    /// Milliseconds since 1970.
    Timestamp(i64),
}

/// Values of a struct's fields, in their order.
#[derive(Debug, Clone, PartialEq)]
pub struct Struct {
    pub schema: Arc<Schema>,
    pub values: Vec<Value>,
}

/// `unscaled` · 10^−`scale`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decimal {
    pub unscaled: i256,
    pub scale: i32,
}

impl Value {
    pub fn is_null(&self) -> bool {
        *self == Value::Null
    }

    /// The Java class that Connect's messages name.
    pub fn java_class(&self) -> &'static str {
        match self {
            Value::Null => "null",
            Value::Int8(_) => "java.lang.Byte",
            Value::Int16(_) => "java.lang.Short",
            Value::Int32(_) => "java.lang.Integer",
            Value::Int64(_) => "java.lang.Long",
            Value::Float32(_) => "java.lang.Float",
            Value::Float64(_) => "java.lang.Double",
            Value::Boolean(_) => "java.lang.Boolean",
            Value::String(_) => "java.lang.String",
            Value::Bytes(_) => "[B",
            Value::Array(_) => "java.util.ArrayList",
            Value::Map(_) => "java.util.HashMap",
            Value::Struct(_) => "org.apache.kafka.connect.data.Struct",
            Value::Decimal(_) => "java.math.BigDecimal",
            Value::Date(_) | Value::Time(_) | Value::Timestamp(_) => "java.util.Date",
        }
    }

    /// As Java's `toString` prints it.
    pub fn java_text(&self) -> String {
        let listed = |items: Vec<String>| items.join(", ");
        match self {
            Value::Null => "null".into(),
            Value::Int8(number) => number.to_string(),
            Value::Int16(number) => number.to_string(),
            Value::Int32(number) => number.to_string(),
            Value::Int64(number) => number.to_string(),
            Value::Float32(number) => java_float(*number),
            Value::Float64(number) => java_double(*number),
            Value::Boolean(truth) => truth.to_string(),
            Value::String(text) => text.clone(),
            // Java prints the array's address; its bytes say more.
            Value::Bytes(bytes) => bytes.iter().fold(String::new(), |mut text, byte| {
                let _ = write!(text, "{byte:02x}");
                text
            }),
            Value::Array(items) => format!("[{}]", listed(items.iter().map(Value::java_text).collect())),
            Value::Map(entries) => {
                let entry = |(key, value): &(Value, Value)| format!("{}={}", key.java_text(), value.java_text());
                format!("{{{}}}", listed(entries.iter().map(entry).collect()))
            }
            Value::Struct(row) => {
                let fields = row.schema.fields().iter().zip(&row.values).filter(|(_, value)| !value.is_null());
                let fields: Vec<String> =
                    fields.map(|(field, value)| format!("{}={}", field.name, value.java_text())).collect();
                format!("Struct{{{}}}", fields.join(","))
            }
            Value::Decimal(decimal) => decimal.text(),
            Value::Date(days) => java_date(i64::from(*days) * 86_400_000),
            Value::Time(ms) => java_date(i64::from(*ms)),
            Value::Timestamp(ms) => java_date(*ms),
        }
    }
}

impl Struct {
    /// The value of a field.
    pub fn get(&self, name: &str) -> Option<&Value> {
        let index = self.schema.fields().iter().position(|field| field.name == name)?;
        self.values.get(index)
    }
}

impl Decimal {
    /// From two's complement, most significant byte first; `None` if 32 bytes do not hold it.
    pub fn from_bytes(bytes: &[u8], scale: i32) -> Option<Decimal> {
        let sign = if bytes.first().is_some_and(|first| first & 0x80 != 0) { 0xff } else { 0 };
        let (surplus, kept) = bytes.split_at(bytes.len().saturating_sub(32));
        if surplus.iter().any(|byte| *byte != sign) {
            return None;
        }
        let mut all = [sign; 32];
        all[32 - kept.len()..].copy_from_slice(kept);
        Some(Decimal { unscaled: i256::from_be_bytes(all), scale })
    }

    /// The fewest bytes of two's complement, at least one.
    pub fn to_bytes(self) -> Vec<u8> {
        let bytes = self.unscaled.to_be_bytes();
        let same = |pair: &[u8]| (pair[0] == 0 && pair[1] < 0x80) || (pair[0] == 0xff && pair[1] >= 0x80);
        let cut = bytes.windows(2).take_while(|pair| same(pair)).count();
        bytes[cut..].to_vec()
    }

    /// From plain text or one with an exponent.
    pub fn parse(text: &str) -> Option<Decimal> {
        let (number, exponent) = match text.split_once(['e', 'E']) {
            Some((number, exponent)) => (number, exponent.parse::<i32>().ok()?),
            None => (text, 0),
        };
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        let unscaled = i256::from_string(&format!("{whole}{fraction}"))?;
        Some(Decimal { unscaled, scale: i32::try_from(fraction.len()).ok()?.checked_sub(exponent)? })
    }

    /// Plain text: as many digits behind the point as the scale says.
    pub fn text(self) -> String {
        let digits = self.unscaled.to_string();
        let (sign, digits) = digits.strip_prefix('-').map_or(("", digits.as_str()), |digits| ("-", digits));
        match usize::try_from(self.scale) {
            Ok(0) => format!("{sign}{digits}"),
            Ok(scale) => {
                let padded = format!("{digits:0>width$}", width = scale + 1);
                let (whole, fraction) = padded.split_at(padded.len() - scale);
                format!("{sign}{whole}.{fraction}")
            }
            Err(_) => format!("{sign}{digits}{}", "0".repeat(self.scale.unsigned_abs() as usize)),
        }
    }

    pub fn to_double(self) -> f64 {
        format!("{}e{}", self.unscaled, -i64::from(self.scale)).parse().unwrap_or(f64::NAN)
    }
}

/// `1.0`, `1.0E7`, `1.0E-4`, `NaN`, `Infinity`.
pub fn java_double(number: f64) -> String {
    java_number(&format!("{number:e}"), number.is_finite(), number.abs())
}

/// The same of a float's shortest digits.
pub fn java_float(number: f32) -> String {
    java_number(&format!("{number:e}"), number.is_finite(), f64::from(number.abs()))
}

fn java_number(text: &str, is_finite: bool, size: f64) -> String {
    if !is_finite {
        return text.replace("inf", "Infinity");
    }
    let (digits, exponent) = text.split_once('e').unwrap_or((text, "0"));
    let (sign, digits) = digits.strip_prefix('-').map_or(("", digits), |digits| ("-", digits));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let (first, rest) = digits.split_once('.').unwrap_or((digits, ""));
    if size != 0.0 && !(1e-3..1e7).contains(&size) {
        let rest = if rest.is_empty() { "0" } else { rest };
        return format!("{sign}{first}.{rest}E{exponent}");
    }
    let all = format!("{first}{rest}");
    match usize::try_from(exponent) {
        Ok(exponent) => {
            let padded = format!("{all:0<width$}", width = exponent + 2);
            let (whole, fraction) = padded.split_at(exponent + 1);
            format!("{sign}{whole}.{fraction}")
        }
        Err(_) => format!("{sign}0.{}{all}", "0".repeat(exponent.unsigned_abs() as usize - 1)),
    }
}

/// As Java prints a date, in UTC: `Tue Nov 14 22:13:20 UTC 2023`.
fn java_date(ms: i64) -> String {
    match chrono::DateTime::from_timestamp_millis(ms) {
        Some(time) => time.format("%a %b %d %H:%M:%S UTC %Y").to_string(),
        None => ms.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_printed_as_java_prints_them() {
        for (number, text) in [
            (2.0, "2.0"),
            (1e7, "1.0E7"),
            (0.0001, "1.0E-4"),
            (0.001, "0.001"),
            (9_999_999.5, "9999999.5"),
            (-123.25, "-123.25"),
            (1.5e300, "1.5E300"),
            (0.0, "0.0"),
            (f64::NAN, "NaN"),
            (f64::NEG_INFINITY, "-Infinity"),
            (100.0, "100.0"),
        ] {
            assert_eq!(java_double(number), text);
        }
        assert_eq!(java_float(1.1), "1.1");
        assert_eq!(java_float(1e10), "1.0E10");
    }

    #[test]
    fn decimals_go_through_bytes_and_text() {
        for (text, bytes) in [("1.56", vec![0, 0x9c]), ("-0.01", vec![0xff]), ("0.00", vec![0])] {
            let decimal = Decimal::parse(text).unwrap();
            assert_eq!((decimal.to_bytes(), decimal.text().as_str()), (bytes.clone(), text));
            assert_eq!(Decimal::from_bytes(&bytes, 2), Some(decimal));
        }
        assert_eq!(Decimal::parse("1.5e3").unwrap().text(), "1500");
        assert_eq!(Decimal::parse("0.01").unwrap().to_double(), 0.01);
        assert_eq!(Decimal::from_bytes(&[1; 33], 0), None);
        assert_eq!(Decimal::parse("1x"), None);
    }
}
