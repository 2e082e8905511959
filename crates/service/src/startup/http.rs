//! The API and the tasks beside it: the last step before the plugins.

use std::sync::Arc;

use anomalyzer_common::data_folder::make_private;
use anomalyzer_history::History;

use super::endpoint::Endpoint;
use super::grace::shutdown_grace;
use super::parts::Startup;
use super::remediation::Server;
use crate::backend::ServerBackend;
use crate::background;
use crate::engine_watch::EngineWatch;
use crate::health_check::{HealthCheck, health_loop, refresh_health};
use crate::running::Service;

impl Startup {
    /// Starts the tasks that watch the plugin folder and the health, then the API.
    pub(super) async fn http(
        &self,
        endpoint: Endpoint,
        engine_checks: Vec<HealthCheck>,
        server: Option<Server>,
    ) -> (Service, Arc<[HealthCheck]>) {
        // The parts have made their files by now.
        make_private(&self.config.data_dir);
        let tasks = &self.tasks;
        let history = server.as_ref().map(|server| server.history.clone());
        let local = server.as_ref().and_then(|server| server.local.clone());
        background::spawn_plugin_watcher(tasks, &self.plugins, history.as_ref());

        let mut checks = vec![
            HealthCheck::Bus(Arc::clone(&self.bus)),
            HealthCheck::Plugins(self.plugins.clone()),
            HealthCheck::BlindSpots(self.blind_spots.clone()),
            HealthCheck::Storage(self.storage.clone()),
        ];
        checks.extend(engine_checks);
        let server = server.map(|server| {
            checks.extend(server.checks);
            (server.backend, server.history)
        });
        let checks: Arc<[HealthCheck]> = checks.into();
        refresh_health(&checks, tasks.health()).await;
        let (health, shutdown) = (tasks.health().clone(), tasks.shutdown().clone());
        tasks.spawn(health_loop(Arc::clone(&checks), health, shutdown.clone()));
        tasks.spawn(self.engine_watch().run(shutdown));

        let router = match server {
            Some((backend, history)) => {
                let state = self.server_state(endpoint.access, backend, history);
                tasks.spawn(anomalyzer_api::watch_kill_switch(state.clone()));
                anomalyzer_api::router(state)
            }
            None => anomalyzer_api::engine_router(self.engine_state(endpoint.access)),
        };
        let (listener, shutdown) = (endpoint.listener, tasks.shutdown().clone());
        let metrics = self.metrics.clone();
        tasks.spawn(async move {
            let served = anomalyzer_api::serve(listener, router, metrics, shutdown);
            if let Err(error) = served.await {
                tracing::error!(%error, "the API ended");
            }
        });
        tasks.close();
        let service = Service {
            grace: shutdown_grace(&self.config),
            signals: self.config.signals().len(),
            bus: Arc::clone(&self.bus),
            history,
            local,
            incidents: self.incidents.clone(),
            detection: Arc::clone(&self.detection),
            address: endpoint.address,
            tasks: self.tasks.clone(),
            _folder: Arc::clone(&self.folder),
        };
        (service, checks)
    }

    fn engine_watch(&self) -> EngineWatch {
        EngineWatch {
            spots: self.blind_spots.clone(),
            bus: Arc::clone(&self.bus),
            detection: Arc::clone(&self.detection),
            progress: Arc::clone(&self.progress),
            plugins: self.plugins.clone(),
        }
    }

    fn server_state(
        &self,
        access: anomalyzer_api::Access,
        backend: ServerBackend,
        history: History,
    ) -> anomalyzer_api::ApiState {
        let (metrics, clock) = (self.metrics.clone(), self.clock.clone());
        let shutdown = self.tasks.shutdown().clone();
        let signals = self.config.signals();
        let detectors = signals.iter().flat_map(|signal| &signal.detectors);
        let watched_by = detectors.map(|detector| detector.name.clone()).collect();
        let backend = Arc::new(backend);
        anomalyzer_api::ApiState::new(access, backend, history, metrics, clock, shutdown)
            .with_kill_switch(self.kill_switch())
            .with_silences(self.silences.clone())
            .with_feedback(self.feedback.clone())
            .with_plugins(self.plugins.clone(), self.config.grants(), watched_by)
    }

    fn engine_state(&self, access: anomalyzer_api::Access) -> anomalyzer_api::EngineState {
        let (backend, metrics) = (Arc::new(self.probes()), self.metrics.clone());
        anomalyzer_api::EngineState::new(access, backend, metrics)
    }
}
