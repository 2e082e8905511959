//! Record of scores, to find the highest score in a while.

use serde::{Deserialize, Serialize};

const BLOCK: u8 = 10;
const BLOCKS: usize = 10;

/// Refractory period of a record: a score counts only if it is above all of the last R = 100
/// scores. R can be up to 109, because the scores are kept in blocks of ten.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Record {
    /// Highest score of each full block.
    blocks: [f64; BLOCKS],
    /// Index of the oldest block.
    oldest: u8,
    /// Highest score of all full blocks and of the present block.
    highest: f64,
    /// Highest score of the present block, and the number of its scores.
    present: f64,
    scores: u8,
}

impl Record {
    pub(crate) fn new() -> Self {
        Self {
            blocks: [0.0; BLOCKS],
            oldest: 0,
            highest: 0.0,
            present: 0.0,
            scores: 0,
        }
    }

    pub(crate) fn fits(&self) -> bool {
        usize::from(self.oldest) < BLOCKS && self.scores < BLOCK
    }

    /// Returns true if the score is a record.
    #[inline]
    pub(crate) fn observe(&mut self, score: f64) -> bool {
        let record = score > self.highest;
        if record {
            self.highest = score;
        }
        if score > self.present {
            self.present = score;
        }
        self.scores += 1;
        if self.scores >= BLOCK {
            self.blocks[usize::from(self.oldest)] = self.present;
            self.oldest = (self.oldest + 1) % BLOCKS as u8;
            self.highest =
                self.blocks.iter().fold(
                    0.0,
                    |highest, block| if *block > highest { *block } else { highest },
                );
            (self.present, self.scores) = (0.0, 0);
        }
        record
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_a_record_nothing_lower_is_one_for_100_to_109_samples() {
        for offset in 0..10 {
            let mut record = Record::new();
            (0..offset).for_each(|_| assert!(!record.observe(0.0)));
            assert!(record.observe(5.0));
            let quiet = (0..200)
                .take_while(|_| !record.clone().observe(4.0) && !record.observe(0.0))
                .count();
            assert!((100..110).contains(&quiet), "{quiet}");
        }
    }
}
