//! Recent events of a target and of the objects that belong to it.

use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::Event;

use super::cluster::Cluster;
use super::error::{ApiError, short};
use super::object::Object;
use super::pods::{self, Belongings};

/// Maximum number of events in a snapshot.
const NEWEST: usize = 20;
/// Maximum number of objects whose events are requested.
const MOST_OBJECTS: usize = 30;
/// Number of concurrent requests.
const AT_ONCE: usize = 4;

/// Returns the events about `object` and the objects that belong to it. If there are many pods,
/// those that are not ready come first.
pub async fn of(
    cluster: &Cluster,
    object: &Object,
    belongings: &Belongings,
) -> Result<Vec<Event>, ApiError> {
    let namespace = object.namespace();
    let mut pods: Vec<_> = belongings.pods.iter().collect();
    pods.sort_by_key(|pod| pods::summary(pod).ready);
    let mut sets: Vec<_> = belongings.replica_sets.iter().collect();
    sets.sort_by_key(|set| std::cmp::Reverse(set.spec.as_ref().and_then(|spec| spec.replicas)));
    let sets = sets.iter().map(|set| &set.metadata).take(MOST_OBJECTS / 3);
    let belonging = sets
        .chain(pods.iter().map(|pod| &pod.metadata))
        .filter_map(|meta| meta.uid.as_deref());
    // A pod that is the target belongs to itself.
    let belonging = belonging.filter(|uid| *uid != object.uid());
    let uids: Vec<&str> = std::iter::once(object.uid())
        .chain(belonging)
        .take(MOST_OBJECTS)
        .collect();
    let mut asked = Vec::with_capacity(uids.len());
    for uid in uids {
        asked.push(cluster.events(namespace, uid));
    }
    let events: Vec<Vec<Event>> = futures::stream::iter(asked)
        .buffered(AT_ONCE)
        .try_collect()
        .await?;
    Ok(events.into_iter().flatten().collect())
}

/// Formats the newest of `events`, newest last, one line each.
pub fn newest(events: &[Event]) -> Vec<String> {
    let mut ours: Vec<(String, &Event)> = events.iter().map(|event| (time(event), event)).collect();
    ours.sort_by(|(a, _), (b, _)| a.cmp(b));
    ours[ours.len().saturating_sub(NEWEST)..]
        .iter()
        .map(|(time, event)| line(time, event))
        .collect()
}

/// Returns the time of the last occurrence as RFC 3339 to the second, so that the text sorts by
/// time.
fn time(event: &Event) -> String {
    let series = event
        .series
        .as_ref()
        .and_then(|series| series.last_observed_time.as_ref())
        .map(|time| time.0);
    let last = event.last_timestamp.as_ref().map(|time| time.0);
    let event_time = event.event_time.as_ref().map(|time| time.0);
    let first = event.first_timestamp.as_ref().map(|time| time.0);
    let at = series.or(last).or(event_time).or(first).or(event
        .metadata
        .creation_timestamp
        .as_ref()
        .map(|time| time.0));
    at.map(|at| format!("{at:.0}")).unwrap_or_default()
}

fn line(time: &str, event: &Event) -> String {
    let text = |text: &Option<String>| text.as_deref().map(short).unwrap_or_default();
    let times = match event
        .series
        .as_ref()
        .and_then(|series| series.count)
        .or(event.count)
    {
        Some(count @ 2..) => format!(" (×{count})"),
        _ => String::new(),
    };
    format!(
        "{time} {} {} {}/{}: {}{times}",
        text(&event.type_),
        text(&event.reason),
        text(&event.involved_object.kind),
        text(&event.involved_object.name),
        text(&event.message)
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_the_newest_events_are_shown_newest_last() {
        let event = |second: u32| -> Event {
            serde_json::from_value(json!({
                "metadata": {}, "type": "Warning", "reason": "BackOff", "message": "again\nand again", "count": 3,
                "involvedObject": {"kind": "Pod", "name": "web-1"},
                "lastTimestamp": format!("2025-01-01T00:00:{second:02}Z")
            }))
            .unwrap()
        };
        let events: Vec<Event> = (0..30).rev().map(event).collect();
        let lines = newest(&events);
        assert_eq!(lines.len(), NEWEST);
        assert_eq!(
            lines[NEWEST - 1],
            "2025-01-01T00:00:29Z Warning BackOff Pod/web-1: again and again (×3)"
        );
    }
}
