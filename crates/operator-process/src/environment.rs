//! Environment of a group's replicas: the configured variables with the changes of patches.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

/// Variables set by patches, over the configured ones. `None` removes a variable.
pub type Overlay = BTreeMap<String, Option<String>>;

/// Maximum number of variables that patches may set in a group.
const MAX_VARIABLES: usize = 256;
/// Maximum size of a variable's value in bytes.
const LONGEST: usize = 32 * 1024;

/// Checks the name of a variable.
pub fn check_name(name: &str) -> Result<(), String> {
    if name.is_empty() || name.len() > 256 || name.contains(['=', '\0']) {
        return Err(format!(
            "`{}` cannot be the name of a variable",
            name.escape_debug()
        ));
    }
    if name == "PORT" || name == "HOST" {
        return Err(format!(
            "{name} is set by the operator for each replica: change first_port or host in the configuration"
        ));
    }
    Ok(())
}

/// Returns the overlay after the merge patch `{"environment": {NAME: "value" or null}}`. Numbers
/// and booleans become their text.
pub fn patched(overlay: &Overlay, patch: &Value) -> Result<Overlay, String> {
    let only = || {
        "a process group has only one thing to patch: {\"environment\": {NAME: \"value\" or null}}"
            .to_owned()
    };
    let fields = patch.as_object().ok_or_else(only)?;
    if fields.keys().any(|field| field != "environment") {
        return Err(only());
    }
    let changes = fields
        .get("environment")
        .and_then(Value::as_object)
        .ok_or_else(only)?;
    let mut overlay = overlay.clone();
    for (name, value) in changes {
        check_name(name)?;
        let value = match value {
            Value::Null => None,
            Value::String(text) => Some(text.clone()),
            Value::Number(number) => Some(number.to_string()),
            Value::Bool(flag) => Some(flag.to_string()),
            Value::Array(_) | Value::Object(_) => {
                return Err(format!("the variable {name} must be text"));
            }
        };
        if value
            .as_ref()
            .is_some_and(|value| value.len() > LONGEST || value.contains('\0'))
        {
            return Err(format!(
                "the variable {name} must have at most {LONGEST} bytes and no NUL"
            ));
        }
        overlay.insert(name.clone(), value);
    }
    if overlay.len() > MAX_VARIABLES {
        return Err(format!("patches may set at most {MAX_VARIABLES} variables"));
    }
    Ok(overlay)
}

/// Returns the environment of the replicas: `configured` with the changes of `overlay`.
pub fn effective(
    configured: &BTreeMap<String, String>,
    overlay: &Overlay,
) -> BTreeMap<String, String> {
    let mut environment = configured.clone();
    for (name, value) in overlay {
        match value {
            Some(value) => environment.insert(name.clone(), value.clone()),
            None => environment.remove(name),
        };
    }
    environment
}

/// Returns the environment as the JSON object that patches apply to.
pub fn as_object(environment: &BTreeMap<String, String>) -> Value {
    let variables: Map<String, Value> = environment
        .iter()
        .map(|(name, value)| (name.clone(), Value::String(value.clone())))
        .collect();
    Value::Object(Map::from_iter([(
        "environment".to_owned(),
        Value::Object(variables),
    )]))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_patch_sets_changes_and_takes_away_variables() {
        let configured = BTreeMap::from([
            ("A".to_owned(), "1".to_owned()),
            ("B".to_owned(), "2".to_owned()),
        ]);
        let overlay = patched(
            &Overlay::new(),
            &json!({"environment": {"A": "9", "B": null, "LIMIT": 50}}),
        )
        .unwrap();
        assert_eq!(
            as_object(&effective(&configured, &overlay)),
            json!({"environment": {"A": "9", "LIMIT": "50"}})
        );
        let back = patched(&overlay, &json!({"environment": {"B": "2"}})).unwrap();
        assert_eq!(effective(&configured, &back)["B"], "2");
    }

    #[test]
    fn what_is_not_an_environment_is_refused() {
        for patch in [
            json!(null),
            json!({"replicas": 3}),
            json!({"environment": []}),
            json!({"environment": {"A": {}}}),
            json!({"environment": {"A=B": "1"}}),
            json!({"environment": {"PORT": "1"}}),
            json!({"environment": {"A": "nul\u{0}"}}),
        ] {
            assert!(patched(&Overlay::new(), &patch).is_err(), "{patch}");
        }
    }
}
