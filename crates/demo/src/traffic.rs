//! Traffic of the demo, and the replicas that receive it.

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::environment::Environment;
use super::load::{Load, LoadSettings};
use anomalyzer_service::Service;

/// Requests a second on an ordinary day.
pub(super) const RATE: f64 = 40.0;

/// Traffic of the demo, with the replicas that receive it.
pub(super) struct Traffic {
    /// Base URLs of the ready replicas.
    pub(super) replicas: watch::Receiver<Vec<String>>,
    /// Generator of the requests.
    pub(super) load: Load,
}

impl Traffic {
    /// Starts the traffic of an ordinary day.
    pub(super) fn start(
        environment: &Environment,
        running: Option<&Service>,
        shutdown: &CancellationToken,
    ) -> anyhow::Result<Self> {
        let replicas = environment.replicas(running, shutdown.child_token())?;
        let settings = LoadSettings {
            rate: RATE,
            amplitude: 0.0,
            ..LoadSettings::default()
        };
        let load = Load::start(replicas.clone(), &settings, shutdown.child_token())?;
        Ok(Self { replicas, load })
    }
}
