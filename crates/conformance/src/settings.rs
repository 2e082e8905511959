//! Generates wrong settings and parameters from the schema and from a right value.

use serde_json::{Map, Value, json};

use super::report::Failure;
use anomalyzer_plugin_host::PluginError;

/// A key that no plugin has.
const UNKNOWN: &str = "no_such_key";

/// Returns wrong settings, each with a description of the error.
pub(super) fn wrong(schema: &Value, right: &Value) -> Vec<(String, Value)> {
    let with = |key: &str, value: Value| {
        let mut settings = right.as_object().cloned().unwrap_or_default();
        settings.insert(key.to_owned(), value);
        Value::Object(settings)
    };
    let mut wrong = vec![
        (
            format!("the unknown key `{UNKNOWN}`"),
            with(UNKNOWN, json!(1)),
        ),
        ("a list in place of the object".to_owned(), json!([1, 2])),
        ("a text in place of the object".to_owned(), json!("none")),
    ];
    let properties = schema.get("properties").and_then(Value::as_object);
    for (key, property) in properties.into_iter().flatten() {
        if let Some(value) = of_another_type(property) {
            wrong.push((
                format!("`{key}` of a wrong type: {value}"),
                with(key, value),
            ));
        }
    }
    wrong
}

/// Returns a value of a wrong type, or `None` if the schema is too complex to derive one.
fn of_another_type(property: &Value) -> Option<Value> {
    let types: Vec<&str> = match property.get("type")? {
        Value::String(one) => vec![one],
        Value::Array(several) => several.iter().filter_map(Value::as_str).collect(),
        _ => return None,
    };
    if !types.contains(&"object") {
        Some(json!({ "not": "this" }))
    } else if !types.contains(&"array") {
        Some(json!([[]]))
    } else {
        None
    }
}

/// Returns the default settings according to the schema.
pub(super) fn defaults(schema: &Value) -> Value {
    let properties = schema.get("properties").and_then(Value::as_object);
    let defaults = properties
        .into_iter()
        .flatten()
        .filter_map(|(key, property)| Some((key.clone(), property.get("default")?.clone())))
        .collect::<Map<_, _>>();
    Value::Object(defaults)
}

/// Judges the response to wrong settings. `how` describes the error in the settings.
pub(super) fn judge(answer: Result<(), PluginError>, how: &str) -> Result<(), Failure> {
    let remedy = "answer `invalid` with a message that names the key; with the SDK, \
                  `#[serde(deny_unknown_fields, default)]` on the struct does it";
    match answer {
        Err(PluginError::Invalid(message)) if message.trim().is_empty() => Err(Failure::new(
            "it answers `invalid` without a word",
            how,
            remedy,
        )),
        Err(PluginError::Invalid(_)) => Ok(()),
        Err(error) => Err(Failure::new(format!("it answers: {error}"), how, remedy)),
        Ok(()) => Err(Failure::new("it opens", how, remedy)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_settings_are_made_of_the_schema() {
        let schema = json!({"properties": {
            "window": {"type": "integer", "default": 60},
            "name": {"type": ["string", "null"], "default": null},
            "map": {"type": "object"},
            "any": {},
        }});
        let wrong = wrong(&schema, &json!({"window": 5}));
        let texts: Vec<String> = wrong
            .iter()
            .map(|(_, settings)| settings.to_string())
            .collect();
        assert_eq!(
            texts,
            [
                r#"{"no_such_key":1,"window":5}"#,
                "[1,2]",
                r#""none""#,
                r#"{"map":[[]],"window":5}"#,
                r#"{"name":{"not":"this"},"window":5}"#,
                r#"{"window":{"not":"this"}}"#,
            ]
        );
        assert_eq!(defaults(&schema), json!({"window": 60, "name": null}));
    }

    #[test]
    fn only_invalid_with_a_message_will_do() {
        assert!(judge(Err(PluginError::Invalid("`window` is 0".to_owned())), "x").is_ok());
        for answer in [
            Ok(()),
            Err(PluginError::Invalid(" ".to_owned())),
            Err(PluginError::Failed("no".to_owned())),
        ] {
            assert!(judge(answer, "x").is_err());
        }
    }
}
