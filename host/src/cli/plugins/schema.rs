//! Prints a JSON Schema for people: one line per key, with its type, bounds and default, and its
//! description below.

use std::io::{self, Write};

use serde_json::Value;

/// Maximum depth, because schemas can refer to themselves.
const DEEPEST: usize = 4;
/// Maximum number of printed keys of one object.
const MOST_KEYS: usize = 64;
const MOST_BYTES: usize = 300;

/// Writes the settings that the schema describes.
pub(super) fn write<W: Write>(schema: &Value, out: &mut W) -> io::Result<()> {
    if schema.is_null() {
        return Ok(());
    }
    let object = resolved(schema, schema);
    if object
        .get("properties")
        .and_then(Value::as_object)
        .is_none_or(serde_json::Map::is_empty)
    {
        return writeln!(
            out,
            "settings  {}",
            if is_closed(object) {
                "none"
            } else {
                "not described"
            }
        );
    }
    writeln!(out, "settings")?;
    keys(schema, object, 1, out)
}

fn keys<W: Write>(root: &Value, object: &Value, depth: usize, out: &mut W) -> io::Result<()> {
    let required = object.get("required").and_then(Value::as_array);
    let properties = object.get("properties").and_then(Value::as_object);
    let indent = "  ".repeat(depth);
    for (key, property) in properties.into_iter().flatten().take(MOST_KEYS) {
        let target = resolved(root, property);
        let mut line = format!("{indent}{}: {}", plain(key), kind(root, property));
        line.push_str(&bounds(target));
        if let Some(default) = property.get("default").filter(|default| !default.is_null()) {
            line.push_str(&format!(", default {}", plain(&default.to_string())));
        } else if required.is_some_and(|required| required.iter().any(|name| name == key)) {
            line.push_str(", required");
        }
        writeln!(out, "{line}")?;
        let description = property
            .get("description")
            .or_else(|| target.get("description"));
        if let Some(description) = description.and_then(Value::as_str) {
            writeln!(out, "{indent}    {}", plain(description))?;
        }
        if depth < DEEPEST {
            keys(root, target, depth + 1, out)?;
        }
    }
    Ok(())
}

/// Follows `$ref` within the schema. Resolves `anyOf` of one schema and null to that schema.
fn resolved<'a>(root: &'a Value, schema: &'a Value) -> &'a Value {
    let mut schema = schema;
    for _ in 0..DEEPEST {
        let next = schema
            .get("$ref")
            .and_then(Value::as_str)
            .and_then(|path| root.pointer(path.strip_prefix('#')?));
        let only = || {
            let any = schema.get("anyOf")?.as_array()?;
            let mut rest = any
                .iter()
                .filter(|one| one.get("type").and_then(Value::as_str) != Some("null"));
            rest.next().filter(|_| rest.next().is_none())
        };
        match next.or_else(only) {
            Some(next) => schema = next,
            None => break,
        }
    }
    schema
}

fn kind(root: &Value, property: &Value) -> String {
    let target = resolved(root, property);
    if let Some(values) = target.get("enum").and_then(Value::as_array) {
        return values
            .iter()
            .map(|value| plain(&value.to_string()))
            .collect::<Vec<_>>()
            .join(" | ");
    }
    let types: Vec<&str> = match target.get("type") {
        Some(Value::String(one)) => vec![one],
        Some(Value::Array(several)) => several
            .iter()
            .filter_map(Value::as_str)
            .filter(|name| *name != "null")
            .collect(),
        _ => return "anything".to_owned(),
    };
    match (types.as_slice(), target.get("items")) {
        (["array"], Some(items)) => format!("list of {}", kind(root, items)),
        _ => plain(&types.join(" or ")),
    }
}

fn bounds(schema: &Value) -> String {
    let number = |key: &str| schema.get(key).filter(|value| value.is_number());
    match (number("minimum"), number("maximum")) {
        (Some(low), Some(high)) => format!(" {low} to {high}"),
        (Some(low), None) => format!(", at least {low}"),
        (None, Some(high)) => format!(", at most {high}"),
        (None, None) => String::new(),
    }
}

fn is_closed(schema: &Value) -> bool {
    schema.get("additionalProperties") == Some(&Value::Bool(false))
}

/// Cuts the text to one line without control characters. The text comes from the plugin's author
/// and can't be trusted.
fn plain(text: &str) -> String {
    let cut = &text[..text.floor_char_boundary(MOST_BYTES)];
    cut.split(|c: char| c.is_whitespace() || c.is_control())
        .filter(|word| !word.is_empty())
        .collect::<Vec<_>>()
        .join(" ")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn written(schema: &Value) -> String {
        let mut out = Vec::new();
        write(schema, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn each_key_has_its_type_bounds_default_and_meaning() {
        let schema = json!({
            "type": "object",
            "required": ["low"],
            "properties": {
                "window": {"type": "integer", "minimum": 2, "maximum": 10000, "default": 60, "description": "How many\n  samples."},
                "low": {"type": "number"},
                "level": {"$ref": "#/$defs/Level", "default": "warn"},
                "hold_at_most": {"type": ["integer", "null"], "minimum": 1, "default": null},
                "http": {"anyOf": [{"$ref": "#/$defs/Http"}, {"type": "null"}]},
                "queries": {"type": "array", "items": {"type": "string"}},
                "free": true,
            },
            "$defs": {
                "Level": {"enum": ["warn", "error"], "description": "How\u{1b}[31m loud."},
                "Http": {"type": "object", "properties": {"url": {"type": "string"}, "again": {"$ref": "#/$defs/Http"}}},
            },
        });
        insta::assert_snapshot!(written(&schema), @r#"
        settings
          free: anything
          hold_at_most: integer, at least 1
          http: object
            again: object
              again: object
                again: object
                url: string
              url: string
            url: string
          level: "warn" | "error", default "warn"
              How [31m loud.
          low: number, required
          queries: list of string
          window: integer 2 to 10000, default 60
              How many samples.
        "#);
    }

    #[test]
    fn a_schema_without_keys_says_so() {
        assert_eq!(
            written(&json!({"type": "object", "additionalProperties": false})),
            "settings  none\n"
        );
        assert_eq!(written(&json!(true)), "settings  not described\n");
        assert_eq!(written(&Value::Null), "");
    }
}
