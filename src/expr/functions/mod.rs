//! What an expression may call: DataFusion's functions, less those that show the engine's insides or
//! depend on anything but the row, and our own ([`FUNCTIONS`]: paths into values, one file each kind).
//!
//! Functions are looked up by lower-case name. The clock's functions (`now()`) are planned in `plan`.

mod access;
mod json;
mod sum;
mod variance;

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use datafusion_expr::{AggregateUDF, ScalarUDF, Volatility};

pub(super) use access::PathPlanner;
pub(super) use json::JsonPlanner;
pub(super) use sum::CheckedSum;
pub(super) use variance::{Spread, Variance};

/// Our own functions; users write them as `a.b`, `m['k']`, `j->'k'` and `j->>'k'`.
const FUNCTIONS: &[fn() -> Arc<ScalarUDF>] = &[json::json_get, json::json_get_text];

/// They show types, files and versions of the engine, not of the user's rows; `map_entries` panics on
/// maps that are not nullable.
const WITHHELD: &[&str] = &[
    "arrow_cast",
    "arrow_field",
    "arrow_metadata",
    "arrow_try_cast",
    "arrow_typeof",
    "cast_to_type",
    "file_row_index",
    "get_field",
    "input_file_name",
    "map_entries",
    "try_cast_to_type",
    "union_extract",
    "union_tag",
    "version",
    "with_metadata",
];

/// Aggregates whose result is a function of the rows in order, whatever the batches were (I2).
pub(super) const AGGREGATES: &[&str] = &[
    "count",
    "sum",
    "avg",
    "mean",
    "min",
    "max",
    "bool_and",
    "bool_or",
    "var",
    "var_samp",
    "var_sample",
    "var_pop",
    "var_population",
    "stddev",
    "stddev_samp",
    "stddev_pop",
];

static SCALARS: LazyLock<BTreeMap<String, Arc<ScalarUDF>>> = LazyLock::new(|| {
    let mut table = BTreeMap::new();
    let theirs = datafusion_functions::all_default_functions()
        .into_iter()
        .chain(datafusion_functions_nested::all_default_nested_functions())
        .filter(|function| !WITHHELD.contains(&function.name()));
    for function in theirs.chain(FUNCTIONS.iter().map(|make| make())) {
        for name in function.aliases().iter().map(String::as_str).chain([function.name()]) {
            table.insert(name.to_owned(), function.clone());
        }
    }
    table
});

static ALL_AGGREGATES: LazyLock<BTreeMap<String, Arc<AggregateUDF>>> = LazyLock::new(|| {
    let mut table = BTreeMap::new();
    for function in datafusion_functions_aggregate::all_default_aggregate_functions() {
        for name in function.aliases().iter().map(String::as_str).chain([function.name()]) {
            table.insert(name.to_owned(), function.clone());
        }
    }
    table
});

/// The scalar function of this (lower-case) name.
pub(super) fn scalar(name: &str) -> Option<&'static Arc<ScalarUDF>> {
    SCALARS.get(name)
}

/// The aggregate of this (lower-case) name, also one that is not available yet.
pub(super) fn aggregate(name: &str) -> Option<&'static Arc<AggregateUDF>> {
    ALL_AGGREGATES.get(name)
}

/// True for a function whose value is not a function of the row and the clock.
pub(super) fn is_volatile(function: &ScalarUDF) -> bool {
    function.signature().volatility == Volatility::Volatile
}

/// The names that a user may call.
pub(super) fn scalar_names() -> impl Iterator<Item = &'static str> {
    SCALARS.iter().filter(|(_, function)| !is_volatile(function)).map(|(name, _)| name.as_str())
}
