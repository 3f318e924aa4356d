//! Members of JSON text: `value->'a'` is JSON, `value->>'a'` is text.
//!
//! A missing member is null; `->>` of JSON's null is null too. Numbers keep the digits that they were
//! written with. Of equal keys the last one counts. Text that is not JSON is an error of its row.

use std::borrow::Cow;
use std::sync::{Arc, LazyLock};

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, StringArray, StringBuilder};
use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion_common::{DFSchema, Result, exec_err, plan_err};
use datafusion_expr::planner::{ExprPlanner, PlannerResult, RawBinaryExpr};
use datafusion_expr::{
    ColumnarValue, ExprSchemable, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use datafusion_sql::sqlparser::ast::BinaryOperator;
use serde::de::IgnoredAny;

use crate::expr::types::{json_metadata, type_word};

static GET: LazyLock<Arc<ScalarUDF>> = LazyLock::new(|| Arc::new(JsonGet::new(false).into()));
static GET_TEXT: LazyLock<Arc<ScalarUDF>> = LazyLock::new(|| Arc::new(JsonGet::new(true).into()));

/// `->`.
pub(super) fn json_get() -> Arc<ScalarUDF> {
    GET.clone()
}

/// `->>`.
pub(super) fn json_get_text() -> Arc<ScalarUDF> {
    GET_TEXT.clone()
}

/// Plans the arrows.
#[derive(Debug)]
pub(in crate::expr) struct JsonPlanner;

impl ExprPlanner for JsonPlanner {
    fn plan_binary_op(&self, raw: RawBinaryExpr, schema: &DFSchema) -> Result<PlannerResult<RawBinaryExpr>> {
        let function = match raw.op {
            BinaryOperator::Arrow => &GET,
            BinaryOperator::LongArrow => &GET_TEXT,
            _ => return Ok(PlannerResult::Original(raw)),
        };
        let data_type = raw.left.get_type(schema)?;
        if !data_type.is_string() {
            return plan_err!("`{}` takes a member of JSON text, not of {}", raw.op, type_word(&data_type));
        }
        Ok(PlannerResult::Planned(function.call(vec![raw.left, raw.right])))
    }
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct JsonGet {
    as_text: bool,
    signature: Signature,
}

impl JsonGet {
    fn new(as_text: bool) -> Self {
        JsonGet { as_text, signature: Signature::user_defined(Volatility::Immutable) }
    }
}

impl ScalarUDFImpl for JsonGet {
    fn name(&self) -> &str {
        if self.as_text { "json_get_text" } else { "json_get" }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        match types {
            [_, key] if key.is_integer() => Ok(vec![DataType::Utf8, DataType::Int64]),
            [_, key] if key.is_string() => Ok(vec![DataType::Utf8, DataType::Utf8]),
            _ => plan_err!("a member of JSON text is named by a string or an index from 0"),
        }
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Utf8)
    }

    fn return_field_from_args(&self, _: ReturnFieldArgs) -> Result<FieldRef> {
        let field = Field::new(self.name(), DataType::Utf8, true);
        Ok(Arc::new(if self.as_text { field } else { field.with_metadata(json_metadata()) }))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let arrays = ColumnarValue::values_to_arrays(&args.args)?;
        let [texts, keys] = arrays.as_slice() else { return exec_err!("a member of JSON text has one name") };
        let Some(texts) = texts.as_string_opt::<i32>() else { return exec_err!("JSON is text") };
        let found = match keys.data_type() {
            DataType::Int64 => {
                let keys: &Int64Array = keys.as_primitive();
                self.members(texts, keys.iter().map(|key| key.map(Key::Index)))?
            }
            _ => self.members(texts, keys.as_string::<i32>().iter().map(|key| key.map(Key::Name)))?,
        };
        Ok(ColumnarValue::Array(found))
    }
}

impl JsonGet {
    fn members<'k>(&self, texts: &StringArray, keys: impl Iterator<Item = Option<Key<'k>>>) -> Result<ArrayRef> {
        let mut found = StringBuilder::with_capacity(texts.len(), 0);
        for (text, key) in texts.iter().zip(keys) {
            let (Some(text), Some(key)) = (text, key) else {
                found.append_null();
                continue;
            };
            if let Err(error) = serde_json::from_str::<IgnoredAny>(text) {
                return exec_err!("the text is not JSON: {error}");
            }
            match member(text, key) {
                None => found.append_null(),
                Some("null") if self.as_text => found.append_null(),
                Some(string) if self.as_text && string.starts_with('"') => found.append_value(unquoted(string)),
                Some(json) => found.append_value(json),
            }
        }
        Ok(Arc::new(found.finish()))
    }
}

#[derive(Debug, Clone, Copy)]
enum Key<'k> {
    Name(&'k str),
    /// From 0; below 0 counts from the end.
    Index(i64),
}

/// The text of a member of `json`, which is valid JSON.
fn member<'j>(json: &'j str, key: Key) -> Option<&'j str> {
    let json = json.trim_matches(SPACE);
    let inner = json.get(1..json.len().saturating_sub(1))?;
    match (key, json.as_bytes()[0]) {
        (Key::Name(name), b'{') => {
            let members = items(inner).filter_map(|item| {
                let key_end = value_end(item);
                let value = item[key_end..].trim_start_matches(SPACE).strip_prefix(':')?;
                Some((&item[..key_end], value.trim_start_matches(SPACE)))
            });
            members.filter(|(key, _)| unquoted(key) == name).last().map(|(_, value)| value)
        }
        (Key::Index(index), b'[') if index >= 0 => items(inner).nth(usize::try_from(index).ok()?),
        (Key::Index(index), b'[') => {
            let count = items(inner).count();
            items(inner).nth(count.checked_sub(usize::try_from(index.unsigned_abs()).ok()?)?)
        }
        _ => None,
    }
}

const SPACE: [char; 4] = [' ', '\t', '\n', '\r'];

/// The parts of an object or array between its brackets, by comma.
fn items(inner: &str) -> impl Iterator<Item = &str> {
    let mut rest = inner.trim_matches(SPACE);
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let mut end = 0;
        while end < rest.len() && rest.as_bytes()[end] != b',' {
            end += value_end(&rest[end..]).max(1);
        }
        let item = rest[..end].trim_matches(SPACE);
        rest = rest.get(end + 1..).unwrap_or_default().trim_start_matches(SPACE);
        Some(item)
    })
}

/// Where the value (or key) at the beginning of `json` ends.
fn value_end(json: &str) -> usize {
    let mut depth = 0;
    let mut in_string = false;
    let mut bytes = json.bytes().enumerate();
    while let Some((at, byte)) = bytes.next() {
        match byte {
            b'\\' if in_string => {
                bytes.next();
            }
            b'"' => in_string = !in_string,
            _ if in_string => continue,
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth -= 1,
            b',' | b':' | b' ' | b'\t' | b'\n' | b'\r' if depth == 0 => return at,
            _ => {}
        }
        if depth == 0 && !in_string && matches!(byte, b'"' | b'}' | b']') {
            return at + 1;
        }
    }
    json.len()
}

/// The text of a JSON string.
fn unquoted(json: &str) -> Cow<'_, str> {
    match json.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
        Some(plain) if !plain.contains('\\') => Cow::Borrowed(plain),
        _ => serde_json::from_str(json).map_or(Cow::Borrowed(json), Cow::Owned),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_keep_their_digits_and_the_last_of_a_name_counts() {
        let json = r#" {"a": 1.50, "b": {"x": [1, {"y": "}"}]}, "c\"d": "e,f", "a": 12345678901234567890} "#;
        assert_eq!(member(json, Key::Name("a")), Some("12345678901234567890"));
        assert_eq!(member(json, Key::Name("b")), Some(r#"{"x": [1, {"y": "}"}]}"#));
        assert_eq!(member(json, Key::Name("c\"d")), Some(r#""e,f""#));
        assert_eq!(member(json, Key::Name("x")), None);
    }

    #[test]
    fn elements_count_from_0_or_from_the_end() {
        let json = r#"[1, "a", [2, 3] , {}]"#;
        assert_eq!(member(json, Key::Index(2)), Some("[2, 3]"));
        assert_eq!(member(json, Key::Index(-1)), Some("{}"));
        assert_eq!(member(json, Key::Index(4)), None);
        assert_eq!(member(json, Key::Index(-5)), None);
        assert_eq!(member("[]", Key::Index(0)), None);
        assert_eq!(member("1", Key::Name("a")), None);
    }
}
