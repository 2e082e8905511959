//! Parses the answers of Prometheus's HTTP API, and of servers that speak it.
//!
//! Lists may be `null`, as Go programs write an empty list. An answer may lack a part: the server
//! says so in a warning, in `isPartial`, or by a `null` in the place of a value. The result is
//! parsed once its type is known, so that no tree of the whole answer is built.

mod found;
mod value;

use serde::{Deserialize, Deserializer, de::IgnoredAny};
use serde_json::value::RawValue;

use anomalyzer_domain::{excerpt, one_line};

pub use self::found::{Data, Found};
use self::value::MAX_TEXT;
use crate::{SourceError, fetch};

/// Beginning of a warning about the query itself. Any other warning means that the answer lacks a
/// part (thanos-io/thanos#7354).
const ANNOTATION: &str = "PromQL ";
/// Maximum number of warnings that are shown.
const MAX_WARNINGS: usize = 10;

#[derive(Deserialize)]
struct Envelope<'a> {
    status: Option<String>,
    /// None if there is no data, and `Some(None)` if the data is null.
    #[serde(borrow, default, deserialize_with = "present")]
    data: Option<Option<RawData<'a>>>,
    #[serde(rename = "errorType")]
    error_type: Option<String>,
    #[serde(borrow)]
    error: Option<&'a RawValue>,
    #[serde(borrow)]
    message: Option<&'a RawValue>,
    warnings: Option<Vec<String>>,
    infos: Option<Vec<String>>,
    /// Mark of VictoriaMetrics.
    #[serde(rename = "isPartial")]
    is_partial: Option<bool>,
}

#[derive(Deserialize)]
struct RawData<'a> {
    #[serde(rename = "resultType")]
    kind: Option<String>,
    #[serde(borrow)]
    result: Option<&'a RawValue>,
}

fn present<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

/// The data of an answer, and the server's remarks about it.
#[derive(Debug)]
pub struct Answered {
    pub data: Data,
    /// Warnings, without effect on the completeness.
    pub notes: Vec<String>,
    /// Reason why the answer lacks a part, if it does.
    pub partial: Option<String>,
}

/// Parses an answer. Returns a different error for each kind of unusable answer.
pub fn read(url: &str, promql: &str, answer: &fetch::Answer) -> Result<Answered, SourceError> {
    let (body, status) = (&answer.body, answer.status);
    let envelope = match serde_json::from_slice::<Envelope<'_>>(body) {
        Ok(envelope) => envelope,
        Err(error) => return Err(unreadable(url, answer, &error)),
    };
    let reason = [envelope.error, envelope.message]
        .into_iter()
        .flatten()
        .find_map(message);
    let query = || promql.to_owned();
    let error_type = envelope.error_type.as_deref();
    match (envelope.status.as_deref(), error_type, envelope.data) {
        (Some("success"), _, Some(data)) if status == 200 => {
            let data = match data {
                Some(data) => data.parse(),
                None => Ok(Data::Vector(Vec::new())),
            };
            let warnings = texts(envelope.warnings);
            let marked = envelope.is_partial == Some(true);
            let partial = warnings
                .iter()
                .find(|warning| !warning.starts_with(ANNOTATION))
                .cloned()
                .or_else(|| marked.then(|| "it is marked as `isPartial`".to_owned()));
            let mut notes = warnings;
            notes.extend(texts(envelope.infos));
            notes.truncate(MAX_WARNINGS);
            Ok(Answered {
                data: data.map_err(|error| unreadable(url, answer, &error))?,
                notes,
                partial,
            })
        }
        (Some("error"), Some("bad_data"), _) => Err(SourceError::Refused {
            query: query(),
            reason: reason.unwrap_or_else(no_reason),
        }),
        (Some("error"), Some(_), _) => Err(SourceError::Failed {
            query: query(),
            reason: reason.unwrap_or_else(no_reason),
        }),
        _ if status != 200 => Err(SourceError::Status {
            url: url.to_owned(),
            status,
            excerpt: reason.unwrap_or_else(|| excerpt(body)),
        }),
        (Some("error"), None, _) => Err(SourceError::Failed {
            query: query(),
            reason: reason.unwrap_or_else(no_reason),
        }),
        _ => Err(SourceError::Unexpected {
            url: url.to_owned(),
            expected: "Prometheus",
            excerpt: excerpt(body),
        }),
    }
}

fn no_reason() -> String {
    "no reason given".to_owned()
}

/// Returns the error of an answer that can't be parsed.
fn unreadable(url: &str, answer: &fetch::Answer, error: &serde_json::Error) -> SourceError {
    let (url, body) = (url.to_owned(), &answer.body);
    let is_envelope = body.trim_ascii_start().starts_with(br#"{"status":"#);
    if answer.status != 200 {
        let (status, excerpt) = (answer.status, excerpt(body));
        SourceError::Status {
            url,
            status,
            excerpt,
        }
    } else if answer.html || (error.is_data() && !is_envelope) {
        SourceError::Unexpected {
            url,
            expected: "Prometheus",
            excerpt: excerpt(body),
        }
    } else {
        let reason = one_line(&error.to_string(), MAX_TEXT);
        match error.is_eof() {
            true => SourceError::CutShort { url, reason },
            false => SourceError::Malformed { url, reason },
        }
    }
}

/// Returns the text of an error: a text, or an object with a `message`.
fn message(raw: &RawValue) -> Option<String> {
    #[derive(Deserialize)]
    struct Object {
        message: String,
    }
    let text = serde_json::from_str::<String>(raw.get())
        .or_else(|_| serde_json::from_str::<Object>(raw.get()).map(|object| object.message));
    let text = one_line(&text.unwrap_or_default(), MAX_TEXT);
    (!text.is_empty()).then_some(text)
}

fn texts(texts: Option<Vec<String>>) -> Vec<String> {
    let texts = texts.unwrap_or_default().into_iter();
    // A warning that makes the answer partial must not be cut off.
    let (annotations, others): (Vec<_>, Vec<_>) =
        texts.partition(|text| text.starts_with(ANNOTATION));
    others
        .iter()
        .chain(&annotations)
        .take(MAX_WARNINGS)
        .map(|text| one_line(text, MAX_TEXT))
        .collect()
}

impl RawData<'_> {
    fn parse(&self) -> Result<Data, serde_json::Error> {
        let Some(result) = self.result.map(RawValue::get) else {
            return Ok(Data::Vector(Vec::new()));
        };
        match self.kind.as_deref() {
            Some("vector") => serde_json::from_str(result).map(Data::Vector),
            Some("matrix") => serde_json::from_str(result).map(Data::Matrix),
            Some("scalar") => serde_json::from_str(result).map(Data::Scalar),
            Some("string") => Ok(Data::String),
            other => {
                // Some servers name no type if there is no series.
                let empty = serde_json::from_str::<[IgnoredAny; 0]>(result);
                let kind = one_line(other.unwrap_or_default(), MAX_TEXT);
                let unknown = format!("the result type `{kind}` is unknown");
                empty
                    .map(|_| Data::Vector(Vec::new()))
                    .map_err(|_| serde::de::Error::custom(unknown))
            }
        }
    }
}

#[cfg(test)]
mod tests;
