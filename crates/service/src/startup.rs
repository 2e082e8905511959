//! Start-up of the service, step by step.
//!
//! [`ServiceBuilder::run_steps`] shows the order. The API's address and tokens come first: a port
//! that is taken, or a token that cannot be read, must end the start before anything acts. The
//! plugins come last: they are foreign code, and must not keep the API, the operators and the
//! recovery of decisions from starting.

mod detection;
mod endpoint;
mod grace;
mod http;
mod parts;
mod remediation;
mod trial;

use std::time::Instant;

use tokio_util::sync::CancellationToken;

use self::endpoint::Endpoint;
use self::grace::shutdown_grace;
use self::parts::Startup;
use super::background;
use super::full_disk::{missing_room, wait_for_room};
use super::health_check::refresh_health;
use super::plugins;
use super::role::Role;
use super::running::Service;
use super::tasks::Tasks;
use crate::config::Config;

/// Configures and starts a [`Service`].
#[derive(Clone)]
pub struct ServiceBuilder {
    config: Config,
    role: Role,
}

impl Service {
    /// Returns a builder of a service that runs everything in one process.
    pub fn builder(config: Config) -> ServiceBuilder {
        let role = Role::Both;
        ServiceBuilder { config, role }
    }
}

impl ServiceBuilder {
    /// Sets the half of the service to run.
    #[must_use]
    pub fn role(mut self, role: Role) -> Self {
        self.role = role;
        self
    }

    /// Starts the service, and returns it once the API answers and the plugins are loaded. Plugins
    /// that load slowly are not waited for. Returns `None`, with all tasks ended, if the shutdown
    /// came first.
    ///
    /// # Errors
    /// The configuration is wrong or does not pass its trial, or the port, the broker, the plugin
    /// folder or the data folder is not available.
    pub async fn start(self, shutdown: CancellationToken) -> anyhow::Result<Option<Service>> {
        let grace = shutdown_grace(&self.config);
        let endpoint = Endpoint::open(&self.config, self.role).await?;
        loop {
            let tasks = Tasks::new(shutdown.child_token());
            let another = endpoint.try_clone()?;
            let error = tokio::select! {
                service = self.clone().run_steps(another, tasks.clone()) => match service {
                    Ok(service) => return Ok(Some(service)),
                    Err(error) => error,
                },
                // A step may wait, for example for a broker. The shutdown ends the tasks that run
                // by then as at any other time.
                () = shutdown.cancelled() => {
                    tasks.close();
                    tasks.join(grace).await;
                    return Ok(None);
                }
            };
            tasks.shutdown().cancel();
            tasks.close();
            tasks.join(grace).await;
            let Some(reason) = missing_room(&self.config.data_dir) else {
                return Err(error);
            };
            let Endpoint {
                listener, access, ..
            } = endpoint.try_clone()?;
            wait_for_room(&self.config, (listener, access), reason, &shutdown).await?;
        }
    }

    /// Runs the steps of the start-up in their order.
    async fn run_steps(self, endpoint: Endpoint, tasks: Tasks) -> anyhow::Result<Service> {
        let (began, role) = (Instant::now(), self.role);
        let startup = Startup::open(self.config, role, tasks).await?;
        let local = startup.process_groups()?;
        let source = anomalyzer_collect::source(&startup.config.collect)?;
        let storage = startup.history(local).await?;
        let open = match &storage {
            Some(storage) => {
                plugins::approve_earlier(&startup.plugins, &storage.history).await?;
                storage.history.open_incidents().await?
            }
            None => vec![],
        };
        startup.set_trial();
        let engine = match role.detects() {
            true => Some(startup.detection(&source, &open).await?),
            false => None,
        };
        let server = match storage {
            Some(storage) => Some(startup.remediation(storage, &source, open).await?),
            None => None,
        };
        let (config, spots) = (&startup.config, &startup.blind_spots);
        let watched = &startup.notifier;
        background::spawn_blind_spot_notices(&startup.tasks, config, spots, watched)?;
        let (work, checks) = engine.map_or((None, vec![]), |it| (Some(it.work), it.checks));
        let (service, checks) = startup.http(endpoint, checks, server).await;
        startup.plugins(work).await?;
        refresh_health(&checks, startup.tasks.health()).await;
        tracing::info!(
            address = %service.address,
            ?role,
            signals = service.signals,
            ready_ms = began.elapsed().as_millis() as u64,
            "ready"
        );
        Ok(service)
    }
}
