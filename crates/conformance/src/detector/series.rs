//! Series for the trials of detectors. They are always equal, and each is odd in one way.

use fastrand::Rng;

use anomalyzer_domain::{Labels, UnixMs};

/// The time 2026-01-01T00:00:00Z.
pub(super) const BEGIN: UnixMs = 1_767_225_600_000;
/// Usual scrape interval of Prometheus in milliseconds.
pub(super) const EVERY_MS: i64 = 15_000;

const SAMPLES: usize = 600;
const HOUR_MS: i64 = 3_600_000;
/// 2^53. From this value on, adding 1 to a double changes nothing.
const NO_MORE_ONES: f64 = 9_007_199_254_740_992.0;

/// Property that a series is an example of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Ordinary,
    Gaps,
    Constant,
    Huge,
    Counter,
    Few,
}

/// A series with its samples.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Series {
    pub(super) name: String,
    pub(super) kind: Kind,
    pub(super) samples: Vec<(UnixMs, f64)>,
}

impl Series {
    fn every(name: &str, kind: Kind, values: impl IntoIterator<Item = f64>) -> Self {
        let samples = (0..).map(|i| BEGIN + i * EVERY_MS).zip(values).collect();
        Self {
            name: name.to_owned(),
            kind,
            samples,
        }
    }

    pub(super) fn labels(&self) -> Labels {
        Labels::new([("__name__", "conformance"), ("case", &self.name)])
    }
}

/// Returns noise around 100 with a standard deviation of 10.
pub(super) fn calm(seed: u64, samples: usize) -> Vec<f64> {
    let mut random = Rng::with_seed(seed);
    (0..samples)
        .map(|_| 100.0 + (0..12).map(|_| random.f64() - 0.5).sum::<f64>() * 10.0)
        .collect()
}

/// Returns the noise of [`calm`] plus a wave with a period of `period` samples.
pub(super) fn seasonal(seed: u64, samples: usize, period: usize) -> Vec<f64> {
    let wave = |i: usize| (i as f64 / period as f64 * std::f64::consts::TAU).sin() * 40.0;
    calm(seed, samples)
        .into_iter()
        .enumerate()
        .map(|(i, value)| value + wave(i))
        .collect()
}

fn with(mut values: Vec<f64>, change: impl Fn(usize, f64) -> f64) -> Vec<f64> {
    for (i, value) in values.iter_mut().enumerate() {
        *value = change(i, *value);
    }
    values
}

/// Returns all series.
pub(super) fn all() -> Vec<Series> {
    [ordinary(), odd(), with_gaps()].concat()
}

fn ordinary() -> Vec<Series> {
    let shift = |i, value| {
        if (350..450).contains(&i) {
            value + 120.0
        } else {
            value
        }
    };
    let spike = |i, value| {
        if i > 100 && i % 97 == 0 {
            value * 8.0
        } else {
            value
        }
    };
    let outage = |i, value| if (400..430).contains(&i) { 0.0 } else { value };
    [
        ("calm", calm(1, SAMPLES)),
        ("level shift and back", with(calm(2, SAMPLES), shift)),
        ("spikes", with(calm(3, SAMPLES), spike)),
        ("outage", with(calm(4, SAMPLES), outage)),
        ("rhythm", seasonal(5, SAMPLES, 96)),
        ("trend", with(calm(6, SAMPLES), |i, value| value + i as f64)),
        ("negative", with(calm(7, SAMPLES), |_, value| -value)),
    ]
    .map(|(name, values)| Series::every(name, Kind::Ordinary, values))
    .to_vec()
}

fn odd() -> Vec<Series> {
    let swing = |i: usize, _| [f64::MAX, f64::MIN, 1e300, -1e-300][i % 4];
    let tiny = |i: usize, _| [f64::MIN_POSITIVE, 5e-324, -5e-324, 0.0, -0.0][i % 5];
    let jump = |i, _| if i < 300 { 5.0 } else { 6.0 };
    let ones = |i: usize, _| NO_MORE_ONES - 300.0 + i as f64;
    let reset = |i: usize, _| {
        if i < 300 {
            NO_MORE_ONES + i as f64 * 2.0
        } else {
            (i - 300) as f64
        }
    };
    let of = |name, kind, change: &dyn Fn(usize, f64) -> f64| {
        Series::every(name, kind, with(vec![0.0; SAMPLES], change))
    };
    let mut odd = vec![
        of("zero", Kind::Constant, &|_, value| value),
        of("constant", Kind::Constant, &|_, _| 5.0),
        of("constant that jumps", Kind::Constant, &jump),
        of("huge", Kind::Huge, &|_, _| f64::MAX),
        of("huge, up and down", Kind::Huge, &swing),
        of("tiny", Kind::Huge, &tiny),
        Series::every(
            "calm, then huge",
            Kind::Huge,
            with(calm(8, SAMPLES), |i, v| if i == 500 { f64::MAX } else { v }),
        ),
        of("counter that reaches 2^53", Kind::Counter, &ones),
        of("counter beyond 2^53 with a reset", Kind::Counter, &reset),
    ];
    odd.extend((1..=10).map(|length| {
        Series::every(
            &format!("{length} samples"),
            Kind::Few,
            calm(length, length as usize),
        )
    }));
    odd
}

fn with_gaps() -> Vec<Series> {
    let mut random = Rng::with_seed(9);
    let mut at = BEGIN;
    let ragged = |value| {
        at += if random.u8(..) < 5 {
            HOUR_MS * random.i64(1..100)
        } else {
            random.i64(1..60_000)
        };
        (at, value)
    };
    let ragged = Series {
        name: "gaps of hours".to_owned(),
        kind: Kind::Gaps,
        samples: with(calm(10, SAMPLES), |i, v| if i > 500 { v * 3.0 } else { v })
            .into_iter()
            .map(ragged)
            .collect(),
    };
    // Times before 1970, at 0, a millisecond apart, and in the year 9999.
    let far = [
        -62_135_596_800_000,
        -1,
        0,
        1,
        2,
        BEGIN,
        BEGIN + 1,
        253_402_300_799_000,
    ];
    let far = Series {
        name: "far times".to_owned(),
        kind: Kind::Gaps,
        samples: far.into_iter().zip(calm(11, far.len())).collect(),
    };
    vec![ragged, far]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_series_keep_the_contract_and_are_the_same_each_time() {
        for series in all() {
            assert!(
                series.samples.iter().all(|(_, value)| value.is_finite()),
                "{}",
                series.name
            );
            assert!(
                series.samples.windows(2).all(|two| two[0].0 < two[1].0),
                "{}",
                series.name
            );
        }
        assert_eq!(all(), all());
        for kind in [
            Kind::Ordinary,
            Kind::Gaps,
            Kind::Constant,
            Kind::Huge,
            Kind::Counter,
            Kind::Few,
        ] {
            assert!(all().iter().any(|series| series.kind == kind), "{kind:?}");
        }
    }
}
