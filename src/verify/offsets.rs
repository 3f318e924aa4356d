//! A set of offsets: about a bit each.

use roaring::RoaringTreemap;

use crate::data::Offset;

/// Offsets mostly come in order: those are put in by ranges.
#[derive(Debug, Clone, Default)]
pub struct Offsets {
    /// Without `run`.
    map: RoaringTreemap,
    /// The last ones, in a row, above all others.
    run: std::ops::Range<u64>,
}

impl Offsets {
    /// False: it is there already. Offsets are not negative.
    pub fn insert(&mut self, offset: Offset) -> bool {
        let offset = offset as u64;
        if offset == self.run.end && !self.run.is_empty() {
            self.run.end += 1;
            return true;
        }
        if self.run.contains(&offset) {
            return false;
        }
        if self.run.is_empty() || offset > self.run.end {
            self.settle();
            self.run = offset..offset + 1;
            return true;
        }
        self.map.insert(offset)
    }

    fn settle(&mut self) {
        match self.run.end - self.run.start {
            0 => {}
            1 => drop(self.map.insert(self.run.start)),
            _ => drop(self.map.insert_range(self.run.clone())),
        }
        self.run = 0..0;
    }

    pub fn contains(&self, offset: Offset) -> bool {
        self.run.contains(&(offset as u64)) || self.map.contains(offset as u64)
    }

    pub fn max(&self) -> Option<Offset> {
        let of_map = self.map.max();
        let max = if self.run.is_empty() { of_map } else { Some(self.run.end - 1) };
        max.map(|offset| offset as Offset)
    }

    /// Those that are not in `other`, in order.
    pub fn without(mut self, mut other: Offsets) -> impl Iterator<Item = Offset> {
        self.settle();
        other.settle();
        (self.map - other.map).into_iter().map(|offset| offset as Offset)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_is_a_set_whatever_the_order(
            ranges in prop::collection::vec((0i64..300, 1i64..40), 1..20),
            others in prop::collection::vec(0i64..400, 0..50),
        ) {
            let (mut offsets, mut naive) = (Offsets::default(), BTreeSet::new());
            for offset in ranges.into_iter().flat_map(|(start, count)| start..start + count) {
                prop_assert_eq!(offsets.insert(offset), naive.insert(offset));
                prop_assert_eq!(offsets.max(), naive.last().copied());
            }
            for offset in 0..400 {
                prop_assert_eq!(offsets.contains(offset), naive.contains(&offset));
            }
            let (mut other, mut naive_other) = (Offsets::default(), BTreeSet::new());
            for offset in others {
                other.insert(offset);
                naive_other.insert(offset);
            }
            prop_assert_eq!(offsets.without(other).collect::<BTreeSet<_>>(), &naive - &naive_other);
        }
    }
}
