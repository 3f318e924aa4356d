//! Paths into values: `user.city`, `user['city']`, `attrs['k']`, `tags[1]`.
//!
//! A member of a null struct is null, whatever stands in its child array. Of equal keys in a map the
//! last one counts, as for `_headers`.

use std::sync::{Arc, LazyLock};

use arrow::array::{Array, ArrayRef, AsArray, MapArray, UInt32Array};
use arrow::compute::{is_null, nullif, take};
use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion_common::{Column, DFSchema, Result, TableReference, exec_err, plan_err};
use datafusion_expr::planner::{ExprPlanner, PlannerResult, RawFieldAccessExpr};
use datafusion_expr::{
    ColumnarValue, Expr, ExprSchemable, GetFieldAccess, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl,
    Signature, Volatility, lit,
};

use crate::expr::types::{map_value, type_word};

static MEMBER: LazyLock<Arc<ScalarUDF>> = LazyLock::new(|| Arc::new(Member::default().into()));
static ENTRY: LazyLock<Arc<ScalarUDF>> = LazyLock::new(|| Arc::new(Entry::default().into()));

/// Plans paths with our own functions; elements and slices of lists are left to DataFusion's planner.
#[derive(Debug)]
pub(in crate::expr) struct PathPlanner;

impl ExprPlanner for PathPlanner {
    fn plan_field_access(
        &self,
        access: RawFieldAccessExpr,
        schema: &DFSchema,
    ) -> Result<PlannerResult<RawFieldAccessExpr>> {
        let data_type = access.expr.get_type(schema)?;
        let key = match (&access.field_access, &data_type) {
            (GetFieldAccess::NamedStructField { name }, _) => lit(name.clone()),
            (GetFieldAccess::ListIndex { key }, DataType::Map(_, _)) => match key.get_type(schema)? {
                key_type if key_type.is_string() => key.as_ref().clone(),
                other => return plan_err!("the keys of a map are strings, not {}", type_word(&other)),
            },
            _ => return Ok(PlannerResult::Original(access)),
        };
        path(access.expr, &data_type, key).map(PlannerResult::Planned)
    }

    fn plan_compound_identifier(
        &self,
        field: &Field,
        qualifier: Option<&TableReference>,
        nested_names: &[String],
    ) -> Result<PlannerResult<Vec<Expr>>> {
        let mut expr = Expr::Column(Column::from((qualifier, field)));
        let mut data_type = field.data_type().clone();
        for name in nested_names {
            expr = path(expr, &data_type, lit(name.as_str()))?;
            data_type = member_of(&data_type, name)?.data_type().clone();
        }
        Ok(PlannerResult::Planned(expr))
    }
}

fn path(of: Expr, data_type: &DataType, key: Expr) -> Result<Expr> {
    match data_type {
        DataType::Struct(_) => Ok(MEMBER.call(vec![of, key])),
        DataType::Map(_, _) => Ok(ENTRY.call(vec![of, key])),
        other => plan_err!("a value of type {} has no members", type_word(other)),
    }
}

/// The field that `name` gives of a struct or map.
fn member_of(data_type: &DataType, name: &str) -> Result<FieldRef> {
    match data_type {
        DataType::Struct(fields) => match fields.iter().find(|field| field.name() == name) {
            Some(field) => Ok(field.clone()),
            None => plan_err!("there is no field `{name}` in {}", type_word(data_type)),
        },
        DataType::Map(entries, _) => match map_value(entries) {
            Some(value) => Ok(Arc::new(value.clone())),
            None => plan_err!("this map has no values"),
        },
        other => plan_err!("a value of type {} has no members", type_word(other)),
    }
}

/// `user.city`.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Member {
    signature: Signature,
}

impl Default for Member {
    fn default() -> Self {
        Member { signature: Signature::user_defined(Volatility::Immutable) }
    }
}

impl ScalarUDFImpl for Member {
    fn name(&self) -> &str {
        "member"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        Ok(types.to_vec())
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        plan_err!("the type of a member depends on its name")
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        let ([of, _], [_, Some(name)]) = (args.arg_fields, args.scalar_arguments) else {
            return plan_err!("a member is named by one text");
        };
        let field = member_of(of.data_type(), name.try_as_str().flatten().unwrap_or_default())?;
        let nullable = of.is_nullable() || field.is_nullable();
        Ok(Arc::new(field.as_ref().clone().with_nullable(nullable)))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [of, ColumnarValue::Scalar(name)] = args.args.as_slice() else {
            return exec_err!("a member is named by one text");
        };
        let of = of.to_array(args.number_rows)?;
        let Some(fields) = of.as_struct_opt() else { return exec_err!("only a struct has members") };
        let name = name.try_as_str().flatten().unwrap_or_default();
        let Some(child) = fields.column_by_name(name) else { return exec_err!("there is no field `{name}`") };
        let child = match fields.null_count() {
            0 => child.clone(),
            _ => nullif(child, &is_null(fields)?)?,
        };
        Ok(ColumnarValue::Array(child))
    }
}

/// `attrs['k']`.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Entry {
    signature: Signature,
}

impl Default for Entry {
    fn default() -> Self {
        Entry { signature: Signature::user_defined(Volatility::Immutable) }
    }
}

impl ScalarUDFImpl for Entry {
    fn name(&self) -> &str {
        "entry"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        match types {
            [map @ DataType::Map(_, _), key] if key.is_string() => Ok(vec![map.clone(), DataType::Utf8]),
            _ => plan_err!("an entry has one key, a string"),
        }
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        match types.first() {
            Some(map) => Ok(member_of(map, "")?.data_type().clone()),
            None => plan_err!("an entry has one key"),
        }
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [map, key] = args.args.as_slice() else { return exec_err!("an entry has one key") };
        let map = map.to_array(args.number_rows)?;
        let Some(map) = map.as_map_opt() else { return exec_err!("only a map has entries") };
        let at = match key {
            ColumnarValue::Scalar(key) => {
                let key = key.try_as_str().flatten();
                last_entries(map, |_| key)?
            }
            ColumnarValue::Array(keys) => {
                let keys = keys.as_string::<i32>();
                last_entries(map, |row| keys.is_valid(row).then(|| keys.value(row)))?
            }
        };
        let values: ArrayRef = take(map.values(), &at, None)?;
        Ok(ColumnarValue::Array(values))
    }
}

/// Per row, where the last entry with its key stands.
fn last_entries<'k>(map: &MapArray, key: impl Fn(usize) -> Option<&'k str>) -> Result<UInt32Array> {
    let Some(keys) = map.keys().as_string_opt::<i32>() else { return exec_err!("the keys of a map are strings") };
    let offsets = map.value_offsets();
    let find = |row: usize| {
        let key = key(row).filter(|_| map.is_valid(row))?;
        let (start, end) = (offsets[row] as usize, offsets[row + 1] as usize);
        (start..end).rev().find(|&at| keys.value(at) == key).map(|at| at as u32)
    };
    Ok((0..map.len()).map(find).collect())
}

#[cfg(test)]
mod tests {
    use arrow::array::{BinaryBuilder, MapBuilder, StringBuilder};

    use super::*;

    #[test]
    fn of_equal_keys_the_last_counts() {
        let mut map = MapBuilder::new(None, StringBuilder::new(), BinaryBuilder::new());
        for (key, value) in [("x", b"1"), ("y", b"2"), ("x", b"3")] {
            map.keys().append_value(key);
            map.values().append_value(value);
        }
        map.append(true).unwrap();
        map.append(true).unwrap();
        let map = map.finish();
        let at = last_entries(&map, |_| Some("x")).unwrap();
        assert_eq!(at.iter().collect::<Vec<_>>(), vec![Some(2), None]);
    }
}
