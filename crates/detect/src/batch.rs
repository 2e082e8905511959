//! The messages of one read of `metrics-topic`, opened and grouped by signal.

use std::collections::BTreeMap;

use super::correlator::SampleOrigin;
use anomalyzer_common::pause_watch::Pause;
use anomalyzer_domain::{Delivery, MetricBatch, Target, UnixMs};
use anomalyzer_wire::metrics::{self, Content, Head};
use anomalyzer_wire::{AcceptedTime, DecodeError};

/// A message whose head was decoded.
pub(super) struct Message<'a> {
    pub(super) delivery: &'a Delivery,
    pub(super) signal: String,
    pub(super) target: Target,
    pub(super) observed_at: UnixMs,
    pub(super) origin: SampleOrigin,
    /// The latest pause of the collector.
    pub(super) paused: Option<Pause>,
    pub(super) content: Content<'a>,
}

/// A message that must be set aside, with the reason.
pub(super) struct Unreadable<'a> {
    pub(super) delivery: &'a Delivery,
    pub(super) reason: String,
}

impl<'a> Message<'a> {
    fn open(delivery: &'a Delivery, believed: AcceptedTime) -> Result<Self, DecodeError> {
        let (head, content) = metrics::open(delivery, believed)?;
        let Head {
            signal,
            target,
            observed_at,
            coverage,
            foreign,
            paused,
        } = head;
        Ok(Self {
            delivery,
            target: target.unwrap_or_else(|| Target::new("", "Metric", &signal)),
            signal,
            observed_at,
            origin: SampleOrigin { coverage, foreign },
            paused: paused.map(|(from, to)| Pause { from, to }),
            content,
        })
    }

    /// Returns true if the service collected the samples itself.
    pub(super) fn is_own(&self) -> bool {
        !self.origin.foreign && matches!(self.content, Content::Encoded(_))
    }

    /// Returns true if the key of the message is not the key of its target. A foreign producer may
    /// use any key, or none, so that the samples of one target reach several engines.
    pub(super) fn has_foreign_key(&self) -> bool {
        matches!(self.content, Content::Read(_))
            && self.delivery.record.key.as_deref() != Some(&self.target.key())
    }

    /// Returns the message as a batch of a foreign producer, with the key of its target.
    pub(super) fn to_foreign_batch(&self) -> MetricBatch {
        let series = match &self.content {
            Content::Read(series) => series.clone(),
            Content::Encoded(_) => vec![],
        };
        MetricBatch {
            signal: self.signal.clone(),
            target: Some(self.target.clone()),
            observed_at: self.observed_at,
            coverage: self.origin.coverage,
            series,
            foreign: true,
        }
    }
}

/// Opens messages. `believed` bounds the times in them.
pub(super) fn open(
    deliveries: &[Delivery],
    believed: AcceptedTime,
) -> (Vec<Message<'_>>, Vec<Unreadable<'_>>) {
    let (mut messages, mut unreadable) = (Vec::with_capacity(deliveries.len()), Vec::new());
    for delivery in deliveries {
        match Message::open(delivery, believed) {
            Ok(message) => messages.push(message),
            Err(error) => unreadable.push(Unreadable {
                delivery,
                reason: error.to_string(),
            }),
        }
    }
    (messages, unreadable)
}

/// Groups messages by signal, in their order.
pub(super) fn by_signal<'m, 'a: 'm>(
    messages: impl IntoIterator<Item = &'m Message<'a>>,
) -> BTreeMap<&'m str, Vec<&'m Message<'a>>> {
    let mut by_signal: BTreeMap<&str, Vec<&Message<'a>>> = BTreeMap::new();
    for message in messages {
        by_signal.entry(&message.signal).or_default().push(message);
    }
    by_signal
}

/// Returns the time of the newest message.
pub(super) fn newest_time<'m, 'a: 'm>(
    messages: impl IntoIterator<Item = &'m Message<'a>>,
) -> UnixMs {
    let times = messages.into_iter().map(|message| message.observed_at);
    times.max().unwrap_or(UnixMs::MIN)
}

/// Returns the time of the newest message. The time of a foreign message counts up to the present
/// `clock` only: a producer whose clock is ahead must not confirm or clear the incidents of others.
pub(super) fn reached_time(messages: &[Message<'_>], clock: UnixMs) -> UnixMs {
    let times = messages.iter().map(|message| match message.is_own() {
        true => message.observed_at,
        false => message.observed_at.min(clock),
    });
    times.max().unwrap_or(UnixMs::MIN)
}

/// Returns the time of the newest message that the service collected itself.
pub(super) fn newest_own_time(messages: &[Message<'_>]) -> Option<UnixMs> {
    let own = messages.iter().filter(|message| message.is_own());
    own.map(|message| message.observed_at).max()
}

/// Returns the last message of each partition.
pub(super) fn last_of_partitions(deliveries: &[Delivery]) -> impl Iterator<Item = &Delivery> {
    let last: BTreeMap<i32, &Delivery> = deliveries
        .iter()
        .map(|delivery| (delivery.partition, delivery))
        .collect();
    last.into_values()
}
