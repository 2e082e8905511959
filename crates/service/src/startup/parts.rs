//! Parts that every role has.

use std::sync::Arc;

use anomalyzer_bus::Bus;
use anomalyzer_bus_kafka::KafkaBus;
use anomalyzer_bus_sqlite::LocalBus;
use anomalyzer_common::blind_spot::BlindSpots;
use anomalyzer_common::clock::now_ms;
use anomalyzer_common::data_folder::DataFolder;
use anomalyzer_common::metrics::Metrics;
use anomalyzer_common::set_aside::SetAside;
use anomalyzer_detect::{DroppedCounters, EngineProgress, Feedback};
use anomalyzer_domain::Clock;
use anomalyzer_egress::notify::Notifier;
use anomalyzer_plugin_host::Plugins;
use anomalyzer_remediate::{KillSwitch, OffRecord, OpenIncidents, Silences};

use crate::backend::EngineBackend;
use crate::config::Config;
use crate::engine::DetectionStatus;
use crate::off_record_bus::OffRecordBus;
use crate::role::Role;
use crate::storage::{BUS_FILE_NAME, Stores};
use crate::tasks::Tasks;

/// Folder of the undelivered notices in the data folder.
const OUTBOX: &str = "notices";

/// Parts that every role has, for the steps of the start-up.
pub(super) struct Startup {
    pub(super) config: Arc<Config>,
    pub(super) role: Role,
    pub(super) tasks: Tasks,
    pub(super) bus: Arc<dyn Bus>,
    pub(super) plugins: Plugins,
    pub(super) silences: Silences,
    pub(super) feedback: Feedback,
    pub(super) metrics: Metrics,
    pub(super) clock: Clock,
    pub(super) notifier: Arc<Notifier>,
    pub(super) off_record: OffRecord,
    pub(super) folder: Arc<DataFolder>,
    pub(super) storage: Stores,
    pub(super) detection: DetectionStatus,
    pub(super) dropped: Arc<DroppedCounters>,
    pub(super) progress: Arc<EngineProgress>,
    pub(super) blind_spots: BlindSpots,
    pub(super) incidents: OpenIncidents,
}

impl Startup {
    /// Opens the data folder and the plugin folder, and connects to the bus.
    pub(super) async fn open(config: Config, role: Role, tasks: Tasks) -> anyhow::Result<Self> {
        let data_dir = &config.data_dir;
        let folder = Arc::new(DataFolder::open(data_dir, role.locks())?);
        let silences = Silences::open(data_dir)?;
        let feedback = Feedback::open(data_dir)?;
        let mut set_aside: Vec<SetAside> = Vec::new();
        set_aside.extend(silences.set_aside().cloned());
        set_aside.extend(feedback.set_aside().cloned());
        let mut plugin_config = config.plugins.clone();
        let store = &mut plugin_config.store;
        store.get_or_insert_with(|| data_dir.join(anomalyzer_plugin_host::STORE));
        let plugins = tokio::task::spawn_blocking(move || Plugins::open(plugin_config)).await??;
        let clock: Clock = Arc::new(now_ms);
        let notifier = Arc::new(Notifier::in_folder(
            config.notify.clone(),
            data_dir.join(OUTBOX),
        )?);
        let off_record = OffRecord::new(Arc::clone(&notifier), clock.clone());
        let bus: Arc<dyn Bus> = match &config.kafka {
            Some(kafka) => Arc::new(KafkaBus::connect(kafka.clone()).await?),
            None => {
                let path = data_dir.join(BUS_FILE_NAME);
                let bus = LocalBus::open(&path, config.local_bus.clone()).await?;
                set_aside.extend(bus.set_aside().cloned());
                let bus = Arc::new(OffRecordBus::new(Arc::new(bus), off_record.clone()));
                tasks.spawn(Arc::clone(&bus).run(tasks.shutdown().clone()));
                bus
            }
        };
        let storage = Stores::new(&config, set_aside);
        Ok(Self {
            config: Arc::new(config),
            role,
            tasks,
            bus,
            plugins,
            silences,
            feedback,
            metrics: Metrics::default(),
            clock,
            notifier,
            off_record,
            folder,
            storage,
            detection: DetectionStatus::default(),
            dropped: Arc::default(),
            progress: Arc::default(),
            blind_spots: BlindSpots::default(),
            incidents: OpenIncidents::default(),
        })
    }

    pub(super) fn probes(&self) -> EngineBackend {
        EngineBackend {
            bus: Arc::clone(&self.bus),
            plugins: self.plugins.clone(),
            health: self.tasks.health().clone(),
            metrics: self.metrics.clone(),
            signals: self.config.signals(),
            detection: Arc::clone(&self.detection),
            dropped: Arc::clone(&self.dropped),
            blind_spots: self.blind_spots.clone(),
            progress: Arc::clone(&self.progress),
            incidents: self.incidents.clone(),
            storage: self.storage.clone(),
        }
    }

    pub(super) fn kill_switch(&self) -> KillSwitch {
        KillSwitch::in_folder(&self.config.data_dir)
    }
}
