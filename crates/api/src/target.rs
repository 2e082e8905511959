//! Reads a target in a body: an object, or the text `cluster/namespace/kind/name`.

use serde::de::Error;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use anomalyzer_domain::Target;

/// Reads a target, for `#[serde(deserialize_with)]`.
pub(super) fn either<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Target, D::Error> {
    let target: Target = match Value::deserialize(deserializer)? {
        Value::String(text) => text.parse().map_err(D::Error::custom)?,
        value => serde_json::from_value(value).map_err(D::Error::custom)?,
    };
    target.check().map_err(D::Error::custom)?;
    Ok(target)
}

/// Reads a target that may be missing; see [`either`].
pub(super) fn either_option<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Target>, D::Error> {
    #[derive(Deserialize)]
    struct Either(#[serde(deserialize_with = "either")] Target);

    Ok(Option::<Either>::deserialize(deserializer)?.map(|either| either.0))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_target_is_complete_bounded_and_visible_in_either_form() {
        for right in [
            json!("default/shop/Deployment/web"),
            json!({"namespace": "shop", "kind": "Deployment", "name": "web"}),
        ] {
            assert_eq!(
                either(&right).unwrap(),
                Target::new("shop", "Deployment", "web")
            );
        }
        let long = "x".repeat(300);
        for name in [
            "w\nx",
            "w\u{202e}x",
            "\u{1b}[31m",
            "\u{200b}",
            "",
            "a/b",
            &long,
        ] {
            assert!(either(&json!({"kind": "Process", "name": name})).is_err());
            assert!(either(&json!(format!("default//Process/{name}"))).is_err());
        }
    }
}
