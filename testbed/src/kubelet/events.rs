//! Kubernetes's events about pods.

use std::collections::HashMap;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Event, Pod};
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client, Resource};
use serde_json::json;
use tokio::sync::mpsc;

use super::NODE;

/// Events that wait to be sent; more are dropped, for they are told and not needed.
const WAITING: usize = 256;
/// Events whose repetitions are counted up instead of told anew.
const REMEMBERED: usize = 1_024;

/// What is going on.
#[derive(Debug)]
struct Happening {
    namespace: String,
    event: Event,
}

/// Where events are handed in.
#[derive(Debug, Clone)]
pub(super) struct Events(mpsc::Sender<Happening>);

impl Events {
    /// The way in, and the work that sends them.
    pub(super) fn new(client: Client) -> (Self, impl Future<Output = ()> + Send) {
        let (sender, receiver) = mpsc::channel(WAITING);
        (Self(sender), record(client, receiver))
    }

    /// Something ordinary happened to a container of `pod`.
    pub(super) fn normal(&self, pod: &Pod, container: &str, reason: &str, message: String) {
        self.tell(pod, container, "Normal", reason, message);
    }

    /// Something happened to a container of `pod` that somebody should look at.
    pub(super) fn warning(&self, pod: &Pod, container: &str, reason: &str, message: String) {
        self.tell(pod, container, "Warning", reason, message);
    }

    fn tell(&self, pod: &Pod, container: &str, kind: &str, reason: &str, message: String) {
        let namespace = pod.metadata.namespace.clone().unwrap_or_default();
        let mut about = pod.object_ref(&());
        about.field_path = Some(format!("spec.containers{{{container}}}"));
        let now = k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(Timestamp::now());
        let mut event = Event {
            involved_object: about,
            type_: Some(kind.to_owned()),
            reason: Some(reason.to_owned()),
            message: Some(message),
            count: Some(1),
            first_timestamp: Some(now.clone()),
            last_timestamp: Some(now),
            reporting_component: Some("kubelet".to_owned()),
            reporting_instance: Some(NODE.to_owned()),
            ..Event::default()
        };
        event.metadata.generate_name = pod.metadata.name.as_ref().map(|name| format!("{name}."));
        event.source = Some(k8s_openapi::api::core::v1::EventSource {
            component: Some("kubelet".to_owned()),
            host: Some(NODE.to_owned()),
        });
        // Full or ending: see `WAITING`.
        let _dropped = self.0.try_send(Happening { namespace, event });
    }
}

async fn record(client: Client, mut happenings: mpsc::Receiver<Happening>) {
    let mut told: HashMap<String, (String, i32)> = HashMap::new();
    while let Some(Happening { namespace, event }) = happenings.recv().await {
        let api: Api<Event> = Api::namespaced(client.clone(), &namespace);
        let key = format!(
            "{:?} {:?} {:?}",
            event.involved_object, event.reason, event.message
        );
        if let Some((name, count)) = told.get_mut(&key) {
            *count += 1;
            let patch = json!({ "count": *count, "lastTimestamp": event.last_timestamp });
            if api
                .patch(name, &PatchParams::default(), &Patch::Merge(patch))
                .await
                .is_ok()
            {
                continue;
            }
            // Most likely it has expired, and is told anew.
        }
        match api.create(&PostParams::default(), &event).await {
            Ok(created) => {
                if told.len() >= REMEMBERED {
                    told.clear();
                }
                told.insert(key, (created.metadata.name.unwrap_or_default(), 1));
            }
            Err(error) => tracing::debug!(%error, "an event could not be told"),
        }
    }
}
