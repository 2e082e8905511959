//! Time as milliseconds since the epoch.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

/// Milliseconds since 1970-01-01T00:00:00Z.
pub type UnixMs = i64;

/// Time source of a component that records the time: the wall clock, or a test's own clock.
pub type Clock = Arc<dyn Fn() -> UnixMs + Send + Sync>;

/// Converts a duration to whole milliseconds. Saturates at the largest [`UnixMs`].
pub fn millis(duration: Duration) -> UnixMs {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// Formats a time as RFC 3339 in UTC with milliseconds. A time outside jiff's range is clamped to
/// the range.
pub fn rfc3339(at: UnixMs) -> String {
    let at = Timestamp::from_millisecond(at).unwrap_or(if at < 0 {
        Timestamp::MIN
    } else {
        Timestamp::MAX
    });
    format!("{at:.3}")
}

/// Serde adapter: `UnixMs` in memory, RFC 3339 on the wire.
pub mod as_rfc3339 {
    use jiff::Timestamp;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    use super::UnixMs;

    /// Writes RFC 3339.
    pub fn serialize<S: Serializer>(at: &UnixMs, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&super::rfc3339(*at))
    }

    /// Reads RFC 3339.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<UnixMs, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse::<Timestamp>()
            .map(Timestamp::as_millisecond)
            .map_err(D::Error::custom)
    }
}

/// Serde adapter for an optional time; see [`as_rfc3339`].
pub mod as_rfc3339_option {
    use jiff::Timestamp;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    use super::UnixMs;

    /// Writes RFC 3339 or null.
    pub fn serialize<S: Serializer>(at: &Option<UnixMs>, serializer: S) -> Result<S::Ok, S::Error> {
        match at {
            Some(at) => serializer.serialize_some(&super::rfc3339(*at)),
            None => serializer.serialize_none(),
        }
    }

    /// Reads RFC 3339 or null.
    pub fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<UnixMs>, D::Error> {
        Option::<String>::deserialize(deserializer)?
            .map(|text| {
                text.parse::<Timestamp>()
                    .map(Timestamp::as_millisecond)
                    .map_err(D::Error::custom)
            })
            .transpose()
    }
}
