//! Lengths and the ends of ranges, as they are written in rules.

use serde_json::Value as Json;

/// min ≤ length < max; without a max there is none.
///
/// # Errors
/// What is wrong, in the genuine generator's words; so in all functions here.
pub fn length(rule: &Json) -> Result<(i64, Option<i64>), String> {
    if let Some(exactly) = rule.as_i64() {
        if exactly < 0 {
            return Err("when given as integral number, length property cannot be negative".into());
        }
        return Ok((exactly, Some(exactly.saturating_add(1))));
    }
    let Json::Object(object) = rule else {
        let class = java_class(rule);
        return Err(format!("length property must either be an integral number or an object, was {class} instead"));
    };
    let number = |key: &str| match object.get(key) {
        None => Ok(None),
        Some(json) => json.as_i64().map(Some).ok_or_else(|| {
            format!("{key} field of length property must be an integral number, was {} instead", java_class(json))
        }),
    };
    let (min, max) = (number("min")?, number("max")?);
    match (min, max) {
        (None, None) => {
            Err("length property must contain at least one of 'min' or 'max' fields when given as object".into())
        }
        (Some(min), _) if min < 0 => Err("min field of length property cannot be negative".into()),
        (min, Some(max)) if max <= min.unwrap_or(0) => {
            Err("max field must be strictly greater than min field for length property".into())
        }
        (min, max) => Ok((min.unwrap_or(0), max)),
    }
}

/// A bound of an int or a long.
pub fn whole<T: TryFrom<i64>>(type_name: &'static str) -> impl Fn(&str, &Json) -> Result<T, String> {
    move |key, json| {
        if !json.is_i64() && !json.is_u64() {
            let class = java_class(json);
            return Err(format!("'{key}' field of range property must be an integral number, was {class} instead"));
        }
        json.as_i64().and_then(|number| T::try_from(number).ok()).ok_or_else(|| {
            format!("'{key}' field of range property must be a valid {type_name} for {type_name} schemas")
        })
    }
}

/// A bound of a double or a decimal.
pub fn double(key: &str, json: &Json) -> Result<f64, String> {
    json.as_f64()
        .ok_or_else(|| format!("'{key}' field of range property must be a number, was {} instead", java_class(json)))
}

/// A bound of a float.
pub fn float(key: &str, json: &Json) -> Result<f32, String> {
    let number = double(key, json)? as f32;
    if number.is_finite() {
        return Ok(number);
    }
    Err(format!("'{key}' field of range property must be a valid float for float schemas"))
}

/// A number from 0 to 1: how often something is so.
pub fn share(key: &str, json: &Json) -> Result<f64, String> {
    let share = json.as_f64().filter(|share| (0.0..=1.0).contains(share));
    share.ok_or_else(|| format!("{key} property must be a number between 0.0 and 1.0"))
}

/// What the genuine messages call a JSON value.
pub fn java_class(json: &Json) -> &'static str {
    match json {
        Json::Null => "null",
        Json::Bool(_) => "java.lang.Boolean",
        Json::Number(number) => match number.as_i64() {
            Some(number) if i32::try_from(number).is_ok() => "java.lang.Integer",
            Some(_) => "java.lang.Long",
            None if number.is_u64() => "java.math.BigInteger",
            None => "java.lang.Double",
        },
        Json::String(_) => "java.lang.String",
        Json::Array(_) => "java.util.ArrayList",
        Json::Object(_) => "java.util.LinkedHashMap",
    }
}
