//! Checks of series that open and close, also without a sample in between.

use super::bench::Bench;
use super::feed::{Cut, Order, frames, show};
use super::series::{BEGIN, Series};
use crate::report::Failure;
use anomalyzer_domain::Labels;
use anomalyzer_plugin_host::Frame;

pub(super) fn empty_frames(bench: &Bench) -> Result<(), Failure> {
    let mut monitor = bench.open()?;
    let labels = |id: u32| Labels::new([("case".to_owned(), id.to_string())]);
    let opened = |ids: std::ops::Range<u32>| ids.map(|id| (id, labels(id))).collect::<Vec<_>>();
    let at = |now| Frame {
        now,
        ..Frame::default()
    };
    let frames = [
        ("an empty frame", at(BEGIN)),
        (
            "a frame with openings only",
            Frame {
                opened: opened(0..3),
                ..at(BEGIN)
            },
        ),
        (
            "a frame that opens and closes",
            Frame {
                opened: opened(3..5),
                closed: vec![3, 4],
                ..at(BEGIN + 1)
            },
        ),
        (
            "a frame with closings only",
            Frame {
                closed: vec![0, 1, 2],
                ..at(BEGIN + 2)
            },
        ),
        (
            "a series without labels",
            Frame {
                opened: vec![(5, Labels::default())],
                ..at(BEGIN + 3)
            },
        ),
        (
            "a closing of a series without samples",
            Frame {
                closed: vec![5],
                ..at(BEGIN + 3)
            },
        ),
        ("an empty frame at the same time", at(BEGIN + 3)),
    ];
    for (what, frame) in frames {
        let verdict = monitor
            .observe(&frame, true)
            .map_err(|error| Failure::of(&error, what))?;
        if !verdict.findings.is_empty() {
            let remedy = "a finding is about a sample: where there are none, say nothing";
            return Err(Failure::new(
                format!("{} findings", verdict.findings.len()),
                what,
                remedy,
            ));
        }
    }
    Ok(())
}

/// Checks that a detector forgets closed series. The labels come again with another id, as the host
/// does after a series was stale.
pub(super) fn forgets(bench: &Bench) -> Result<(), Failure> {
    bench.series.iter().try_for_each(|series| {
        let mut monitor = bench.open()?;
        let marked = frames(&[series], Order::OneAfterAnother, Cut::Every(usize::MAX));
        let first = show(&mut monitor, &[series], &marked)?;
        let now = marked.last().map_or(0, |(frame, _)| frame.now);
        let place = |series: &Series| format!("series `{}`, closed and opened again", series.name);
        let closing = Frame {
            now,
            closed: vec![0],
            ..Frame::default()
        };
        monitor
            .observe(&closing, false)
            .map_err(|error| Failure::of(&error, place(series)))?;
        let again = marked.into_iter().map(|(mut frame, marks)| {
            frame.now = now;
            frame.opened.iter_mut().for_each(|(id, _)| *id = 1);
            frame.ids.fill(1);
            (frame, marks)
        });
        let second = show(&mut monitor, &[series], &again.collect::<Vec<_>>())?;
        if first == second {
            return Ok(());
        }
        Err(Failure::new(
            "another verdict than the first time",
            place(series),
            "drop what is kept of a series when it is closed, and keep it by id, not by labels",
        ))
    })
}
