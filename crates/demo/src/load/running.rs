//! Traffic that runs, and its controls.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::settings::LoadSettings;
use super::shape::{Shape, Surges};
use super::status::{Counters, LoadStatus};
use super::traffic::Traffic;
use anomalyzer_common::http_client;

/// Running traffic. It ends with its shutdown token.
#[derive(Clone)]
pub struct Load {
    surges: Arc<Surges>,
    counters: Arc<Counters>,
    tasks: TaskTracker,
}

impl Load {
    /// Starts to send requests to the targets (base URLs such as `http://127.0.0.1:8000`), round
    /// robin over the newest list.
    pub fn start(
        targets: watch::Receiver<Vec<String>>,
        settings: &LoadSettings,
        shutdown: CancellationToken,
    ) -> anyhow::Result<Self> {
        let shape = Shape::new(settings)?;
        let client =
            http_client::client(settings.timeout).context("cannot set up the HTTP client")?;
        let load = Self {
            surges: Arc::default(),
            counters: Arc::default(),
            tasks: TaskTracker::new(),
        };
        let traffic = Traffic {
            targets,
            client,
            in_flight: settings.in_flight,
            surges: load.surges.clone(),
            counters: load.counters.clone(),
        };
        load.tasks.spawn(traffic.run(shape, shutdown));
        load.tasks.close();
        Ok(load)
    }

    /// Multiplies the rate by `factor` until the next change. A factor of 1 is the usual rate, and
    /// 0 stops the traffic.
    pub fn set_factor(&self, factor: f64) {
        self.surges.set(factor, None);
    }

    /// Multiplies the rate by `factor` for the duration `lasts`.
    pub fn surge(&self, factor: f64, lasts: Duration) {
        self.surges.set(factor, Some(lasts));
    }

    /// Returns the counters of requests and responses.
    pub fn status(&self) -> LoadStatus {
        self.counters.status(self.surges.factor())
    }

    /// Waits until the shutdown was requested and the traffic has ended.
    pub async fn ended(&self) {
        self.tasks.wait().await;
    }
}
