//! JSON: one value per record, one object per row.
//!
//! [`decode`] reads straight into columns: arrow-json would take `"5"` for a number and cut `1.5` down to 1,
//! and could not say which record of a batch is bad. [`scan`] knows JSON's grammar, [`encode`] writes.

mod decode;
mod encode;
mod scan;
#[cfg(test)]
mod tests;

pub(super) use decode::JsonDecoder;
pub(super) use encode::JsonEncoder;

/// Whether a text is one JSON value.
pub(super) fn is_json(text: &str) -> bool {
    let mut scanner = scan::Scanner::new(text);
    let whole = scanner.skip().is_ok();
    scanner.skip_space();
    whole && scanner.at() == text.len()
}
