//! Reads a target in a body: an object, or the text `cluster/namespace/kind/name`.

use serde::de::Error;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use anomalyzer_domain::Target;

/// Reads a target, for `#[serde(deserialize_with)]`.
pub(super) fn either<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Target, D::Error> {
    let target = match Value::deserialize(deserializer)? {
        Value::String(text) => return text.parse().map_err(D::Error::custom),
        value => serde_json::from_value::<Target>(value).map_err(D::Error::custom)?,
    };
    // Parsing the text form checks that the target is complete, and that no name holds a slash.
    target.to_string().parse().map_err(D::Error::custom)
}

/// Reads a target that may be missing; see [`either`].
pub(super) fn either_option<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Target>, D::Error> {
    #[derive(Deserialize)]
    struct Either(#[serde(deserialize_with = "either")] Target);

    Ok(Option::<Either>::deserialize(deserializer)?.map(|either| either.0))
}
