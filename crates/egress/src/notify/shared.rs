//! Parts that all deliveries share.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::watch;

use super::NotifyConfig;
use super::alerts::Alerts;
use super::channel::Channel;
use super::outbox::Outbox;

/// Result of a delivery. `None` while it is under way.
pub type Progress = watch::Receiver<Option<Result<(), String>>>;

/// Parts that all deliveries share.
#[derive(Debug)]
pub struct Shared {
    /// Configuration.
    pub config: NotifyConfig,
    /// HTTP client.
    pub client: reqwest::Client,
    /// Channels by name.
    pub channels: BTreeMap<String, Arc<Channel>>,
    /// Undelivered letters on disk.
    pub outbox: Outbox,
    /// Alerts that Alertmanagers hold.
    pub alerts: Alerts,
    /// Letters under way, by key.
    pub under_way: Mutex<HashMap<String, Progress>>,
}
