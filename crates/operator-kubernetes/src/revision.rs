//! Pod template of the previous revision, found in the way of `kubectl rollout undo`.

use std::collections::HashSet;

use k8s_openapi::api::apps::v1::{ControllerRevision, ReplicaSet};
use serde_json::Value;

use super::cluster::Cluster;
use super::error::ApiError;
use super::object::{Kind, Object};
use super::pods::owned;

/// Annotation in which the Deployment controller writes the revision number of a replica set.
const REVISION: &str = "deployment.kubernetes.io/revision";
/// Label by which the Deployment controller distinguishes its replica sets. It is no part of the
/// template.
const HASH: &str = "/metadata/labels/pod-template-hash";

/// Returns true if the controller has made a revision of the present template. If it has not, the
/// newest revision is that of an earlier template.
pub fn is_observed(object: &Object) -> bool {
    object
        .at("/status/observedGeneration")
        .as_i64()
        .unwrap_or_default()
        >= object.generation()
}

/// Returns the template of the previous revision, or `None` if there is none.
pub async fn previous_template(
    cluster: &Cluster,
    object: &Object,
) -> Result<Option<Value>, ApiError> {
    let namespace = object.namespace();
    let Some(selector) = object.selector() else {
        return Ok(None);
    };
    let owner = HashSet::from([object.uid().to_owned()]);
    let mut revisions: Vec<(i64, Value)> = match object.kind {
        Kind::Deployment => {
            let sets = cluster
                .list::<ReplicaSet>(namespace, Some(&selector))
                .await?;
            sets.iter()
                .filter(|set| owned(&set.metadata, &owner))
                .filter_map(of_replica_set)
                .collect()
        }
        Kind::StatefulSet | Kind::DaemonSet => {
            let all = cluster
                .list::<ControllerRevision>(namespace, Some(&selector))
                .await?;
            all.into_iter()
                .filter(|revision| owned(&revision.metadata, &owner))
                .filter_map(of_revision)
                .collect()
        }
        Kind::Pod | Kind::Ingress => return Ok(None),
    };
    revisions.sort_by_key(|(number, _)| *number);
    let _present = revisions.pop();
    Ok(revisions.pop().map(|(_, template)| template))
}

fn of_replica_set(set: &ReplicaSet) -> Option<(i64, Value)> {
    let number = set
        .metadata
        .annotations
        .as_ref()?
        .get(REVISION)?
        .parse()
        .ok()?;
    let mut template = serde_json::to_value(set.spec.as_ref()?.template.as_ref()?).ok()?;
    if let Some((labels, name)) = HASH.rsplit_once('/')
        && let Some(Value::Object(labels)) = template.pointer_mut(labels)
    {
        labels.remove(name);
    }
    Some((number, template))
}

/// Extracts the template. A revision holds a strategic merge patch that replaces the template:
/// `{"spec": {"template": {"$patch": "replace", …}}}`.
fn of_revision(revision: ControllerRevision) -> Option<(i64, Value)> {
    let mut template = revision.data?.0.pointer("/spec/template")?.clone();
    template.as_object_mut()?.remove("$patch");
    Some((revision.revision, template))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::object::tests::object;

    #[test]
    fn a_change_that_the_controller_has_not_seen_has_no_revision_yet() {
        let web = |observed: &Value| {
            let json =
                json!({"metadata": {"generation": 3}, "status": {"observedGeneration": observed}});
            object(Kind::Deployment, json)
        };
        assert!(is_observed(&web(&json!(3))));
        assert!(!is_observed(&web(&json!(2))));
        assert!(!is_observed(&web(&Value::Null)));
    }
}
