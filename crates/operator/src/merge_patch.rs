//! Merge patches (RFC 7396): what to apply to get from one value to another, and how to take a
//! patch back.

use serde_json::{Map, Value};

/// Applies `patch` to `value` (RFC 7396, section 2).
pub fn apply(value: &mut Value, patch: &Value) {
    let Value::Object(changes) = patch else {
        *value = patch.clone();
        return;
    };
    if !value.is_object() {
        *value = Value::Object(Map::new());
    }
    let Value::Object(fields) = value else { return };
    for (name, change) in changes {
        if change.is_null() {
            fields.remove(name);
        } else {
            apply(fields.entry(name.clone()).or_insert(Value::Null), change);
        }
    }
}

/// The smallest patch that makes `to` of `from`. A merge patch cannot set null: a null in `to`
/// becomes a missing field.
pub fn between(from: &Value, to: &Value) -> Value {
    let (Value::Object(old), Value::Object(new)) = (from, to) else {
        return to.clone();
    };
    let mut patch = Map::new();
    for name in old.keys().filter(|name| !new.contains_key(*name)) {
        patch.insert(name.clone(), Value::Null);
    }
    for (name, to) in new {
        match old.get(name) {
            Some(from) if from == to => {}
            Some(from) if from.is_object() && to.is_object() => {
                patch.insert(name.clone(), between(from, to));
            }
            _ => {
                patch.insert(name.clone(), to.clone());
            }
        }
    }
    Value::Object(patch)
}

/// The patch that takes `patch` back from a value that was `before`, touching nothing that `patch`
/// does not touch.
pub fn inverse(before: &Value, patch: &Value) -> Value {
    let Value::Object(changes) = patch else {
        return before.clone();
    };
    let Value::Object(fields) = before else {
        return before.clone();
    };
    let inverse = changes.iter().map(|(name, change)| {
        let was = match fields.get(name) {
            None => Value::Null,
            Some(was) => inverse(was, change),
        };
        (name.clone(), was)
    });
    Value::Object(inverse.collect())
}

/// Text that stands for a secret value in a shown object. It may be any value.
pub const HIDDEN: &str = "(hidden)";

/// Returns true if `value` holds what `patch` sets. The server completes objects and lists of
/// objects with its defaults, so that further fields are no difference. Numbers as text and hidden
/// values count as equal to any text, because the server writes quantities in its own way.
pub fn holds(value: &Value, patch: &Value) -> bool {
    match (value, patch) {
        (Value::Object(fields), Value::Object(changes)) => {
            changes.iter().all(|(name, change)| match fields.get(name) {
                Some(value) => !change.is_null() && holds(value, change),
                None => change.is_null() || is_empty(change),
            })
        }
        (Value::Array(values), Value::Array(changes)) => {
            values.len() == changes.len()
                && values
                    .iter()
                    .zip(changes)
                    .all(|(value, change)| holds(value, change))
        }
        (Value::String(value), Value::String(change)) => {
            value == change || value == HIDDEN || is_quantity(value) && is_quantity(change)
        }
        (value, patch) => value == patch || is_empty(value) && is_empty(patch),
    }
}

/// Returns true for a value that the server may leave out.
fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Object(fields) => fields.values().all(is_empty),
        Value::Array(values) => values.is_empty(),
        Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

/// Returns true for a quantity of Kubernetes, such as `500m` or `1Gi`.
fn is_quantity(text: &str) -> bool {
    let number = text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    text.len() - number.len() <= 2 && number.parse::<f64>().is_ok()
}

/// Adds the fields of `more` to `patch`; where both speak of a field, `more` wins.
pub fn join(patch: &mut Value, more: &Value) {
    match (patch, more) {
        (Value::Object(fields), Value::Object(more)) => {
            for (name, value) in more {
                join(fields.entry(name.clone()).or_insert(Value::Null), value);
            }
        }
        (patch, more) => *patch = more.clone(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    /// JSON without nulls, as Kubernetes objects are.
    fn without_nulls() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            any::<bool>().prop_map(Value::from),
            any::<i32>().prop_map(Value::from)
        ];
        leaf.prop_recursive(4, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
                prop::collection::btree_map("[a-d]", inner, 0..4)
                    .prop_map(|fields| Value::Object(fields.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn the_patch_between_two_values_makes_the_one_of_the_other(from in without_nulls(), to in without_nulls()) {
            let mut value = from.clone();
            apply(&mut value, &between(&from, &to));
            prop_assert_eq!(value, to);
        }

        #[test]
        fn the_inverse_of_a_patch_takes_it_back(before in without_nulls(), to in without_nulls()) {
            let patch = between(&before, &to);
            let mut value = before.clone();
            apply(&mut value, &patch);
            apply(&mut value, &inverse(&before, &patch));
            prop_assert_eq!(value, before);
        }
    }

    #[test]
    fn a_change_holds_though_the_server_completes_it() {
        let deployed = json!({"spec": {"replicas": 3, "paused": false, "template": {
            "metadata": {"annotations": {"restartedAt": "t2"}},
            "spec": {"containers": [{"name": "web", "image": "web:2", "imagePullPolicy": "Always",
                "env": [{"name": "TOKEN", "value": HIDDEN}], "resources": {"limits": {"cpu": "1"}}}]}
        }}});
        let container = |more: Value| {
            let mut container = json!({"name": "web", "image": "web:2"});
            join(&mut container, &more);
            json!({"spec": {"template": {"spec": {"containers": [container]}}}})
        };
        for (patch, expected) in [
            (json!({"spec": {"replicas": 3}}), true),
            (json!({"spec": {"replicas": 2}}), false),
            (
                json!({"spec": {"template": {"metadata": {"annotations": {"restartedAt": "t2"}}}}}),
                true,
            ),
            (
                json!({"spec": {"template": {"metadata": {"annotations": {"restartedAt": "t1"}}}}}),
                false,
            ),
            (
                json!({"spec": {"template": {"metadata": {"labels": null}}}}),
                true,
            ),
            (
                json!({"spec": {"template": {"metadata": {"labels": {}}}}}),
                true,
            ),
            (json!({"spec": {"template": {"metadata": null}}}), false),
            (container(json!({})), true),
            (container(json!({"image": "web:1"})), false),
            (
                container(json!({"env": [{"name": "TOKEN", "value": "hush"}]})),
                true,
            ),
            (
                container(json!({"resources": {"limits": {"cpu": "1000m"}}})),
                true,
            ),
            (
                container(json!({"resources": {"limits": {"memory": "1Gi"}}})),
                false,
            ),
            (
                json!({"spec": {"template": {"spec": {"containers": []}}}}),
                false,
            ),
        ] {
            assert_eq!(holds(&deployed, &patch), expected, "{patch}");
        }
    }

    proptest! {
        #[test]
        fn an_applied_patch_holds(from in without_nulls(), to in without_nulls()) {
            prop_assert!(holds(&to, &between(&from, &to)));
        }
    }

    #[test]
    fn the_inverse_touches_only_what_the_patch_touched() {
        let before = json!({"environment": {"A": "1", "B": "2"}, "other": true});
        let patch = json!({"environment": {"A": "9", "C": "3"}});
        assert_eq!(
            inverse(&before, &patch),
            json!({"environment": {"A": "1", "C": null}})
        );
    }

    #[test]
    fn a_mark_joins_a_patch_without_losing_its_fields() {
        let mut patch = json!({"metadata": {"annotations": {"rate": "5"}}, "spec": 1});
        join(
            &mut patch,
            &json!({"metadata": {"annotations": {"mark": "op-1"}}}),
        );
        assert_eq!(
            patch,
            json!({"metadata": {"annotations": {"rate": "5", "mark": "op-1"}}, "spec": 1})
        );
    }
}
