//! Determinism checks: changes of the conditions that may not change a verdict.

use super::bench::Bench;
use super::feed::{Cut, Order, Verdicts, frames, show, watch};
use super::series::{Kind, Series};
use crate::report::Failure;
use anomalyzer_domain::Sample;
use anomalyzer_plugin_host::{DetectorInstance, Frame, PluginError, RawFinding, Saved};

const NO_SOURCE: &str = "use nothing but the settings and the samples: no counter that outlives an instance, no order of a hash map, \
                         no uninitialised memory";
const NO_FRAMES: &str = "keep all memory per series and take each sample by itself: nothing may be computed from a frame as a whole";
const NO_FORGETTING: &str =
    "let `save` write all that `observe` reads: what is left out begins anew";

/// Number of times that a series is saved and restored.
const RESTARTS: usize = 6;

/// Returns the first difference between two verdicts on a series.
fn compare(one: &Verdicts, other: &Verdicts) -> Option<(usize, String)> {
    let scores = one
        .scores
        .iter()
        .zip(&other.scores)
        .position(|(one, other)| one != other);
    let findings = (0..one.findings.len().max(other.findings.len()))
        .find(|&i| one.findings.get(i) != other.findings.get(i))
        .map(|i| {
            let (one, other) = (one.findings.get(i), other.findings.get(i));
            let sample = [one, other]
                .into_iter()
                .flatten()
                .map(|finding| finding.sample)
                .min()
                .unwrap_or_default();
            let text = |finding: Option<&RawFinding>| {
                finding.map_or("nothing".to_owned(), |f| {
                    format!("{:?} of sample {} ({})", f.phase, f.sample, f.reason)
                })
            };
            (
                sample as usize,
                format!("{} and {}", text(one), text(other)),
            )
        });
    let scores = scores.map(|i| {
        (
            i,
            format!("the scores {} and {}", one.scores[i], other.scores[i]),
        )
    });
    // The earlier difference is closer to the cause.
    [scores, findings]
        .into_iter()
        .flatten()
        .min_by_key(|(sample, _)| *sample)
}

fn expect_same(
    series: &Series,
    one: &Verdicts,
    other: &Verdicts,
    how: &str,
    remedy: &str,
) -> Result<(), Failure> {
    match compare(one, other) {
        None => Ok(()),
        Some((sample, what)) => Err(Failure::new(
            what,
            format!("series `{}`, sample {sample}: {how}", series.name),
            remedy,
        )),
    }
}

/// Feeds the series in one frame to a fresh instance.
fn whole(bench: &Bench, series: &Series) -> Result<Verdicts, Failure> {
    let verdicts = watch(
        bench,
        &[series],
        Order::OneAfterAnother,
        Cut::Every(usize::MAX),
    )?;
    Ok(verdicts.into_iter().next().unwrap_or_default())
}

pub(super) fn twice(bench: &Bench) -> Result<(), Failure> {
    bench.series.iter().try_for_each(|series| {
        let (one, other) = (whole(bench, series)?, whole(bench, series)?);
        expect_same(series, &one, &other, "seen by two instances", NO_SOURCE)
    })
}

pub(super) fn scores_or_not(bench: &Bench) -> Result<(), Failure> {
    bench.series.iter().try_for_each(|series| {
        let with = whole(bench, series)?;
        let mut monitor = bench.open()?;
        let mut without = Verdicts {
            scores: with.scores.clone(),
            ..Verdicts::default()
        };
        for (frame, _) in frames(&[series], Order::OneAfterAnother, Cut::Every(usize::MAX)) {
            let verdict = monitor.observe(&frame, false);
            let verdict = verdict
                .map_err(|error| Failure::of(&error, format!("series `{}`", series.name)))?;
            without.findings.extend(verdict.findings);
        }
        let remedy =
            "leave out of the answer what is not asked for, and compute the rest as before";
        expect_same(series, &with, &without, "with scores and without", remedy)
    })
}

pub(super) fn frame_ends(bench: &Bench) -> Result<(), Failure> {
    bench.series.iter().try_for_each(|series| {
        let one = whole(bench, series)?;
        for (cut, how) in [
            (Cut::Every(1), "in one frame and a sample a frame"),
            (Cut::Every(7), "in one frame and in frames of 7"),
            (Cut::Ragged, "in one frame and in frames of 0 to 200"),
        ] {
            let verdicts = watch(bench, &[series], Order::OneAfterAnother, cut)?;
            expect_same(series, &one, &verdicts[0], how, NO_FRAMES)?;
        }
        Ok(())
    })
}

/// Checks that a detector continues after a restart. Saves the state between two frames, and
/// restores it into another instance each time.
pub(super) fn saved_and_restored(bench: &Bench) -> Result<(), Failure> {
    bench.series.iter().try_for_each(|series| {
        let length = series.samples.len().div_ceil(RESTARTS + 1).max(1);
        let mut verdicts = Verdicts::default();
        let mut monitor: Option<DetectorInstance> = None;
        for frame in frames(&[series], Order::OneAfterAnother, Cut::Every(length)) {
            let mut next = bench.open()?;
            if let Some(before) = &mut monitor {
                hand_over(bench, before, &mut next, series)?;
            }
            let part = show(&mut next, &[series], &[frame])?;
            for part in part {
                verdicts.scores.extend(part.scores);
                verdicts.findings.extend(part.findings);
            }
            monitor = Some(next);
        }
        expect_same(
            series,
            &whole(bench, series)?,
            &verdicts,
            "without and with restarts",
            NO_FORGETTING,
        )
    })
}

/// Saves the state and restores it, the shared state first, in the order of the host.
fn hand_over(
    bench: &Bench,
    from: &mut DetectorInstance,
    to: &mut DetectorInstance,
    series: &Series,
) -> Result<(), Failure> {
    let failed = |error: PluginError| {
        Failure::of(
            &error,
            format!("series `{}`, saved and restored", series.name),
        )
    };
    for of in [None, Some((0, series.labels()))] {
        match (
            from.save(of.as_ref().map(|(id, _)| *id)).map_err(failed)?,
            of,
        ) {
            (Some(bytes), of) => {
                let saved = Saved {
                    of,
                    from_version: bench.version.to_owned(),
                    bytes,
                };
                to.restore(&saved).map_err(failed)?;
            }
            (None, None) => {}
            (None, Some(_)) => {
                let remedy = "save what is known of a series, or export no `state`";
                let place = format!("series `{}`", series.name);
                return Err(Failure::new(
                    "it exports `state` and saves nothing of a series",
                    place,
                    remedy,
                ));
            }
        }
    }
    Ok(())
}

pub(super) fn other_series(bench: &Bench) -> Result<(), Failure> {
    let all: Vec<&Series> = bench
        .series
        .iter()
        .filter(|series| series.kind != Kind::Few)
        .collect();
    let remedy = "keep all memory per series; if they are meant to know of one another, run this with --series-share";
    for (order, how) in [
        (Order::Together, "by itself and a sample of each in turn"),
        (Order::OneAfterAnother, "by itself and after others"),
    ] {
        let among = watch(bench, &all, order, Cut::Every(1000))?;
        for (series, among) in all.iter().zip(&among) {
            expect_same(series, &whole(bench, series)?, among, how, remedy)?;
        }
    }
    Ok(())
}

/// Checks both places where the host holds samples back. The builder of frames drops samples that
/// are late, repeated or not finite. The caller of the detector refuses a frame that holds a
/// non-finite value nevertheless.
pub(super) fn held_back(bench: &Bench) -> Result<(), Failure> {
    let Some(series) = bench
        .series
        .iter()
        .find(|series| series.kind == Kind::Ordinary)
    else {
        return Ok(());
    };
    let place = || {
        format!(
            "series `{}` with NaN, infinite, late and repeated samples between",
            series.name
        )
    };
    let mut soiled = Vec::new();
    for &(at, value) in &series.samples {
        for value in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, value] {
            soiled.push(Sample { at, value });
        }
        soiled.push(Sample { at, value: 1e9 });
        soiled.push(Sample {
            at: at - 60_000,
            value: -1e9,
        });
    }
    let mut frame = anomalyzer_detect::held_back(&series.labels(), &soiled);
    frame.now = series.samples.last().map_or(0, |(at, _)| *at);
    let marks = (0..).take(frame.len()).map(|index| (0, index)).collect();
    let mut monitor = bench.open()?;
    // The host must refuse both frames. Neither reaches the guest, so that its state does not
    // change.
    for value in [f64::NAN, f64::NEG_INFINITY] {
        let mut forbidden = Frame {
            opened: vec![(0, series.labels())],
            ..Frame::default()
        };
        forbidden.push(0, frame.now, value);
        match monitor.observe(&forbidden, true) {
            Err(PluginError::Input { .. }) => {}
            answer => {
                let found = format!("the host handed a value of {value} over: {answer:?}");
                return Err(Failure::new(
                    found,
                    place(),
                    "this is a defect of the host: report it",
                ));
            }
        }
    }
    let verdicts = show(&mut monitor, &[series], &[(frame, marks)])?;
    expect_same(
        series,
        &whole(bench, series)?,
        &verdicts[0],
        "without and with what the host holds back",
        NO_SOURCE,
    )
}
