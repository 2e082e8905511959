//! Reduces the number of points of a line without a visible change.

use anomalyzer_domain::UnixMs;

/// Keeps the first, the lowest, the highest and the last point of each of `columns` columns. A line
/// through them covers the same pixels. The points must be in ascending order of time, and keep
/// that order.
pub(super) fn thin(points: &[(UnixMs, f64)], columns: usize) -> Vec<(UnixMs, f64)> {
    if points.len() <= 4 * columns {
        return points.to_vec();
    }
    let (Some((from, _)), Some((to, _))) = (points.first(), points.last()) else {
        return Vec::new();
    };
    let width = (to.abs_diff(*from) / columns as u64).max(1);
    let mut kept = Vec::with_capacity(4 * columns);
    for column in
        points.chunk_by(|(a, _), (b, _)| a.abs_diff(*from) / width == b.abs_diff(*from) / width)
    {
        let lowest = column
            .iter()
            .enumerate()
            .min_by(|(_, a), (_, b)| a.1.total_cmp(&b.1));
        let highest = column
            .iter()
            .enumerate()
            .max_by(|(_, a), (_, b)| a.1.total_cmp(&b.1));
        let [lowest, highest] = [lowest, highest].map(|found| found.map_or(0, |(index, _)| index));
        let mut indices = [
            0,
            lowest.min(highest),
            lowest.max(highest),
            column.len() - 1,
        ]
        .to_vec();
        indices.dedup();
        kept.extend(indices.into_iter().filter_map(|index| column.get(index)));
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peaks_stay_and_their_order() {
        let mut points: Vec<(UnixMs, f64)> =
            (0..100_000).map(|n| (n * 10, (n % 7) as f64)).collect();
        points[54_321].1 = 99.0;
        points[77_777].1 = -99.0;
        let kept = thin(&points, 500);
        assert!(kept.len() <= 4 * 501, "{}", kept.len());
        assert!(kept.contains(&(543_210, 99.0)) && kept.contains(&(777_770, -99.0)));
        assert!(kept.is_sorted_by(|a, b| a.0 < b.0));
        assert_eq!((kept.first(), kept.last()), (points.first(), points.last()));
        assert_eq!(thin(&points[..100], 500), points[..100]);
        assert_eq!(thin(&[], 500), []);
    }
}
