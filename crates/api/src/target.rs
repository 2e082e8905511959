//! Reads a target in a body: an object, or the text `cluster/namespace/kind/name`.

use serde::de::Error;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use anomalyzer_domain::Target;

/// Reads a target, for `#[serde(deserialize_with)]`.
pub(super) fn either<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Target, D::Error> {
    let text = match Value::deserialize(deserializer)? {
        Value::String(text) => text,
        value => serde_json::from_value::<Target>(value)
            .map_err(D::Error::custom)?
            .to_string(),
    };
    // Parsing the text form checks that the target is complete, and that no name holds a slash.
    let target: Target = text.parse().map_err(D::Error::custom)?;
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
