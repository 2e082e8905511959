//! Notices about what cannot be recorded. A full disk stops recording and acting, and never the
//! notification of people: a notice changes nothing.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use anomalyzer_domain::{Clock, IncidentId, Notice, OperationId, Target};
use anomalyzer_egress::notify::{About, Notifier};

/// Time that the channels get.
const NOTIFY_TIMEOUT: Duration = Duration::from_secs(60);
/// Maximum number of notices of one outage. The last of them says that no more follow.
const MAX_NOTICES: usize = 20;

/// Notices of the present outage of the record. Clones share them.
#[derive(Clone)]
pub struct OffRecord {
    notifier: Arc<Notifier>,
    clock: Clock,
    notified: Arc<Mutex<HashSet<String>>>,
}

/// Notice about something that is not on record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unrecorded {
    /// Key of the notice. People are told once per outage and key.
    pub key: String,
    /// Title, in one line.
    pub title: String,
    /// Body of the message.
    pub text: String,
    /// Incident, if the notice is about one.
    pub incident: Option<IncidentId>,
    /// Target, if the notice is about one.
    pub target: Option<Target>,
}

impl OffRecord {
    /// Creates the notices that go through `notifier`.
    pub fn new(notifier: Arc<Notifier>, clock: Clock) -> Self {
        Self {
            notifier,
            clock,
            notified: Arc::default(),
        }
    }

    /// Tells people, unless they were told in this outage. Returns when the channels are done.
    pub async fn tell(&self, mut unrecorded: Unrecorded) {
        {
            let mut notified = self.notified.lock();
            if notified.len() >= MAX_NOTICES || !notified.insert(unrecorded.key.clone()) {
                return;
            }
            if notified.len() == MAX_NOTICES {
                unrecorded
                    .text
                    .push_str("\nNo more notices follow until the record can be written again.");
            }
        }
        let notice = Notice {
            channel: "default".to_owned(),
            title: unrecorded.title,
            text: unrecorded.text,
        };
        let about = About {
            operation: OperationId::derive(&["off the record", &unrecorded.key]),
            incident: unrecorded.incident,
            target: unrecorded.target,
            severity: "critical".to_owned(),
            at: (self.clock)(),
            until: None,
            storm: None,
        };
        tracing::error!(title = notice.title, "telling people off the record");
        let notified = self.notifier.notify(&notice, &about);
        match tokio::time::timeout(NOTIFY_TIMEOUT, notified).await {
            Ok(Ok(sent)) if sent.failed.is_empty() => {}
            Ok(Ok(sent)) => tracing::warn!(failed = ?sent.failed, "some channels failed"),
            Ok(Err(error)) => tracing::warn!(%error, "all channels failed"),
            Err(_) => tracing::warn!("the channels took longer than {NOTIFY_TIMEOUT:?}"),
        }
    }

    /// Ends the outage: the next one begins with no notices.
    pub fn end(&self) {
        self.notified.lock().clear();
    }
}
