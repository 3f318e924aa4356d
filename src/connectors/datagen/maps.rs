//! Generated maps: their keys while they are drawn, and the array in which no key comes twice.

use std::collections::HashSet;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BooleanArray, MapArray, StringArray, StructArray};
use arrow::buffer::{Buffer, NullBuffer, OffsetBuffer};
use arrow::compute::filter;
use arrow::datatypes::{DataType, FieldRef};

use super::generate::{Draw, Strings};
use super::kinds::{MapKeys, Text};

/// Keys of all maps, one behind the other.
#[derive(Debug)]
pub struct KeyBuilder {
    rule: KeyRule,
    strings: Strings,
    count: usize,
}

#[derive(Debug)]
enum KeyRule {
    Character,
    Text(Text),
    Options(StringArray),
}

impl KeyBuilder {
    pub fn new(keys: &MapKeys) -> Self {
        let rule = match keys {
            MapKeys::Character => KeyRule::Character,
            MapKeys::Text(text) => KeyRule::Text(text.clone()),
            MapKeys::Options(options) => KeyRule::Options(options.clone()),
        };
        KeyBuilder { rule, strings: Strings::new(), count: 0 }
    }

    pub fn len(&self) -> usize {
        self.count
    }

    /// Draws one key.
    pub fn push(&mut self, draw: &mut Draw) {
        match &self.rule {
            KeyRule::Character => self.strings.bytes.push(draw.random.next_below(128) as u8),
            KeyRule::Text(text) => draw.text(text, &mut self.strings.bytes),
            KeyRule::Options(options) => {
                let pick = draw.random.next_below(options.len() as i32) as usize;
                self.strings.bytes.extend_from_slice(options.value(pick).as_bytes());
            }
        }
        self.strings.end();
        self.count += 1;
    }

    pub fn finish(&mut self) -> StringArray {
        self.count = 0;
        let (offsets, bytes): (OffsetBuffer<i32>, Buffer) = self.strings.finish();
        StringArray::new(offsets, bytes, None)
    }
}

/// Where a key came twice, its last value stands.
pub fn array(
    field: &FieldRef,
    mut offsets: Vec<i32>,
    keys: StringArray,
    values: &ArrayRef,
    nulls: Option<NullBuffer>,
) -> ArrayRef {
    let mut keep = vec![true; keys.len()];
    let mut kept = 0;
    let mut seen = HashSet::new();
    for row in 1..offsets.len() {
        let (from, to) = (offsets[row - 1] as usize, offsets[row] as usize);
        seen.clear();
        for index in (from..to).rev() {
            keep[index] = seen.insert(keys.value(index));
        }
        // The offset before is the old one until its own turn is over.
        offsets[row - 1] = kept;
        kept += seen.len() as i32;
    }
    let last = offsets.len() - 1;
    offsets[last] = kept;
    drop(seen);
    let (mut keys, mut values): (ArrayRef, _) = (Arc::new(keys), values.clone());
    if kept as usize != keep.len() {
        let keep = BooleanArray::from(keep);
        keys = filter(&keys, &keep).expect("one bit per key");
        values = filter(&values, &keep).expect("one bit per value");
    }
    let DataType::Struct(entry) = field.data_type() else { unreachable!("entries of a map are a struct") };
    let entries = StructArray::new(entry.clone(), vec![keys, values], None);
    Arc::new(MapArray::new(field.clone(), OffsetBuffer::new(offsets.into()), entries, nulls, false))
}
