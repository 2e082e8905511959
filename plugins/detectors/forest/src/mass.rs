//! Counts of the samples of the last window in the nodes of the trees.

use serde::{Deserialize, Serialize};

use crate::trees::{DEPTH, DIMENSIONS, NODES, TREES, Trees};

/// Number of samples in a window (ψ). The counts fit in a byte.
pub(crate) const WINDOW: u32 = 250;
/// Count up to which a node is not divided further: a tenth of the window.
const SMALL: u8 = 25;
/// Ratio of a side of the cube to the range of the window. The range lies in the middle of the
/// side.
const ROOM: f64 = 2.0;

/// Sample as the trees see it, before it is mapped to their cube.
pub(crate) type Point = [f64; DIMENSIONS];

/// Cube of a window, and the number of samples in each node of each tree.
#[derive(Serialize, Deserialize)]
struct Profile {
    low: Point,
    high: Point,
    counts: Vec<u8>,
}

/// Two windows, as in the paper. The last window judges samples while the present window is filled.
#[derive(Serialize, Deserialize)]
pub(crate) struct Mass {
    reference: Option<Profile>,
    latest: Option<Profile>,
    /// Range of the present window until now. It becomes the next cube.
    low: Point,
    high: Point,
    samples: u32,
}

impl Mass {
    pub(crate) fn new() -> Self {
        Self {
            reference: None,
            latest: None,
            low: [f64::INFINITY; DIMENSIONS],
            high: [f64::NEG_INFINITY; DIMENSIONS],
            samples: 0,
        }
    }

    pub(crate) fn fits(&self) -> bool {
        let whole = |profile: &Option<Profile>| {
            profile
                .as_ref()
                .is_none_or(|it| it.counts.len() == TREES * NODES)
        };
        self.samples < WINDOW && whole(&self.reference) && whole(&self.latest)
    }

    /// Returns the mass at the point as a share of the mass of a window that is spread evenly over
    /// the space. Returns none before a whole window was counted. Then counts the point.
    pub(crate) fn observe(&mut self, trees: &Trees, point: &Point) -> Option<f64> {
        let mass = self
            .reference
            .as_ref()
            .map(|reference| reference.mass(trees, point));
        if let Some(latest) = &mut self.latest {
            latest.count(trees, point);
        }
        for (value, (low, high)) in point.iter().zip(self.low.iter_mut().zip(&mut self.high)) {
            *low = low.min(*value);
            *high = high.max(*value);
        }
        self.samples += 1;
        if self.samples >= WINDOW {
            let counts = match self.reference.take() {
                Some(Profile { mut counts, .. }) => {
                    counts.fill(0);
                    counts
                }
                None => vec![0; TREES * NODES],
            };
            self.reference = self.latest.take();
            self.latest = Some(Profile {
                low: self.low,
                high: self.high,
                counts,
            });
            (self.low, self.high, self.samples) = (
                [f64::INFINITY; DIMENSIONS],
                [f64::NEG_INFINITY; DIMENSIONS],
                0,
            );
        }
        mass
    }
}

impl Profile {
    /// Maps the point to the cube. The range of the window before is the middle half of the cube. A
    /// point beyond the cube is moved to its border.
    fn place(&self, point: &Point) -> Point {
        std::array::from_fn(|dimension| {
            let (low, high) = (self.low[dimension], self.high[dimension]);
            // The halves keep the largest numbers from overflowing.
            let (middle, side) = (
                low / 2.0 + high / 2.0,
                (high / 2.0 - low / 2.0) * ROOM * 2.0,
            );
            let off = point[dimension] / 2.0 - middle / 2.0;
            let share = if off == 0.0 { 0.0 } else { off * 2.0 / side };
            0.5 + share.clamp(-0.5, 0.5)
        })
    }

    fn count(&mut self, trees: &Trees, point: &Point) {
        let place = self.place(point);
        for tree in 0..TREES {
            let mut node = 1;
            for _ in 0..=DEPTH {
                let count = &mut self.counts[tree * NODES + node];
                *count = count.saturating_add(1);
                if node >= NODES / 2 {
                    break;
                }
                node = trees.half(tree, node, &place);
            }
        }
    }

    /// Returns Σ r · 2^depth over the trees, as a share of the sum of a full tree. r is the count
    /// of the first node that is small or a leaf.
    fn mass(&self, trees: &Trees, point: &Point) -> f64 {
        let place = self.place(point);
        let mut sum = 0.0;
        for tree in 0..TREES {
            let (mut node, mut spread) = (1, 1.0);
            let mut count = self.counts[tree * NODES + node];
            while count > SMALL && node < NODES / 2 {
                node = trees.half(tree, node, &place);
                spread *= 2.0;
                count = self.counts[tree * NODES + node];
            }
            sum += f64::from(count) * spread;
        }
        sum / (TREES as f64 * f64::from(WINDOW))
    }
}
