//! Codec for Prometheus remote write 1.0: `WriteRequest` as protobuf
//! (prometheus/prompb/remote.proto and types.proto). On `metrics-topic` the message is not
//! compressed.
//!
//! Messages are encoded by prost and decoded by a walker that does not allocate. A message of 500
//! samples consists mostly of labels that the reader has seen before, and the reader looks them up
//! by their bytes. Metadata, exemplars and native histograms are skipped.

use std::borrow::Cow;

use prost::Message;

use super::{AcceptedTime, DecodeError};
use anomalyzer_domain::{
    Labels, LabelsError, MAX_LABEL_NAME_BYTES, MAX_LABEL_VALUE_BYTES, MAX_LABELS, Sample, Series,
    UnixMs,
};

/// Header `content-type` of a message whose payload is a `WriteRequest`.
pub const CONTENT_TYPE: &str = "application/x-protobuf;proto=prometheus.WriteRequest";

/// Maximum number of labels of one series.
pub const MOST_LABELS: usize = MAX_LABELS;
/// Maximum length of a label's name in bytes.
pub const MOST_NAME_BYTES: usize = MAX_LABEL_NAME_BYTES;
/// Maximum length of a label's value in bytes.
pub const MOST_VALUE_BYTES: usize = MAX_LABEL_VALUE_BYTES;

/// `prometheus.WriteRequest`.
#[derive(Clone, PartialEq, Message)]
pub struct WriteRequest {
    /// Series of the request.
    #[prost(message, repeated, tag = "1")]
    pub timeseries: Vec<TimeSeries>,
}

/// `prometheus.TimeSeries`.
#[derive(Clone, PartialEq, Message)]
pub struct TimeSeries {
    /// Labels, sorted by name.
    #[prost(message, repeated, tag = "1")]
    pub labels: Vec<Label>,
    /// Samples, oldest first.
    #[prost(message, repeated, tag = "2")]
    pub samples: Vec<WireSample>,
}

/// `prometheus.Label`.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Label {
    /// Name of the label.
    #[prost(string, tag = "1")]
    pub name: String,
    /// Value of the label.
    #[prost(string, tag = "2")]
    pub value: String,
}

/// `prometheus.Sample`.
#[derive(Clone, Copy, PartialEq, Message)]
pub struct WireSample {
    /// Value of the sample; NaNs keep their bits. Omitted for 0. The field is optional because
    /// prost would omit -0 as well.
    #[prost(double, optional, tag = "1")]
    pub value: Option<f64>,
    /// Milliseconds since 1970.
    #[prost(int64, tag = "2")]
    pub timestamp: UnixMs,
}

/// Encodes series.
pub fn encode(series: &[Series]) -> Vec<u8> {
    let timeseries = series.iter().map(|series| {
        let labels = series.labels.iter().map(|(name, value)| Label {
            name: name.into(),
            value: value.into(),
        });
        let samples = series.samples.iter().map(|sample| WireSample {
            value: (sample.value.to_bits() != 0).then_some(sample.value),
            timestamp: sample.at,
        });
        TimeSeries {
            labels: labels.collect(),
            samples: samples.collect(),
        }
    });
    WriteRequest {
        timeseries: timeseries.collect(),
    }
    .encode_to_vec()
}

/// Decodes series and copies their labels and samples into owned memory. Leaves out the series
/// whose labels can't be used; the engine reports them.
pub fn decode(payload: &[u8], believed: AcceptedTime) -> Result<Vec<Series>, DecodeError> {
    let mut decoded = Vec::new();
    for series in walk(payload, believed) {
        let series = series?;
        let samples = series.samples.collect::<Result<_, _>>()?;
        match labels(&series.labels) {
            Ok(labels) => decoded.push(Series { labels, samples }),
            Err(DecodeError::Labels(_)) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(decoded)
}

/// One series, borrowed from the message's bytes.
#[derive(Clone, Debug)]
pub struct RawSeries<'a> {
    /// Encoded labels. Equal bytes mean equal labels, but equal labels may have different bytes.
    /// Decode them with [`labels`].
    pub labels: Cow<'a, [u8]>,
    /// Samples of the series.
    pub samples: RawSamples<'a>,
}

/// Decodes a message series by series, without allocating. Ends after the first error. A sample
/// with an implausible time is an error.
pub fn walk(payload: &[u8], believed: AcceptedTime) -> Walk<'_> {
    Walk {
        rest: Reader {
            whole: payload,
            at: 0,
        },
        believed,
        failed: false,
    }
}

/// Iterator over the series of a message.
#[derive(Clone, Debug)]
pub struct Walk<'a> {
    rest: Reader<'a>,
    believed: AcceptedTime,
    failed: bool,
}

impl<'a> Iterator for Walk<'a> {
    type Item = Result<RawSeries<'a>, DecodeError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let found = self
            .rest
            .find(1)
            .transpose()?
            .and_then(|series| RawSeries::read(series, self.believed));
        self.failed = found.is_err();
        Some(found)
    }
}

impl<'a> RawSeries<'a> {
    fn read(series: Reader<'a>, believed: AcceptedTime) -> Result<Self, DecodeError> {
        let mut rest = series;
        let start = rest.at;
        // Encoders normally write the labels before the samples. The labels are then one slice.
        let mut end = start;
        while !rest.is_empty() {
            let (field, _) = rest.field()?;
            if field != 1 {
                break;
            }
            end = rest.at;
        }
        let samples = RawSamples {
            rest: Reader { at: end, ..series },
            believed,
            failed: false,
        };
        let mut labels = Cow::Borrowed(&series.whole[start..end]);
        // Protobuf allows any order of fields, so labels after samples are collected too.
        while !rest.is_empty() {
            let before = rest.at;
            if let (1, _) = rest.field()? {
                labels
                    .to_mut()
                    .extend_from_slice(&series.whole[before..rest.at]);
            }
        }
        Ok(Self { labels, samples })
    }
}

/// Iterator over the samples of one series. Ends after the first error.
#[derive(Clone, Debug)]
pub struct RawSamples<'a> {
    rest: Reader<'a>,
    believed: AcceptedTime,
    failed: bool,
}

impl Iterator for RawSamples<'_> {
    type Item = Result<Sample, DecodeError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let sample = self
            .rest
            .find(2)
            .transpose()?
            .and_then(|fields| sample(fields, self.believed));
        self.failed = sample.is_err();
        Some(sample)
    }
}

fn sample(mut fields: Reader<'_>, believed: AcceptedTime) -> Result<Sample, DecodeError> {
    let mut sample = Sample { at: 0, value: 0.0 };
    while !fields.is_empty() {
        match fields.field()? {
            (1, Value::Fixed64(bits)) => sample.value = f64::from_bits(bits),
            // Protobuf's int64 is two's complement in 64 bits.
            (2, Value::Varint(at)) => sample.at = at.cast_signed(),
            (1 | 2, _) => return Err(fields.error("a sample of the wrong type")),
            _ => {}
        }
    }
    believed.check("a sample", sample.at)?;
    Ok(sample)
}

/// Decodes the labels of a [`RawSeries`]. If a name occurs twice, the last value is used.
///
/// # Errors
/// Returns [`DecodeError::Labels`] if these labels can't be used, and another error if the message
/// is malformed.
pub fn labels(raw: &[u8]) -> Result<Labels, DecodeError> {
    let mut rest = Reader { whole: raw, at: 0 };
    let mut pairs = Vec::new();
    while let Some(mut label) = rest.find(1)? {
        let (mut name, mut value) = ("", "");
        while !label.is_empty() {
            match label.field()? {
                (1, Value::Bytes(text)) => {
                    name = text.text()?;
                }
                (2, Value::Bytes(text)) => {
                    value = text.text()?;
                }
                (1 | 2, _) => return Err(label.error("a label of the wrong type")),
                _ => {}
            }
        }
        // The name of the metric comes on top.
        if pairs.len() > MAX_LABELS {
            return Err(LabelsError::TooMany.into());
        }
        pairs.push((name, value));
    }
    let labels = Labels::new(pairs);
    labels.check()?;
    Ok(labels)
}

/// Reader of protobuf's wire format for one part of a message
/// (protobuf.dev/programming-guides/encoding).
#[derive(Clone, Copy, Debug)]
struct Reader<'a> {
    /// Payload up to the end of this part. Positions count from the start of the payload.
    whole: &'a [u8],
    at: usize,
}

enum Value<'a> {
    Varint(u64),
    Fixed64(u64),
    Bytes(Reader<'a>),
    Fixed32,
}

impl<'a> Reader<'a> {
    fn is_empty(&self) -> bool {
        self.at >= self.whole.len()
    }

    fn error(&self, reason: &'static str) -> DecodeError {
        DecodeError::Protobuf {
            reason,
            at: self.at,
        }
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8], DecodeError> {
        let rest = &self.whole[self.at..];
        let taken = rest
            .get(..count)
            .ok_or_else(|| self.error("it ends in the middle"))?;
        self.at += count;
        Ok(taken)
    }

    fn varint(&mut self) -> Result<u64, DecodeError> {
        let mut value = 0_u64;
        for (&byte, shift) in self.whole[self.at..].iter().zip((0..70).step_by(7)) {
            self.at += 1;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                break;
            }
            value |= bits << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(self.error("a number does not end"))
    }

    /// Reads the next field and returns its number and value.
    fn field(&mut self) -> Result<(u64, Value<'a>), DecodeError> {
        let key = self.varint()?;
        let value = match key & 7 {
            0 => Value::Varint(self.varint()?),
            1 => {
                let rest = &self.whole[self.at..];
                let bytes = rest
                    .first_chunk()
                    .ok_or_else(|| self.error("it ends in the middle"))?;
                self.at += bytes.len();
                Value::Fixed64(u64::from_le_bytes(*bytes))
            }
            2 => {
                let length = self.varint()?;
                let length =
                    usize::try_from(length).map_err(|_| self.error("a length is too great"))?;
                let at = self.at;
                self.take(length)?;
                Value::Bytes(Reader {
                    whole: &self.whole[..self.at],
                    at,
                })
            }
            5 => {
                self.take(4)?;
                Value::Fixed32
            }
            _ => return Err(self.error("a field has no known type")),
        };
        match key >> 3 {
            0 => Err(self.error("a field has no number")),
            number => Ok((number, value)),
        }
    }

    /// Returns the next embedded message with the field number `wanted`.
    fn find(&mut self, wanted: u64) -> Result<Option<Reader<'a>>, DecodeError> {
        while !self.is_empty() {
            match self.field()? {
                (number, Value::Bytes(part)) if number == wanted => return Ok(Some(part)),
                (number, _) if number == wanted => {
                    return Err(self.error("a field has the wrong type"));
                }
                _ => {}
            }
        }
        Ok(None)
    }

    /// Returns the rest of this part as text.
    fn text(self) -> Result<&'a str, DecodeError> {
        let bytes = &self.whole[self.at..];
        std::str::from_utf8(bytes).map_err(|_| self.error("a label is not UTF-8"))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::timestamp::LATEST;

    /// Accepts every time from 1970 to 9999.
    const EVERY: AcceptedTime = AcceptedTime::at(LATEST);

    fn any_series() -> impl Strategy<Value = Vec<TimeSeries>> {
        let label =
            ("[a-zé]{0,8}", "[ -~ü👍]{0,20}").prop_map(|(name, value)| Label { name, value });
        let sample = (any::<u64>(), 0..=LATEST).prop_map(|(bits, timestamp)| WireSample {
            value: Some(f64::from_bits(bits)),
            timestamp,
        });
        let series = (
            proptest::collection::vec(label, 0..6),
            proptest::collection::vec(sample, 0..6),
        )
            .prop_map(|(labels, samples)| TimeSeries { labels, samples });
        proptest::collection::vec(series, 0..6)
    }

    #[test]
    fn each_value_comes_back_bit_by_bit() {
        let bits = [
            0,
            1 << 63,
            1,
            f64::INFINITY.to_bits(),
            f64::NAN.to_bits(),
            0x7ff0_0000_0000_0002,
        ];
        let samples = bits
            .into_iter()
            .zip(1..)
            .map(|(bits, at)| Sample {
                at,
                value: f64::from_bits(bits),
            })
            .collect();
        let written = encode(&[Series {
            labels: Labels::default(),
            samples,
        }]);
        let read = decode(&written, EVERY).unwrap();
        assert_eq!(
            read[0]
                .samples
                .iter()
                .map(|sample| sample.value.to_bits())
                .collect::<Vec<_>>(),
            bits
        );
    }

    proptest! {
        #[test]
        fn the_walker_reads_what_prost_wrote(timeseries in any_series()) {
            let request = WriteRequest { timeseries };
            let read = decode(&request.encode_to_vec(), EVERY).unwrap();
            prop_assert_eq!(read.len(), request.timeseries.len());
            for (read, written) in read.iter().zip(&request.timeseries) {
                prop_assert_eq!(
                    &read.labels,
                    &Labels::new(written.labels.iter().map(|label| (&label.name[..], &label.value[..])))
                );
                let bits = |at, value: f64| (at, value.to_bits());
                prop_assert_eq!(
                    read.samples.iter().map(|sample| bits(sample.at, sample.value)).collect::<Vec<_>>(),
                    written.samples.iter().map(|sample| bits(sample.timestamp, sample.value())).collect::<Vec<_>>()
                );
            }
        }

        #[test]
        fn what_prost_can_read_the_walker_reads_alike(bytes in proptest::collection::vec(0_u8..24, 0..60)) {
            if let Ok(request) = WriteRequest::decode(&bytes[..])
                && let Ok(read) = decode(&bytes, EVERY)
            {
                prop_assert_eq!(read.len(), request.timeseries.len());
                for (read, prost) in read.iter().zip(&request.timeseries) {
                    prop_assert_eq!(read.samples.len(), prost.samples.len());
                }
            }
        }

        #[test]
        fn a_damaged_message_is_an_error_or_another_message(
            timeseries in any_series(),
            place in any::<prop::sample::Index>(),
            byte in any::<u8>(),
        ) {
            let mut bytes = WriteRequest { timeseries }.encode_to_vec();
            if !bytes.is_empty() {
                let at = place.index(bytes.len());
                bytes[at] = byte;
                let _ = decode(&bytes, EVERY);
                let _ = decode(&bytes[..at], EVERY);
            }
        }

        #[test]
        fn arbitrary_bytes_do_not_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode(&bytes, EVERY);
            let _ = labels(&bytes);
        }
    }

    proptest! {
        #[test]
        fn a_sample_from_a_time_that_is_not_believed_ends_the_message_there(at in any::<i64>(), now in any::<i64>()) {
            let series = |at| Series { labels: Labels::default(), samples: vec![Sample { at, value: 1.0 }] };
            let message = encode(&[series(0), series(at), series(0)]);
            let read: Vec<_> = walk(&message, AcceptedTime::at(now)).flat_map(|series| series.unwrap().samples).collect();
            match AcceptedTime::at(now).check("a sample", at) {
                Ok(_) => prop_assert!(read.len() == 3 && read.iter().all(Result::is_ok)),
                Err(error) => prop_assert_eq!(&read[1], &Err(error)),
            }
        }
    }

    #[test]
    fn labels_after_samples_are_labels_all_the_same() {
        let labels_only = TimeSeries {
            labels: vec![Label {
                name: "a".into(),
                value: "b".into(),
            }],
            samples: vec![],
        };
        let samples_only = TimeSeries {
            labels: vec![],
            samples: vec![WireSample {
                value: Some(2.5),
                timestamp: 7,
            }],
        };
        let mut series = samples_only.encode_to_vec();
        series.extend(labels_only.encode_to_vec());
        let mut message = vec![10, u8::try_from(series.len()).unwrap()];
        message.extend(series);
        let expected = Series {
            labels: Labels::new([("a", "b")]),
            samples: vec![Sample { at: 7, value: 2.5 }],
        };
        assert_eq!(decode(&message, EVERY).unwrap(), [expected]);
    }

    #[test]
    fn the_labels_of_a_series_are_one_slice_of_the_message() {
        let series = Series {
            labels: Labels::new([("a", "b"), ("c", "d")]),
            samples: vec![Sample { at: 1, value: 1.0 }],
        };
        let message = encode(&[series.clone(), series]);
        let raw: Vec<_> = walk(&message, EVERY)
            .map(|series| series.unwrap().labels)
            .collect();
        assert!(raw.iter().all(|labels| matches!(labels, Cow::Borrowed(_))));
        assert_eq!(raw[0], raw[1]);
    }

    #[test]
    fn an_error_tells_where() {
        let cut = &encode(&[Series {
            labels: Labels::new([("a", "b")]),
            samples: vec![],
        }])[..5];
        assert_eq!(
            decode(cut, EVERY).unwrap_err().to_string(),
            "not a WriteRequest: it ends in the middle at byte 2"
        );
    }

    #[test]
    fn a_series_with_labels_that_can_t_be_used_costs_itself_only() {
        let series = |labels: Labels| Series {
            labels,
            samples: vec![Sample { at: 1, value: 1.0 }],
        };
        let good = [("a", "1"), ("b", "2")].map(|label| series(Labels::new([label])));
        let many = (0..=MOST_LABELS).map(|at| (at.to_string(), "x"));
        for wrong in [
            Labels::new([("a", "x".repeat(MOST_VALUE_BYTES + 1))]),
            Labels::new([("x".repeat(MOST_NAME_BYTES + 1), "a")]),
            Labels::new(many),
            Labels::new([("pod", "we\u{202e}b")]),
            Labels::new([("pod\u{0}", "web")]),
            Labels::new([("pod", "web\n")]),
        ] {
            let [first, last] = good.clone();
            let message = encode(&[first, series(wrong), last]);
            assert_eq!(decode(&message, EVERY).unwrap(), good);
            let raw: Vec<_> = walk(&message, EVERY).map(Result::unwrap).collect();
            let error = labels(&raw[1].labels).unwrap_err();
            assert!(matches!(error, DecodeError::Labels(_)), "{error}");
            assert!(!error.to_string().contains(anomalyzer_domain::is_hidden));
        }
    }
}
