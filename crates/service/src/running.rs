//! The running service.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::engine::DetectionStatus;
use super::health::Status;
use super::tasks::Tasks;
use anomalyzer_bus::Bus;
use anomalyzer_common::data_folder::DataFolder;
use anomalyzer_detect::DetectStatus;
use anomalyzer_history::History;
use anomalyzer_operator_process::Local;
use anomalyzer_remediate::OpenIncidents;

/// Longest time that the bus has at the end to write out its messages.
const BUS_DRAIN_TIMEOUT: Duration = Duration::from_secs(5);

/// A service that runs in this process; [`Service::builder`] starts it.
pub struct Service {
    pub(super) bus: Arc<dyn Bus>,
    pub(super) history: Option<History>,
    pub(super) local: Option<Arc<Local>>,
    pub(super) incidents: OpenIncidents,
    pub(super) detection: DetectionStatus,
    pub(super) signals: usize,
    pub(super) address: SocketAddr,
    pub(super) tasks: Tasks,
    /// Time that the tasks have to end after the shutdown.
    pub(super) grace: Duration,
    /// Lock of the data folder, held as long as the service lives.
    pub(super) _folder: Arc<DataFolder>,
}

impl Service {
    /// Returns the bus.
    pub fn bus(&self) -> Arc<dyn Bus> {
        Arc::clone(&self.bus)
    }

    /// Returns the history. The engine has none.
    pub fn history(&self) -> Option<&History> {
        self.history.as_ref()
    }

    /// Returns the supervisor of process groups, if any are configured. The engine has none.
    pub fn local(&self) -> Option<&Arc<Local>> {
        self.local.as_ref()
    }

    /// Returns the status of detection by signal. It is empty on a server without an engine.
    pub fn detection(&self) -> BTreeMap<String, DetectStatus> {
        self.detection.lock().clone()
    }

    /// Returns the number of configured signals.
    pub fn signals(&self) -> usize {
        self.signals
    }

    /// Returns the number of open incidents. It is 0 on the engine.
    pub fn open_incidents(&self) -> usize {
        self.incidents.open().len()
    }

    /// Returns the parts that do not work as they should, in words.
    pub fn problems(&self) -> Vec<String> {
        let parts = self.tasks.health().parts().into_iter();
        parts
            .filter(|(_, part)| part.status != Status::Ok)
            .map(|(name, part)| format!("{name}: {}", part.detail))
            .collect()
    }

    /// Returns the address of the API.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Waits until everything has ended after the shutdown. Tasks that do not end in time are cut
    /// off.
    pub async fn ended(self) {
        self.tasks.join(self.grace).await;
        if let Err(error) = self.bus.drain(BUS_DRAIN_TIMEOUT).await {
            tracing::warn!(%error, "messages were left in the bus");
        }
        if let Some(history) = &self.history {
            history.close().await;
        }
    }
}
