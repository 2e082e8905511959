//! Feeds series to a detector in frames, and sorts its verdicts by series.

use super::bench::Bench;
use super::series::Series;
use crate::report::Failure;
use anomalyzer_domain::UnixMs;
use anomalyzer_plugin_host::{DetectorInstance, Frame, RawFinding};

/// Maximum number of samples of a frame.
#[derive(Clone, Copy, Debug)]
pub(super) enum Cut {
    Every(usize),
    /// Varying lengths, some of them 0.
    Ragged,
}

/// Order of the samples of several series.
#[derive(Clone, Copy, Debug)]
pub(super) enum Order {
    OneAfterAnother,
    Together,
}

/// Verdicts of a detector on one series. Samples are indexed within the series.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Verdicts {
    pub(super) scores: Vec<f64>,
    pub(super) findings: Vec<RawFinding>,
}

/// A frame, with the origin of each of its samples: (series, index in it).
type Marked = (Frame, Vec<(usize, u32)>);

/// Builds frames of these series, including their opening.
pub(super) fn frames(series: &[&Series], order: Order, cut: Cut) -> Vec<Marked> {
    let mut line: Vec<(usize, u32)> = series
        .iter()
        .enumerate()
        .flat_map(|(of, series)| {
            (0..)
                .zip(&series.samples)
                .map(move |(index, _)| (of, index))
        })
        .collect();
    if let Order::Together = order {
        line.sort_by_key(|&(of, index)| (index, of));
    }
    let mut frames = Vec::new();
    let (mut now, mut rest) = (UnixMs::MIN, &line[..]);
    while !rest.is_empty() {
        let length = match cut {
            Cut::Every(length) => length,
            Cut::Ragged => [1, 0, 13, 2, 64, 5, 200][frames.len() % 7],
        };
        let (part, after) = rest.split_at(length.min(rest.len()));
        rest = after;
        let mut frame = Frame::default();
        for &(of, index) in part {
            let id = of as u32;
            if index == 0 {
                frame.opened.push((id, series[of].labels()));
            }
            let (at, value) = series[of].samples[index as usize];
            now = now.max(at);
            frame.push(id, at, value);
        }
        frame.now = now;
        frames.push((frame, part.to_vec()));
    }
    frames
}

/// Feeds all frames to an instance.
pub(super) fn show(
    monitor: &mut DetectorInstance,
    series: &[&Series],
    frames: &[Marked],
) -> Result<Vec<Verdicts>, Failure> {
    let mut verdicts = vec![Verdicts::default(); series.len()];
    for (frame, marks) in frames {
        let verdict = monitor
            .observe(frame, true)
            .map_err(|error| Failure::of(&error, place(series, marks)))?;
        for (&(of, _), score) in marks.iter().zip(verdict.scores) {
            verdicts[of].scores.push(score);
        }
        for finding in verdict.findings {
            let (of, sample) = marks[finding.sample as usize];
            verdicts[of].findings.push(RawFinding { sample, ..finding });
        }
    }
    Ok(verdicts)
}

/// Feeds frames of these series to a fresh instance; see [`show`].
pub(super) fn watch(
    bench: &Bench,
    series: &[&Series],
    order: Order,
    cut: Cut,
) -> Result<Vec<Verdicts>, Failure> {
    show(&mut bench.open()?, series, &frames(series, order, cut))
}

fn place(series: &[&Series], marks: &[(usize, u32)]) -> String {
    match (marks.first(), marks.last()) {
        (Some(&(first, from)), Some(&(last, to))) if first == last => {
            format!("series `{}`, samples {from} to {to}", series[first].name)
        }
        (Some(&(first, _)), _) => {
            format!(
                "a frame of {} samples of series `{}` and others",
                marks.len(),
                series[first].name
            )
        }
        _ => "a frame without samples".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::series::all;
    use super::*;

    #[test]
    fn however_they_are_cut_the_frames_hold_the_same_samples() {
        let series = all();
        let two = [&series[0], &series[1]];
        for (order, cut) in [
            (Order::OneAfterAnother, Cut::Every(1)),
            (Order::Together, Cut::Ragged),
        ] {
            let frames = frames(&two, order, cut);
            let of = |id: u32| {
                let samples = frames.iter().flat_map(|(frame, _)| {
                    frame.ids.iter().zip(frame.at.iter().zip(&frame.values))
                });
                samples
                    .filter(|(of, _)| **of == id)
                    .map(|(_, (at, value))| (*at, *value))
                    .collect::<Vec<_>>()
            };
            assert_eq!(
                (of(0), of(1)),
                (two[0].samples.clone(), two[1].samples.clone())
            );
            assert!(
                frames.windows(2).all(|two| two[0].0.now <= two[1].0.now),
                "`now` never falls"
            );
            assert_eq!(
                frames
                    .iter()
                    .map(|(frame, _)| frame.opened.len())
                    .sum::<usize>(),
                2
            );
        }
    }
}
