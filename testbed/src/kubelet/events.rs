//! Kubernetes's events about pods.

use std::collections::HashMap;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Event, Pod};
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client, Resource};
use serde_json::json;
use tokio::sync::mpsc;

use super::NODE;

/// Maximum number of events that wait to be sent. Further events are dropped, because they inform
/// and nothing depends on them.
const WAITING: usize = 256;
/// Maximum number of events whose repetitions are counted instead of sent anew.
const REMEMBERED: usize = 1_024;

/// An event that waits to be sent.
#[derive(Debug)]
struct Happening {
    namespace: String,
    event: Event,
}

/// Queue of the events. Clones write to the same queue.
#[derive(Debug, Clone)]
pub(super) struct Events(mpsc::Sender<Happening>);

impl Events {
    /// Returns the queue, and the future that sends the events.
    pub(super) fn new(client: Client) -> (Self, impl Future<Output = ()> + Send) {
        let (sender, receiver) = mpsc::channel(WAITING);
        (Self(sender), record(client, receiver))
    }

    /// Reports an ordinary event about a container of `pod`.
    pub(super) fn normal(&self, pod: &Pod, container: &str, reason: &str, message: String) {
        self.tell(pod, container, "Normal", reason, message);
    }

    /// Reports an event about a container of `pod` that needs attention.
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
        // The queue is full or the kubelet is ending; see `WAITING`.
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
            // The usual reason is that the event has expired, so it is sent anew.
        }
        match api.create(&PostParams::default(), &event).await {
            Ok(created) => {
                if told.len() >= REMEMBERED {
                    told.clear();
                }
                told.insert(key, (created.metadata.name.unwrap_or_default(), 1));
            }
            Err(error) => tracing::debug!(%error, "failed to send an event"),
        }
    }
}
