//! Half-space trees: random cuts of the unit cube, made before any sample is seen.

/// Number of dimensions of a sample: its value, its step from the value before, and the mean of the
/// last few values.
pub(crate) const DIMENSIONS: usize = 3;
/// Number of trees, and number of cuts between a root and its leaves.
pub(crate) const TREES: usize = 16;
pub(crate) const DEPTH: usize = 6;
/// Number of nodes in a tree. The root is 1, and the halves of n are 2n and 2n + 1.
pub(crate) const NODES: usize = 1 << (DEPTH + 1);

/// Cuts of all trees. All series share the cuts, because each series is mapped to a unit cube of
/// its own.
pub(crate) struct Trees(Vec<Cut>);

#[derive(Clone, Copy)]
struct Cut {
    dimension: usize,
    at: f64,
}

/// SplitMix64 (Steele et al. 2014). It gives equal numbers on every machine.
struct Random(u64);

impl Random {
    fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn share(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1_u64 << 53) as f64
    }
}

impl Trees {
    /// Makes the trees from a seed. Each tree works in a space that is moved at random. In that
    /// space each cut halves a random side (Tan, Ting & Liu 2011, algorithm 1). The space reaches
    /// from q − 2·max(q, 1 − q) to q + 2·max(q, 1 − q), with q uniform in the unit interval.
    pub(crate) fn new(seed: u64) -> Self {
        let mut random = Random(seed);
        let mut cuts = vec![
            Cut {
                dimension: 0,
                at: 0.0
            };
            TREES * NODES / 2
        ];
        for tree in 0..TREES {
            let space: [(f64, f64); DIMENSIONS] = std::array::from_fn(|_| {
                let q = random.share();
                let wide = 2.0 * q.max(1.0 - q);
                (q - wide, q + wide)
            });
            Self::cut(
                &mut cuts[tree * NODES / 2..(tree + 1) * NODES / 2],
                &mut random,
                1,
                space,
            );
        }
        Self(cuts)
    }

    fn cut(cuts: &mut [Cut], random: &mut Random, node: usize, space: [(f64, f64); DIMENSIONS]) {
        let Some(cut) = cuts.get_mut(node) else {
            return;
        };
        let dimension = (random.bits() % DIMENSIONS as u64) as usize;
        let (low, high) = space[dimension];
        let at = f64::midpoint(low, high);
        *cut = Cut { dimension, at };
        let (mut left, mut right) = (space, space);
        (left[dimension], right[dimension]) = ((low, at), (at, high));
        Self::cut(cuts, random, 2 * node, left);
        Self::cut(cuts, random, 2 * node + 1, right);
    }

    /// Returns the child of a node that contains the point.
    pub(crate) fn half(&self, tree: usize, node: usize, point: &[f64; DIMENSIONS]) -> usize {
        let Cut { dimension, at } = self.0[tree * NODES / 2 + node];
        2 * node + usize::from(point[dimension] >= at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_leaf_can_be_reached_and_the_seed_decides() {
        let (trees, mut random) = (Trees::new(1), Random(7));
        let mut reached = [false; NODES];
        for _ in 0..100_000 {
            let point = std::array::from_fn(|_| random.share() * 6.0 - 2.5);
            let leaf = (0..DEPTH).fold(1, |node, _| trees.half(0, node, &point));
            reached[leaf] = true;
        }
        assert!(reached[NODES / 2..].iter().all(|reached| *reached));
        let cuts = |seed| {
            Trees::new(seed)
                .0
                .iter()
                .map(|cut| cut.at)
                .collect::<Vec<_>>()
        };
        assert_eq!(cuts(5), cuts(5));
        assert_ne!(cuts(5), cuts(6));
    }
}
