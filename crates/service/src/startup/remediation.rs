//! Collection, the history and the executor: the steps of the server.

use std::sync::Arc;

use anyhow::Context;

use anomalyzer_collect::MetricSource;
use anomalyzer_domain::{Incident, IncidentEvent, IncidentEventKind};
use anomalyzer_history::{History, HistoryReader};
use anomalyzer_operator_process::Local;
use anomalyzer_verification::RecentSamples;

use super::parts::Startup;
use crate::backend::ServerBackend;
use crate::background::{self, ServerWork};
use crate::collector::CollectorFactory;
use crate::executor::{self, ExecutorParts};
use crate::health_check::HealthCheck;
use crate::incidents;
use crate::record_watch;

/// Parts that the server opens before the engine starts.
pub(super) struct Storage {
    pub(super) local: Option<Arc<Local>>,
    pub(super) collector: CollectorFactory,
    pub(super) history: History,
}

/// Parts of the server that its API uses.
pub(super) struct Server {
    pub(super) backend: ServerBackend,
    pub(super) history: History,
    pub(super) local: Option<Arc<Local>>,
    pub(super) checks: Vec<HealthCheck>,
}

impl Startup {
    /// Opens the supervisor of process groups, if the role serves and any groups are configured.
    pub(super) fn process_groups(&self) -> anyhow::Result<Option<Arc<Local>>> {
        let config = &self.config;
        if !self.role.serves() || config.local.groups.is_empty() {
            return Ok(None);
        }
        let local = Local::open(config.local.clone(), &config.data_dir)?;
        Ok(Some(Arc::new(local)))
    }

    /// Builds the collector and opens the history, if the role serves.
    pub(super) async fn history(
        &self,
        local: Option<Arc<Local>>,
    ) -> anyhow::Result<Option<Storage>> {
        if !self.role.serves() {
            return Ok(None);
        }
        let (config, shutdown) = (&self.config, self.tasks.shutdown());
        let (local_ref, spots) = (local.as_ref(), &self.blind_spots);
        let collector = CollectorFactory::new(config, &self.bus, local_ref, shutdown, spots)?;
        let path = config.data_dir.join(anomalyzer_history::FILE_NAME);
        let log = self.bus.log_of_record();
        let history = History::open_with(&path, config.history, &self.metrics, log).await?;
        Ok(Some(Storage {
            local,
            collector,
            history,
        }))
    }

    /// Starts collection, the executor of decisions, and the tasks of the history.
    pub(super) async fn remediation(
        &self,
        storage: Storage,
        source: &Arc<dyn MetricSource>,
        open: Vec<Incident>,
    ) -> anyhow::Result<Server> {
        let Storage {
            local,
            collector,
            history,
        } = storage;
        let config = &self.config;
        self.restore_incidents(open);
        let (notifier, clock) = (Arc::clone(&self.notifier), self.clock.clone());
        let dispatcher =
            executor::dispatcher(config, local.as_ref(), source, notifier, clock).await?;
        let mut checks = vec![
            HealthCheck::KillSwitch(self.kill_switch()),
            HealthCheck::Clock(HistoryReader::clone(&history), self.clock.clone()),
        ];
        let operators = dispatcher.operators.iter().cloned();
        checks.extend(operators.map(HealthCheck::Operator));
        checks.push(HealthCheck::Notices(Arc::clone(&dispatcher.notifier)));
        checks.push(HealthCheck::Collect(collector.status()));
        let recent = RecentSamples::default();
        let parts = self.executor_parts(&history, &recent);
        let executor = executor::executor(config, dispatcher, self.off_record.clone(), parts);
        self.tasks.spawn(record_watch::run(
            Arc::clone(&self.bus),
            history.clone(),
            self.off_record.clone(),
            self.tasks.shutdown().clone(),
        ));
        let incident_group = incidents::group(self.bus.as_ref(), &config.data_dir)
            .with_context(|| format!("cannot use the data folder {}", config.data_dir.display()))?;
        let backend = ServerBackend {
            probes: self.probes(),
            collected: collector.status(),
            executor: Arc::clone(&executor),
            recent: recent.clone(),
        };
        let work = ServerWork {
            config: Arc::clone(config),
            bus: Arc::clone(&self.bus),
            clock: self.clock.clone(),
            history: history.clone(),
            incident_group,
            incidents: self.incidents.clone(),
            recent,
            executor,
            collector,
            local: local.clone(),
        };
        background::spawn_server_tasks(&self.tasks, &Arc::new(work));
        Ok(Server {
            backend,
            history,
            local,
            checks,
        })
    }

    /// Restores the open incidents of the history for the executor.
    fn restore_incidents(&self, open: Vec<Incident>) {
        for incident in open {
            let (kind, at) = (IncidentEventKind::Changed, incident.changed_at);
            self.incidents.take(&IncidentEvent::new(kind, at, incident));
        }
    }

    fn executor_parts(&self, history: &History, recent: &RecentSamples) -> ExecutorParts {
        ExecutorParts {
            plugins: self.plugins.clone(),
            history: history.clone(),
            bus: Arc::clone(&self.bus),
            recent: recent.clone(),
            incidents: self.incidents.clone(),
            clock: self.clock.clone(),
            silences: self.silences.clone(),
        }
    }
}
