//! Dead letters: messages that were set aside, because they could not be read or handled.

use bytes::Bytes;

use anomalyzer_domain::{Delivery, Record};

/// Returns the name of the topic for messages that could not be read or handled.
pub fn dead_letter_name(topic: &str) -> String {
    format!("{topic}-dead-letter")
}

/// Returns a copy of the record with headers for the reason and the origin.
pub fn dead_letter_of(delivery: &Delivery, topic: &str, reason: &str) -> Record {
    let ours = [
        ("reason", reason.to_owned()),
        ("topic", topic.to_owned()),
        ("partition", delivery.partition.to_string()),
        ("offset", delivery.offset.to_string()),
    ];
    let mut record = delivery.record.clone();
    // A message may be set aside, sent again and set aside again. It carries only the last reason.
    record
        .headers
        .retain(|(name, _)| ours.iter().all(|(our, _)| our != name));
    record
        .headers
        .extend(ours.map(|(name, value)| (name.to_owned(), Bytes::from(value))));
    record
}
