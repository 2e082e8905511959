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
