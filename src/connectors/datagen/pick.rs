//! Choosing: which of several values, and which of the numbers that another generator counts.

use std::sync::Arc;

use super::random::Random;

/// Most values that a skewed choice can be of: it keeps a number for each.
pub const SKEWED_MAX: u64 = 1_000_000;

/// Which of some values.
#[derive(Debug, Clone, PartialEq)]
pub enum Pick {
    /// Each is equally likely.
    Even,
    /// The n-th is 1/n^s times as likely as the first: shares up to and with each value, the last is 1.
    Zipf(Arc<[f64]>),
}

impl Pick {
    /// A skewed choice of so many values; at least one, at most [`SKEWED_MAX`].
    pub fn zipf(count: u64, exponent: f64) -> Pick {
        let mut shares: Vec<f64> = Vec::with_capacity(count as usize);
        let mut sum = 0.0;
        for rank in 1..=count {
            sum += (rank as f64).powf(-exponent);
            shares.push(sum);
        }
        shares.iter_mut().for_each(|share| *share /= sum);
        Pick::Zipf(shares.into())
    }

    /// 0 ≤ n < `count`, with one draw.
    pub fn draw(&self, random: &mut Random, count: u64) -> u64 {
        match self {
            Pick::Even => match i32::try_from(count) {
                Ok(count) => random.next_below(count) as u64,
                Err(_) => (random.next_double() * count as f64) as u64,
            },
            Pick::Zipf(shares) => {
                let at = random.next_double();
                // Rounding may leave the last share a little below 1.
                shares.partition_point(|share| *share <= at).min(shares.len() - 1) as u64
            }
        }
    }
}

/// The numbers that another generator's counter gives: start, start + step, … in this order.
#[derive(Debug, Clone, PartialEq)]
pub struct Keys {
    pub start: i64,
    pub step: i64,
    /// The remainder of the way from `start` is taken, if there is a span.
    pub span: Option<i128>,
    /// How many there are.
    pub count: u64,
    pub pick: Pick,
}

impl Keys {
    pub fn draw(&self, random: &mut Random) -> i64 {
        let way = i128::from(self.pick.draw(random, self.count)) * i128::from(self.step.unsigned_abs());
        let way = self.span.map_or(way, |span| way % span);
        (i128::from(self.start) + i128::from(self.step.signum()) * way) as i64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_skewed_choice_prefers_the_first_values() {
        let (pick, mut random) = (Pick::zipf(100, 1.0), Random::new(1));
        let mut seen = [0u32; 100];
        (0..100_000).for_each(|_| seen[pick.draw(&mut random, 100) as usize] += 1);
        // The harmonic number of 100 is 5.187: shares of 19.3, 9.6 and 0.2 of 100.
        assert!((18_500..20_100).contains(&seen[0]) && (9_100..10_200).contains(&seen[1]), "{seen:?}");
        assert!((100..300).contains(&seen[99]), "{seen:?}");
    }

    #[test]
    fn keys_are_numbers_that_were_counted() {
        let keys = Keys { start: 10, step: -3, span: Some(10), count: 10, pick: Pick::Even };
        let mut random = Random::new(1);
        let mut seen: Vec<i64> = (0..1_000).map(|_| keys.draw(&mut random)).collect();
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen, (1..=10).collect::<Vec<_>>());
    }
}
