//! Tells people about blind spots that last.
//!
//! The notices go to the channels directly and not through a decision: no target is concerned, and
//! they must arrive while nothing can be recorded.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use anomalyzer_common::blind_spot::{BlindSpot, BlindSpotKind, BlindSpots};
use anomalyzer_common::clock::now_ms;
use anomalyzer_domain::{Notice, OperationId, rfc3339};
use anomalyzer_egress::notify::{About, ChannelStatus, Notifier};

use super::health::Status;

/// Interval between two looks at the table.
const SCAN_INTERVAL: Duration = Duration::from_secs(3);
/// Wait after a notice that no channel accepted.
const RETRY_DELAY: Duration = Duration::from_secs(60);
/// Maximum number of blind spots that one notice lists.
const MAX_LISTED: usize = 20;

/// Notifies people of each blind spot that lasts for `after`, until the shutdown. Blind spots that
/// are due together share one notice. Reports the channels of `watched` and of `notifier` that do
/// not deliver.
pub(super) async fn run(
    spots: BlindSpots,
    notifier: &Notifier,
    watched: &Notifier,
    after: Duration,
    shutdown: CancellationToken,
) -> Result<(), Infallible> {
    loop {
        let channels = watched.status().into_iter().chain(notifier.status());
        report_channels(&spots, channels);
        let overdue = spots.overdue(after);
        let pause = match overdue.is_empty() || notify(notifier, &overdue).await {
            true => SCAN_INTERVAL,
            false => RETRY_DELAY,
        };
        if pause == SCAN_INTERVAL {
            spots.set_reported(&overdue);
        }
        tokio::select! {
            () = shutdown.cancelled() => return Ok(()),
            () = tokio::time::sleep(pause) => {}
        }
    }
}

/// Reports each channel that does not deliver, and the end of that. Several notifiers may use one
/// channel.
fn report_channels(spots: &BlindSpots, channels: impl Iterator<Item = ChannelStatus>) {
    let mut problems: BTreeMap<String, Option<String>> = BTreeMap::new();
    for status in channels {
        let problem = problems.entry(status.channel).or_default();
        if problem.is_none() {
            let waiting = status.waiting;
            *problem = status
                .problem
                .map(|why| format!("the channel {why}; {waiting} notices wait"));
        }
    }
    for (channel, problem) in problems {
        let subject = format!("channel {channel}");
        spots.set(BlindSpotKind::NoticeUndelivered, &subject, problem);
    }
}

/// Sends a notice. Returns true if a channel accepted it.
async fn notify(notifier: &Notifier, spots: &[BlindSpot]) -> bool {
    let (notice, about) = notice(spots);
    match notifier.notify(&notice, &about).await {
        Ok(sent) => {
            if !sent.failed.is_empty() {
                tracing::warn!(failed = ?sent.failed, "some channels failed");
            }
            !sent.delivered.is_empty()
        }
        Err(error) => {
            tracing::warn!(%error, "cannot tell people about blind spots");
            false
        }
    }
}

fn notice(spots: &[BlindSpot]) -> (Notice, About) {
    let mut lines: Vec<String> = spots.iter().take(MAX_LISTED).map(line).collect();
    if let Some(more) = spots.len().checked_sub(MAX_LISTED).filter(|more| *more > 0) {
        lines.push(format!("and {more} more: see /health and /api/v1/signals"));
    }
    let title = match spots {
        [spot] => format!("blind spot: {} of {}", spot.kind.id(), spot.subject),
        _ => format!("{} blind spots", spots.len()),
    };
    let since: Vec<String> = spots.iter().map(|spot| spot.since.to_string()).collect();
    let parts = spots.iter().zip(&since);
    let parts = parts.flat_map(|(spot, since)| [spot.kind.id(), &spot.subject, since]);
    let parts: Vec<&str> = ["blind_spots"].into_iter().chain(parts).collect();
    let notice = Notice {
        channel: "default".to_owned(),
        title,
        text: lines.join("\n"),
    };
    let about = About {
        operation: OperationId::derive(&parts),
        incident: None,
        target: None,
        severity: "warning".to_owned(),
        at: now_ms(),
        until: None,
        storm: None,
    };
    (notice, about)
}

fn line(spot: &BlindSpot) -> String {
    format!(
        "{} of {} since {}: {}. Remedy: {}",
        spot.kind.id(),
        spot.subject,
        rfc3339(spot.since),
        spot.detail,
        spot.remedy
    )
}

/// Returns the health of the service's sight.
pub(super) fn health(spots: &BlindSpots) -> (Status, String) {
    let all = spots.all();
    let Some(first) = all.first() else {
        return (Status::Ok, "none".to_owned());
    };
    let detail = format!("{}; {}", all.len(), line(first));
    (Status::Degraded, detail)
}

#[cfg(test)]
mod tests {
    use anomalyzer_common::blind_spot::BlindSpotKind::{ClockJump, NoData};

    use super::*;

    #[test]
    fn blind_spots_that_are_due_together_share_one_bounded_notice() {
        let spots = BlindSpots::default();
        spots.report(NoData, "traffic", "no sample in the last 20 rounds");
        let (one, about) = notice(&spots.all());
        assert_eq!(one.title, "blind spot: no_data of traffic");
        assert!(
            one.text
                .contains("no sample in the last 20 rounds. Remedy: ")
        );
        for subject in 0..100 {
            spots.report(NoData, &subject.to_string(), &"long ".repeat(1_000));
        }
        let (many, other) = notice(&spots.all());
        assert_eq!(many.title, "101 blind spots");
        assert_eq!(many.text.lines().count(), MAX_LISTED + 1);
        assert!(many.text.len() < 20_000);
        assert_ne!(about.operation, other.operation);
    }

    #[test]
    fn a_channel_that_does_not_deliver_is_a_blind_spot_until_it_does() {
        let spots = BlindSpots::default();
        let status = |channel: &str, problem: Option<&str>| ChannelStatus {
            channel: channel.to_owned(),
            waiting: 3,
            delivered: 0,
            lost: 0,
            problem: problem.map(str::to_owned),
        };
        let failing = status("pager", Some("fails since 09:00: refused"));
        for (statuses, shown) in [
            (vec![status("pager", None), status("log", None)], 0),
            (
                vec![status("pager", None), failing.clone(), status("log", None)],
                1,
            ),
            (vec![failing, status("pager", None)], 1),
            (vec![status("pager", None), status("pager", None)], 0),
        ] {
            report_channels(&spots, statuses.into_iter());
            let all = spots.all();
            assert_eq!(all.len(), shown, "{all:?}");
            if let [spot] = &all[..] {
                assert_eq!(spot.kind, BlindSpotKind::NoticeUndelivered);
                assert_eq!(spot.subject, "channel pager");
                assert!(
                    spot.detail.ends_with("refused; 3 notices wait"),
                    "{}",
                    spot.detail
                );
            }
        }
    }

    #[test]
    fn a_blind_spot_degrades_the_health_until_it_ends() {
        let spots = BlindSpots::default();
        assert_eq!(health(&spots).0, Status::Ok);
        spots.report(ClockJump, "clock", "set back by 1h");
        let (status, detail) = health(&spots);
        assert_eq!(status, Status::Degraded);
        assert!(detail.contains("set back by 1h") && detail.contains("chrony"));
        spots.end(ClockJump, "clock");
        assert_eq!(health(&spots).0, Status::Ok);
    }
}
