//! Settings and parameters, read from JSON.

use schemars::JsonSchema;
use serde::de::DeserializeOwned;

use crate::Error;

/// Reads settings. The error for invalid settings contains the path of the key.
pub(crate) fn settings<T: DeserializeOwned>(json: &str) -> Result<T, Error> {
    // Without this check, serde would also fill a struct from a list, by position.
    if !json.trim_start().starts_with('{') {
        return Err(Error::Invalid(
            "give a JSON object, as {\"key\": 1}".to_owned(),
        ));
    }
    let mut text = serde_json::Deserializer::from_str(json);
    let parsed = serde_path_to_error::deserialize(&mut text).map_err(|error| {
        let path = error.path().to_string();
        let why = error.into_inner();
        // The message itself names an unknown key. The path `.` is the whole document.
        if path == "." {
            Error::Invalid(why.to_string())
        } else {
            Error::Invalid(format!("`{path}`: {why}"))
        }
    })?;
    text.end()
        .map_err(|error| Error::Invalid(error.to_string()))?;
    Ok(parsed)
}

/// Returns the JSON Schema of the settings, for `about`.
pub(crate) fn schema<T: JsonSchema>() -> String {
    schemars::schema_for!(T).as_value().to_string()
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Example {
        #[allow(dead_code)]
        window: u32,
    }

    #[test]
    fn what_is_wrong_is_told_with_the_key() {
        for (json, key) in [
            (r#"{"window":"x"}"#, "`window`"),
            (r#"{"windw":1}"#, "`windw`"),
            ("{}", "`window`"),
        ] {
            let Error::Invalid(message) = settings::<Example>(json).unwrap_err() else {
                panic!("{json}")
            };
            assert!(message.contains(key), "{message}");
        }
        assert!(settings::<Example>(r#"{"window":1} x"#).is_err());
        for json in ["", "[1]", "null", "1"] {
            assert!(
                matches!(settings::<Example>(json), Err(Error::Invalid(_))),
                "{json}"
            );
        }
    }
}
