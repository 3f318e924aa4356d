//! `java.util.Random`, bit for bit: the same seed gives the data of the genuine generator.

const MULTIPLIER: u64 = 0x5_DEEC_E66D;
const ADDEND: u64 = 0xB;
const MASK: u64 = (1 << 48) - 1;

/// Java's linear congruential generator of 48 bits.
#[derive(Debug, Clone)]
pub struct Random {
    state: u64,
}

impl Random {
    pub fn new(seed: i64) -> Self {
        Random { state: (seed as u64 ^ MULTIPLIER) & MASK }
    }

    /// The upper `bits` (at most 32) of the next state.
    fn next(&mut self, bits: u32) -> i32 {
        self.state = self.state.wrapping_mul(MULTIPLIER).wrapping_add(ADDEND) & MASK;
        (self.state >> (48 - bits)) as i32
    }

    /// Any whole number of 32 bits.
    pub fn next_int(&mut self) -> i32 {
        self.next(32)
    }

    /// 0 ≤ n < `bound`; `bound` is positive.
    pub fn next_below(&mut self, bound: i32) -> i32 {
        if bound & bound.wrapping_neg() == bound {
            return ((i64::from(bound) * i64::from(self.next(31))) >> 31) as i32;
        }
        loop {
            let bits = self.next(31);
            let value = bits % bound;
            // The last, incomplete run of `bound` numbers would favour the small ones.
            if bits.wrapping_sub(value).wrapping_add(bound - 1) >= 0 {
                return value;
            }
        }
    }

    /// Any whole number that two draws of 32 bits make.
    pub fn next_long(&mut self) -> i64 {
        (i64::from(self.next(32)) << 32).wrapping_add(i64::from(self.next(32)))
    }

    pub fn next_boolean(&mut self) -> bool {
        self.next(1) != 0
    }

    /// 0 ≤ x < 1, a multiple of 2⁻²⁴.
    pub fn next_float(&mut self) -> f32 {
        self.next(24) as f32 / (1 << 24) as f32
    }

    /// 0 ≤ x < 1, a multiple of 2⁻⁵³.
    pub fn next_double(&mut self) -> f64 {
        let bits = (i64::from(self.next(26)) << 27) + i64::from(self.next(27));
        bits as f64 / (1u64 << 53) as f64
    }

    /// Appends `count` bytes.
    pub fn next_bytes(&mut self, count: usize, out: &mut Vec<u8>) {
        let end = out.len() + count;
        while out.len() < end {
            let word = self.next_int().to_le_bytes();
            out.extend_from_slice(&word[..word.len().min(end - out.len())]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_are_javas() {
        let mut random = Random::new(42);
        assert_eq!(random.next_int(), -1_170_105_035);
        assert_eq!(Random::new(42).next_long(), -5_025_562_857_975_149_833);
        assert_eq!(Random::new(42).next_double(), 0.727_563_680_032_868_1);
        assert_eq!(Random::new(42).next_float(), 0.727_563_7);
        let mut bytes = Vec::new();
        Random::new(42).next_bytes(3, &mut bytes);
        assert_eq!(bytes, [0x35, 0x9d, 0x41]);
    }

    #[test]
    fn a_bound_is_never_reached() {
        let mut random = Random::new(0);
        for bound in [1, 2, 3, 7, 1 << 30, i32::MAX] {
            assert!((0..1_000).map(|_| random.next_below(bound)).all(|n| (0..bound).contains(&n)));
        }
    }
}
