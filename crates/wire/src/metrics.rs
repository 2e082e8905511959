//! Codec for batches of samples on `metrics-topic`.
//!
//! Our format is a `WriteRequest` with the headers `content-type`, `signal`, `target`,
//! `observed-at` (milliseconds since 1970) and `coverage` (`asked/answered/failed`). Samples of
//! another producer have the header `foreign` too. After a pause of the collector, its messages
//! have the header `paused` for a while (`from-to`, milliseconds since 1970). Two JSON formats of
//! other producers are also read; the module `foreign` describes them.

mod foreign;

use std::fmt;

use bytes::Bytes;

use self::foreign::{MOST_NAME_BYTES, TARGET, decode_json};
use super::error::shortened;
use super::{AcceptedTime, DecodeError, remote_write};
use anomalyzer_domain::{
    Coverage, Delivery, MetricBatch, Record, Series, Target, UnixMs, check_name,
};

const CONTENT_TYPE: &str = "content-type";
const SIGNAL: &str = "signal";
const OBSERVED_AT: &str = "observed-at";
const COVERAGE: &str = "coverage";
const FOREIGN: &str = "foreign";
const PAUSED: &str = "paused";

/// Longest pause that a message can report, in milliseconds. A longer one is cut at its beginning.
const MAX_PAUSE_MS: i64 = 3_600_000;

/// Description of a message, without its samples.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// Name of the signal.
    pub signal: String,
    /// Target of the samples.
    pub target: Option<Target>,
    /// Time at which the sources were queried.
    pub observed_at: UnixMs,
    /// Coverage of the sources.
    pub coverage: Coverage,
    /// True if the samples came from another producer.
    pub foreign: bool,
    /// Beginning and end of the collector's latest pause, if it was recent.
    pub paused: Option<(UnixMs, UnixMs)>,
}

/// Adds to an encoded batch that the collector stood still from `from` to `to`.
pub fn add_pause(record: &mut Record, from: UnixMs, to: UnixMs) {
    let value = Bytes::from(format!("{from}-{to}"));
    record.headers.push((PAUSED.to_owned(), value));
}

/// Encodes a batch. Its key is the target, or the signal if there is no target.
pub fn encode(batch: &MetricBatch) -> Record {
    let Coverage {
        asked,
        answered,
        failed,
    } = batch.coverage;
    let target = batch.target.as_ref().map(Target::key);
    let headers = [
        (CONTENT_TYPE, Some(remote_write::CONTENT_TYPE.to_owned())),
        (SIGNAL, Some(batch.signal.clone())),
        (TARGET, target.clone()),
        (OBSERVED_AT, Some(batch.observed_at.to_string())),
        (COVERAGE, Some(format!("{asked}/{answered}/{failed}"))),
        (FOREIGN, batch.foreign.then(|| "true".to_owned())),
    ];
    Record {
        key: Some(target.unwrap_or_else(|| batch.signal.clone())),
        headers: headers
            .into_iter()
            .filter_map(|(name, value)| Some((name.to_owned(), Bytes::from(value?))))
            .collect(),
        payload: remote_write::encode(&batch.series).into(),
    }
}

/// Samples of a message.
#[derive(Clone, Debug)]
pub enum Content<'a> {
    /// A `WriteRequest` that is not decoded yet.
    Encoded(remote_write::Walk<'a>),
    /// Decoded samples of another producer's format.
    Read(Vec<Series>),
}

impl Content<'_> {
    /// Returns the time of the oldest sample, of the samples that can be decoded.
    pub fn first_at(&self) -> Option<UnixMs> {
        match self {
            Self::Encoded(series) => series
                .clone()
                .flatten()
                .flat_map(|series| series.samples.flatten())
                .map(|sample| sample.at)
                .min(),
            Self::Read(series) => series
                .iter()
                .flat_map(|series| &series.samples)
                .map(|sample| sample.at)
                .min(),
        }
    }
}

/// Decodes a batch of our format or of another producer's, and checks all times with `believed`.
pub fn decode(delivery: &Delivery, believed: AcceptedTime) -> Result<MetricBatch, DecodeError> {
    let (
        Head {
            signal,
            target,
            observed_at,
            coverage,
            foreign,
            ..
        },
        content,
    ) = open(delivery, believed)?;
    let series = match content {
        Content::Encoded(_) => remote_write::decode(&delivery.record.payload, believed)?,
        Content::Read(series) => series,
    };
    Ok(MetricBatch {
        signal,
        target,
        observed_at,
        coverage,
        series,
        foreign,
    })
}

/// Decodes the description of a message. Leaves the samples of our own format encoded.
pub fn open(
    delivery: &Delivery,
    believed: AcceptedTime,
) -> Result<(Head, Content<'_>), DecodeError> {
    let record = &delivery.record;
    DecodeError::unreadable(record)?;
    if is_write_request(record) {
        return Ok((
            head(record, believed)?,
            Content::Encoded(remote_write::walk(&record.payload, believed)),
        ));
    }
    let MetricBatch {
        signal,
        target,
        observed_at,
        coverage,
        series,
        foreign,
    } = decode_json(&record.payload, believed)?;
    Ok((
        Head {
            signal,
            target,
            observed_at,
            coverage,
            foreign,
            paused: None,
        },
        Content::Read(series),
    ))
}

/// Returns true if the content type says that the payload is a `WriteRequest`.
fn is_write_request(record: &Record) -> bool {
    let media_type = record
        .header(CONTENT_TYPE)
        .and_then(|full| full.split(';').next());
    media_type.is_some_and(|media_type| {
        media_type
            .trim()
            .eq_ignore_ascii_case("application/x-protobuf")
    })
}

/// Decodes the headers of a message in our format.
fn head(record: &Record, believed: AcceptedTime) -> Result<Head, DecodeError> {
    let signal = required(record, SIGNAL)?.to_owned();
    DecodeError::limit("bytes of a signal's name", signal.len(), MOST_NAME_BYTES)?;
    check_name(&signal, MOST_NAME_BYTES).map_err(wrong(SIGNAL))?;
    let target: Option<Target> = record
        .header(TARGET)
        .map(str::parse)
        .transpose()
        .map_err(wrong(TARGET))?;
    short(target.as_ref())?;
    if let Some(target) = &target {
        target.check().map_err(wrong(TARGET))?;
    }
    let observed_at = required(record, OBSERVED_AT)?
        .parse()
        .map_err(wrong(OBSERVED_AT))?;
    believed.check("the header `observed-at`", observed_at)?;
    let coverage = required(record, COVERAGE)?;
    let coverage = read_coverage(coverage).ok_or_else(|| {
        wrong(COVERAGE)(
            "must be asked/answered/failed, three counts of which the first is the largest",
        )
    })?;
    let paused = record.header(PAUSED).map(read_pause).transpose()?;
    if let Some((_, to)) = paused {
        believed.check("the header `paused`", to)?;
    }
    Ok(Head {
        signal,
        target,
        observed_at,
        coverage,
        foreign: record.header(FOREIGN).is_some(),
        paused,
    })
}

fn read_pause(text: &str) -> Result<(UnixMs, UnixMs), DecodeError> {
    let times = text.split_once('-');
    let times: Option<(UnixMs, UnixMs)> =
        times.and_then(|(from, to)| Some((from.parse().ok()?, to.parse().ok()?)));
    match times {
        Some((from, to)) if from <= to => Ok((to.saturating_sub(MAX_PAUSE_MS).max(from), to)),
        _ => Err(wrong(PAUSED)("must be from-to, in milliseconds since 1970")),
    }
}

/// Returns an error if the target is too long. The target becomes a message key, so it must fit
/// everywhere.
fn short(target: Option<&Target>) -> Result<(), DecodeError> {
    let size = target.map_or(0, |target| target.key().len());
    DecodeError::limit("bytes of a target", size, MOST_NAME_BYTES)
}

fn required<'a>(record: &'a Record, name: &'static str) -> Result<&'a str, DecodeError> {
    record.header(name).ok_or_else(|| DecodeError::Header {
        name,
        reason: "is missing or not text".to_owned(),
    })
}

fn wrong<E: fmt::Display>(name: &'static str) -> impl Fn(E) -> DecodeError {
    move |error| DecodeError::Header {
        name,
        reason: shortened(&format!("can't be read: {error}")),
    }
}

fn read_coverage(text: &str) -> Option<Coverage> {
    let mut counts = text.split('/').map(|count| count.parse::<u32>().ok());
    let (asked, answered, failed) = (counts.next()??, counts.next()??, counts.next()??);
    let known = u64::from(answered) + u64::from(failed);
    (counts.next().is_none() && known <= u64::from(asked)).then_some(Coverage {
        asked,
        answered,
        failed,
    })
}

#[cfg(test)]
mod tests;
