//! Other controllers of a target: its autoscaler and its deployment tools.

use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use kube::core::{ApiResource, DynamicObject, GroupVersionKind};
use serde_json::Value;

use super::cluster::{Cluster, FIELD_MANAGER};
use super::error::ApiError;
use super::object::Object;
use anomalyzer_domain::{Autoscaler, Target};

/// Returns the autoscaler of `target`: a KEDA `ScaledObject` (which creates an autoscaler of its
/// own), or else a `HorizontalPodAutoscaler`.
pub async fn autoscaler(
    cluster: &Cluster,
    target: &Target,
) -> Result<Option<Autoscaler>, ApiError> {
    let kind = GroupVersionKind::gvk("keda.sh", "v1alpha1", "ScaledObject");
    let resource = ApiResource::from_gvk_with_plural(&kind, "scaledobjects");
    let (scaled, autoscalers) = futures::try_join!(
        cluster.list_custom(&resource, &target.namespace),
        cluster.list::<HorizontalPodAutoscaler>(&target.namespace, None)
    )?;
    let keda = scaled
        .iter()
        .flatten()
        .find_map(|object| scaled_object(object, target));
    Ok(keda.or_else(|| {
        autoscalers
            .iter()
            .find_map(|autoscaler| horizontal(autoscaler, target))
    }))
}

fn scaled_object(object: &DynamicObject, target: &Target) -> Option<Autoscaler> {
    let spec = object.data.get("spec")?;
    let reference = spec.get("scaleTargetRef")?;
    // KEDA means a Deployment if no kind is named.
    let kind = reference
        .get("kind")
        .and_then(Value::as_str)
        .unwrap_or("Deployment");
    if kind != target.kind || reference.get("name").and_then(Value::as_str) != Some(&target.name) {
        return None;
    }
    let bound = |name: &str, default: u32| {
        spec.get(name)
            .and_then(Value::as_u64)
            .and_then(|bound| u32::try_from(bound).ok())
            .unwrap_or(default)
    };
    Some(Autoscaler {
        kind: "ScaledObject".to_owned(),
        name: object.metadata.name.clone().unwrap_or_default(),
        min: bound("minReplicaCount", 0),
        max: bound("maxReplicaCount", 100),
    })
}

fn horizontal(autoscaler: &HorizontalPodAutoscaler, target: &Target) -> Option<Autoscaler> {
    let spec = &autoscaler.spec;
    let reference = &spec.scale_target_ref;
    if reference.kind != target.kind || reference.name != target.name {
        return None;
    }
    Some(Autoscaler {
        kind: "HorizontalPodAutoscaler".to_owned(),
        name: autoscaler.metadata.name.clone().unwrap_or_default(),
        min: spec
            .min_replicas
            .and_then(|min| u32::try_from(min).ok())
            .unwrap_or(1),
        max: u32::try_from(spec.max_replicas).unwrap_or_default(),
    })
}

/// Returns the field manager that changed the object last. Writers of the status do not count.
pub fn changed_by(object: &Object) -> Option<String> {
    let fields = object.object.metadata.managed_fields.iter().flatten();
    let changes = fields.filter(|field| field.subresource.as_deref() != Some("status"));
    // Times are in whole seconds. Of two changes in one second, that of someone else counts.
    let last = changes.max_by_key(|field| {
        let time = field.time.as_ref().map(|time| time.0);
        (time, field.manager.as_deref() != Some(FIELD_MANAGER))
    })?;
    last.manager.clone()
}

/// Returns the deployment tools of the object. Argo CD, Flux and Helm are recognised by their
/// labels, annotations and field managers.
pub fn managed_by(object: &Object) -> Vec<String> {
    let managers = || {
        object
            .object
            .metadata
            .managed_fields
            .iter()
            .flatten()
            .filter_map(|field| field.manager.as_deref())
    };
    let labelled = |names: &[&str]| names.iter().any(|name| object.label(name).is_some());
    let annotated = |names: &[&str]| names.iter().any(|name| object.annotation(name).is_some());
    let argocd = labelled(&["argocd.argoproj.io/instance"])
        || annotated(&[
            "argocd.argoproj.io/tracking-id",
            "argocd.argoproj.io/instance",
        ])
        || managers().any(|manager| manager.starts_with("argocd"));
    let flux = labelled(&[
        "kustomize.toolkit.fluxcd.io/name",
        "helm.toolkit.fluxcd.io/name",
    ]) || managers()
        .any(|manager| manager == "kustomize-controller" || manager == "helm-controller");
    let helm = object.label("app.kubernetes.io/managed-by") == Some("Helm")
        || annotated(&["meta.helm.sh/release-name"])
        || managers().any(|manager| manager == "helm");
    [("argocd", argocd), ("flux", flux), ("helm", helm)]
        .into_iter()
        .filter(|(_, seen)| *seen)
        .map(|(name, _)| name.to_owned())
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::object::Kind;
    use crate::object::tests::object;

    fn managed(metadata: &Value) -> Vec<String> {
        managed_by(&object(Kind::Deployment, json!({ "metadata": metadata })))
    }

    #[test]
    fn owners_are_known_by_labels_annotations_and_field_managers() {
        assert_eq!(
            managed(&json!({"labels": {"app.kubernetes.io/managed-by": "Helm"}})),
            ["helm"]
        );
        assert_eq!(
            managed(&json!({"annotations": {"argocd.argoproj.io/tracking-id": "x"}})),
            ["argocd"]
        );
        assert_eq!(
            managed(
                &json!({"managedFields": [{"manager": "kustomize-controller"}, {"manager": "argocd-controller"}]})
            ),
            ["argocd", "flux"]
        );
        assert!(
            managed(&json!({"managedFields": [{"manager": "kubectl-client-side-apply"}]}))
                .is_empty()
        );
    }

    #[test]
    fn the_last_change_of_the_spec_names_its_manager() {
        let field = |manager: &str, time: &str, subresource: Option<&str>| json!({"manager": manager, "time": time, "subresource": subresource});
        let (early, late) = ("2026-01-01T00:00:00Z", "2026-01-01T00:05:00Z");
        for (fields, expected) in [
            (
                json!([field("anomalyzer", early, None)]),
                Some("anomalyzer"),
            ),
            (
                json!([
                    field("argocd-controller", late, None),
                    field("anomalyzer", early, None)
                ]),
                Some("argocd-controller"),
            ),
            (
                json!([
                    field("argocd-controller", early, None),
                    field("anomalyzer", early, None)
                ]),
                Some("argocd-controller"),
            ),
            (
                json!([
                    field("kube-controller-manager", late, Some("status")),
                    field("helm", early, None)
                ]),
                Some("helm"),
            ),
            (
                json!([
                    field("kube-controller-manager", late, Some("scale")),
                    field("helm", early, None)
                ]),
                Some("kube-controller-manager"),
            ),
            (json!([]), None),
            (json!(null), None),
        ] {
            let web = object(
                Kind::Deployment,
                json!({"metadata": {"managedFields": fields}}),
            );
            assert_eq!(changed_by(&web).as_deref(), expected, "{fields}");
        }
    }

    #[test]
    fn a_scaled_object_without_a_kind_means_a_deployment() {
        let scaled: DynamicObject = serde_json::from_value(json!({
            "metadata": {"name": "s"}, "spec": {"scaleTargetRef": {"name": "web"}, "maxReplicaCount": 7}
        }))
        .unwrap();
        let found = scaled_object(&scaled, &Target::new("shop", "Deployment", "web")).unwrap();
        assert_eq!(
            (found.kind.as_str(), found.min, found.max),
            ("ScaledObject", 0, 7)
        );
        assert_eq!(
            scaled_object(&scaled, &Target::new("shop", "StatefulSet", "web")),
            None
        );
    }
}
