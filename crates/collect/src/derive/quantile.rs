//! Computes the quantile of a histogram's observations.

/// Observations up to and including an upper bound.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bucket {
    /// Upper bound, inclusive. The bound of the last bucket is infinite.
    pub bound: f64,
    /// Number of observations up to the bound, including those of the lower buckets.
    pub count: f64,
}

/// Computes a quantile like Prometheus's `histogram_quantile` (`bucketQuantile` in
/// promql/quantile.go).
///
/// Interpolates linearly within the bucket that holds the rank. The first bucket starts at 0 if its
/// bound is positive. A rank above the highest finite bound gives that bound. Returns `None` if
/// there are no observations, no infinite bucket, or no finite bucket.
pub fn quantile(q: f64, mut buckets: Vec<Bucket>) -> Option<f64> {
    buckets.retain(|bucket| !bucket.bound.is_nan());
    buckets.sort_by(|a, b| a.bound.total_cmp(&b.bound));
    // Two buckets with an equal bound are one bucket. Two versions of an application may write the
    // bound as 1 and as 1.0.
    buckets.dedup_by(|next, bucket| {
        let same = next.bound == bucket.bound;
        bucket.count += if same { next.count } else { 0.0 };
        same
    });
    // Replicas are asked one after the other, so a lower bucket may be slightly ahead of a higher
    // one.
    let mut highest = 0.0_f64;
    for bucket in &mut buckets {
        highest = highest.max(bucket.count);
        bucket.count = highest;
    }
    let [finite @ .., last] = buckets.as_slice() else {
        return None;
    };
    let highest_bound = finite.last()?.bound;
    if last.bound != f64::INFINITY || last.count.is_nan() || last.count <= 0.0 {
        return None;
    }
    let rank = q * last.count;
    let at = finite.partition_point(|bucket| bucket.count < rank);
    let Some(bucket) = finite.get(at) else {
        return Some(highest_bound);
    };
    let (start, below) = match at.checked_sub(1) {
        Some(before) => (finite[before].bound, finite[before].count),
        None if bucket.bound <= 0.0 => return Some(bucket.bound),
        None => (0.0, 0.0),
    };
    let inside = bucket.count - below;
    if inside <= 0.0 {
        return Some(bucket.bound);
    }
    Some(start + (bucket.bound - start) * ((rank - below) / inside))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(q: f64, buckets: &[(f64, f64)]) -> Option<f64> {
        quantile(
            q,
            buckets
                .iter()
                .map(|&(bound, count)| Bucket { bound, count })
                .collect(),
        )
    }

    const INF: f64 = f64::INFINITY;

    #[test]
    fn it_is_linear_within_a_bucket() {
        let buckets = [(0.1, 10.0), (0.2, 30.0), (INF, 40.0)];
        assert_eq!(of(0.125, &buckets), Some(0.05));
        assert_eq!(of(0.5, &buckets), Some(0.15000000000000002));
        assert_eq!(of(0.75, &buckets), Some(0.2));
    }

    #[test]
    fn above_the_highest_finite_bound_it_is_that_bound() {
        assert_eq!(
            of(0.99, &[(0.1, 10.0), (0.2, 30.0), (INF, 40.0)]),
            Some(0.2)
        );
    }

    #[test]
    fn without_observations_there_is_no_value() {
        assert_eq!(of(0.5, &[(0.1, 0.0), (INF, 0.0)]), None);
        assert_eq!(of(0.5, &[]), None);
    }

    #[test]
    fn without_an_infinite_bucket_or_any_other_there_is_no_value() {
        assert_eq!(of(0.5, &[(0.1, 1.0), (0.2, 2.0)]), None);
        assert_eq!(of(0.5, &[(INF, 2.0)]), None);
    }

    #[test]
    fn bounds_below_zero_and_bounds_given_twice_are_understood() {
        assert_eq!(
            of(0.1, &[(-1.0, 10.0), (0.0, 20.0), (INF, 20.0)]),
            Some(-1.0)
        );
        assert_eq!(
            of(0.5, &[(1.0, 5.0), (1.0, 5.0), (2.0, 20.0), (INF, 20.0)]),
            Some(1.0)
        );
    }

    #[test]
    fn a_lower_bucket_that_is_ahead_is_evened_out() {
        assert_eq!(of(1.0, &[(1.0, 10.0), (2.0, 9.0), (INF, 10.0)]), Some(1.0));
    }

    proptest! {
        #[test]
        fn it_lies_within_the_bounds_and_rises_with_q(
            counts in prop::collection::vec(0.0f64..100.0, 2..8), low in 0.0f64..1.0, more in 0.0f64..1.0,
        ) {
            let mut total = 0.0;
            let last = counts.len() - 1;
            let buckets: Vec<(f64, f64)> = counts.iter().enumerate().map(|(index, count)| {
                total += count;
                (if index == last { INF } else { (index + 1) as f64 }, total)
            }).collect();
            let high = low + more * (1.0 - low);
            if let (Some(lower), Some(higher)) = (of(low, &buckets), of(high, &buckets)) {
                prop_assert!(lower <= higher + 1e-9, "{lower} {higher}");
                prop_assert!((0.0..=last as f64).contains(&lower) && (0.0..=last as f64).contains(&higher));
            } else {
                prop_assert_eq!(total, 0.0);
            }
        }
    }
}
