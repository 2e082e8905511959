//! The Kubernetes object of a target.

use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, StatefulSet};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::networking::v1::Ingress;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::core::{ApiResource, DynamicObject, Selector};
use serde_json::{Map, Value, json};

use anomalyzer_domain::Replicas;
use anomalyzer_operator::merge_patch;

/// Annotation that holds the id of the last operation.
pub const MARK: &str = "anomalyzer.dev/operation";

/// Kind of an object that this operator knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Kind of the group apps/v1.
    Deployment,
    /// Kind of the group apps/v1.
    StatefulSet,
    /// Kind of the group apps/v1.
    DaemonSet,
    /// Kind of the group v1.
    Pod,
    /// Kind of the group networking.k8s.io/v1. `rate_limit` sets the limit of the admitted traffic
    /// on it.
    Ingress,
}

impl Kind {
    /// Returns the kind with the given name.
    pub fn parse(name: &str) -> Option<Self> {
        match name {
            "Deployment" => Some(Self::Deployment),
            "StatefulSet" => Some(Self::StatefulSet),
            "DaemonSet" => Some(Self::DaemonSet),
            "Pod" => Some(Self::Pod),
            "Ingress" => Some(Self::Ingress),
            _ => None,
        }
    }

    /// Returns the API resource of the kind.
    pub fn resource(self) -> ApiResource {
        match self {
            Self::Deployment => ApiResource::erase::<Deployment>(&()),
            Self::StatefulSet => ApiResource::erase::<StatefulSet>(&()),
            Self::DaemonSet => ApiResource::erase::<DaemonSet>(&()),
            Self::Pod => ApiResource::erase::<Pod>(&()),
            Self::Ingress => ApiResource::erase::<Ingress>(&()),
        }
    }

    /// Returns true if the kind has a pod template, so that a change of the template starts a
    /// rollout.
    pub fn rolls(self) -> bool {
        matches!(self, Self::Deployment | Self::StatefulSet | Self::DaemonSet)
    }
}

/// An object as the API returned it.
#[derive(Clone, Debug)]
pub struct Object {
    /// Kind of the object.
    pub kind: Kind,
    /// Content of the object.
    pub object: DynamicObject,
}

impl Object {
    /// Returns the version of the present state, `UID/GENERATION`. Unlike `resourceVersion`, it
    /// does not change with the status, which changes all the time, and most of all when something
    /// is wrong.
    pub fn version(&self) -> String {
        format!("{}/{}", self.uid(), self.generation())
    }

    /// Returns the uid of the object.
    pub fn uid(&self) -> &str {
        self.object.metadata.uid.as_deref().unwrap_or_default()
    }

    /// Returns the namespace; empty for an object without one.
    pub fn namespace(&self) -> &str {
        self.object
            .metadata
            .namespace
            .as_deref()
            .unwrap_or_default()
    }

    /// Returns the generation, which rises with each change of the spec.
    pub fn generation(&self) -> i64 {
        self.object.metadata.generation.unwrap_or_default()
    }

    /// Returns the resource version, which changes with each write.
    pub fn resource_version(&self) -> &str {
        self.object
            .metadata
            .resource_version
            .as_deref()
            .unwrap_or_default()
    }

    /// Returns the id of the operation that changed the object last.
    pub fn mark(&self) -> Option<&str> {
        self.annotation(MARK)
    }

    /// Returns the value of an annotation.
    pub fn annotation(&self, name: &str) -> Option<&str> {
        self.object
            .metadata
            .annotations
            .as_ref()?
            .get(name)
            .map(String::as_str)
    }

    /// Returns the value of a label.
    pub fn label(&self, name: &str) -> Option<&str> {
        self.object
            .metadata
            .labels
            .as_ref()?
            .get(name)
            .map(String::as_str)
    }

    /// Returns the part at a JSON pointer such as `/spec/replicas`.
    pub fn at(&self, pointer: &str) -> &Value {
        self.object.data.pointer(pointer).unwrap_or(&Value::Null)
    }

    /// Returns a number of the spec or the status. A missing number is 0, because Kubernetes leaves
    /// out zeros.
    pub fn number(&self, pointer: &str) -> u32 {
        self.at(pointer)
            .as_u64()
            .and_then(|number| u32::try_from(number).ok())
            .unwrap_or_default()
    }

    /// Returns the number of desired and ready replicas, or `None` for a kind without replicas.
    pub fn replicas(&self) -> Option<Replicas> {
        match self.kind {
            Kind::Deployment | Kind::StatefulSet => Some(Replicas {
                desired: self.wanted_replicas(),
                ready: self.number("/status/readyReplicas"),
            }),
            Kind::DaemonSet => Some(Replicas {
                desired: self.number("/status/desiredNumberScheduled"),
                ready: self.number("/status/numberReady"),
            }),
            Kind::Pod | Kind::Ingress => None,
        }
    }

    /// Returns `spec.replicas`, which is 1 by default.
    pub fn wanted_replicas(&self) -> u32 {
        if self.at("/spec/replicas").is_null() {
            1
        } else {
            self.number("/spec/replicas")
        }
    }

    /// Returns the selector of the object's pods as a query, or `None` if it is unreadable or
    /// empty.
    pub fn selector(&self) -> Option<String> {
        let selector: LabelSelector =
            serde_json::from_value(self.at("/spec/selector").clone()).ok()?;
        let selector = Selector::try_from(selector).ok()?;
        // An empty selector would match every pod of the namespace.
        (!selector.selects_all()).then(|| selector.to_string())
    }

    /// Returns the labels, annotations and spec: the parts that a merge patch may change.
    pub fn patchable(&self) -> Value {
        let meta = &self.object.metadata;
        let mut metadata = Map::new();
        if let Some(labels) = &meta.labels {
            metadata.insert("labels".into(), json!(labels));
        }
        if let Some(annotations) = &meta.annotations {
            metadata.insert("annotations".into(), json!(annotations));
        }
        json!({"metadata": metadata, "spec": self.at("/spec")})
    }

    /// Returns the object as a merge patch would leave its spec.
    pub fn patched(&self, patch: &Value) -> Self {
        let mut object = self.clone();
        if let Some(spec) = patch.get("spec") {
            let patch = json!({ "spec": spec });
            merge_patch::apply(&mut object.object.data, &patch);
        }
        object
    }

    /// Returns the object as evidence, without bookkeeping fields. Hides the values of variables
    /// whose names sound like secrets.
    pub fn shown(&self) -> Value {
        let meta = &self.object.metadata;
        let annotations: Map<String, Value> = meta
            .annotations
            .iter()
            .flatten()
            .filter(|(name, _)| *name != "kubectl.kubernetes.io/last-applied-configuration")
            .map(|(name, value)| (name.clone(), Value::String(value.clone())))
            .collect();
        let mut spec = self.at("/spec").clone();
        hide_secrets(&mut spec);
        json!({
            "metadata": {
                "name": meta.name,
                "namespace": meta.namespace,
                "uid": meta.uid,
                "generation": meta.generation,
                "resourceVersion": meta.resource_version,
                "labels": meta.labels,
                "annotations": annotations,
            },
            "spec": spec,
            "status": self.at("/status"),
        })
    }
}

fn hide_secrets(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(hide_secrets),
        Value::Object(fields) => {
            let secret = fields
                .get("name")
                .and_then(Value::as_str)
                .is_some_and(sounds_secret);
            if secret && fields.get("value").is_some_and(Value::is_string) {
                fields.insert("value".into(), merge_patch::HIDDEN.into());
            }
            fields.values_mut().for_each(hide_secrets);
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn sounds_secret(name: &str) -> bool {
    let name = name.to_ascii_uppercase();
    [
        "PASSWORD",
        "PASSWD",
        "SECRET",
        "TOKEN",
        "KEY",
        "CREDENTIAL",
        "DSN",
    ]
    .iter()
    .any(|part| name.contains(part))
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// Builds an object of the API from JSON.
    pub fn object(kind: Kind, json: Value) -> Object {
        Object {
            kind,
            object: serde_json::from_value(json).unwrap(),
        }
    }

    #[test]
    fn the_version_follows_the_spec_and_not_the_status() {
        let at = |version: &str, generation: i64| {
            let json = json!({"metadata": {"uid": "u", "generation": generation, "resourceVersion": version}});
            object(Kind::Deployment, json).version()
        };
        assert_eq!(at("10", 3), at("11", 3));
        assert_ne!(at("11", 3), at("11", 4));
    }

    #[test]
    fn what_sounds_like_a_secret_is_not_shown() {
        let json = json!({"metadata": {}, "spec": {"template": {"spec": {"containers": [
            {"name": "web", "env": [{"name": "DB_PASSWORD", "value": "hunter2"}, {"name": "MODE", "value": "fast"}]}
        ]}}}});
        let shown = object(Kind::Deployment, json).shown().to_string();
        assert!(
            !shown.contains("hunter2") && shown.contains("fast"),
            "{shown}"
        );
    }

    #[test]
    fn an_empty_selector_selects_nothing() {
        let json = json!({"metadata": {}, "spec": {"selector": {}}});
        assert_eq!(object(Kind::Deployment, json).selector(), None);
        let json = json!({"metadata": {}, "spec": {"selector": {"matchLabels": {"app": "web"}}}});
        assert_eq!(
            object(Kind::Deployment, json).selector().as_deref(),
            Some("app=web")
        );
    }
}
