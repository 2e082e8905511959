//! Creates missing topics and checks the settings of existing topics.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::metadata::Metadata;
use tokio::time::{Instant, sleep};

use super::config::KafkaConfig;
use anomalyzer_bus::{BusError, dead_letter_name};
use anomalyzer_domain::Topic;

/// Bytes allowed on top of a message for the batch on disk and for the reason of a dead letter.
const ON_TOP: usize = 1 << 20;
/// Overhead in bytes of a batch of one message, with a margin.
const AROUND: usize = 64 << 10;
const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(50);
/// Number of replicas of each partition if there are enough brokers.
const REPLICATION: usize = 3;
const DEAD_LETTERS_KEPT: Duration = Duration::from_secs(30 * 24 * 3600);
const EVENTS_KEPT: Duration = Duration::from_secs(7 * 24 * 3600);

/// Settings of a topic at its creation.
struct Plan {
    name: String,
    partitions: i32,
    settings: Vec<(&'static str, String)>,
}

fn retention(time: Duration) -> (&'static str, String) {
    ("retention.ms", time.as_millis().to_string())
}

fn plans(config: &KafkaConfig) -> Vec<Plan> {
    let many = i32::from(config.partitions.max(1));
    let hour = Duration::from_secs(3600).as_millis().to_string();
    let mut plans = Vec::new();
    for topic in Topic::ALL {
        let name = config.topics.of(topic).to_owned();
        let size = (
            "max.message.bytes",
            (config.max_message_bytes + ON_TOP).to_string(),
        );
        let (partitions, kept) = match topic {
            // Only whole segments are deleted. Without the second setting a quiet topic would keep
            // a week of samples.
            Topic::Metrics => (
                many,
                vec![
                    retention(config.metrics_retention),
                    ("segment.ms", hour.clone()),
                ],
            ),
            Topic::Incidents => (many, vec![retention(EVENTS_KEPT)]),
            Topic::Solutions => (1, vec![retention(EVENTS_KEPT)]),
            Topic::Decisions => (
                1,
                vec![
                    ("retention.ms", "-1".to_owned()),
                    ("retention.bytes", "-1".to_owned()),
                ],
            ),
        };
        let dead_letters = Plan {
            name: dead_letter_name(&name),
            partitions: 1,
            settings: vec![
                retention(DEAD_LETTERS_KEPT),
                (
                    "max.message.bytes",
                    (config.max_message_bytes + 2 * ON_TOP).to_string(),
                ),
            ],
        };
        plans.push(Plan {
            name,
            partitions,
            settings: kept.into_iter().chain([size]).collect(),
        });
        plans.push(dead_letters);
    }
    plans
}

/// Returns the size of the producer's largest request.
pub(super) fn max_request_bytes(config: &KafkaConfig) -> usize {
    config.max_message_bytes + 2 * ON_TOP
}

/// Client for the administration of topics.
pub(super) struct Topics {
    admin: Arc<AdminClient<DefaultClientContext>>,
    options: AdminOptions,
    deadline: Instant,
}

impl Topics {
    pub(super) fn new(client: &ClientConfig, time_limit: Duration) -> Result<Self, BusError> {
        let admin = client
            .create()
            .map_err(|e: KafkaError| BusError::Unavailable(format!("kafka: {e}")))?;
        let options = AdminOptions::new()
            .request_timeout(Some(time_limit))
            .operation_timeout(Some(time_limit));
        Ok(Self {
            admin: Arc::new(admin),
            options,
            deadline: Instant::now() + time_limit,
        })
    }

    /// Creates missing topics, refuses unusable ones, and returns the maximum message size of each
    /// topic.
    pub(super) async fn ensure(
        &self,
        config: &KafkaConfig,
    ) -> Result<HashMap<Topic, usize>, BusError> {
        let plans = plans(config);
        self.create_missing(config, &plans).await?;
        self.wait_for_leaders(config, &plans).await?;
        Ok(self.limits(config).await)
    }

    async fn metadata(&self) -> Result<Metadata, BusError> {
        let (admin, deadline) = (Arc::clone(&self.admin), self.deadline);
        let asked = tokio::task::spawn_blocking(move || {
            let left = deadline
                .saturating_duration_since(Instant::now())
                .max(Duration::from_millis(1));
            admin.inner().fetch_metadata(None, left)
        });
        asked
            .await
            .map_err(|_| BusError::Closed)?
            .map_err(|e| BusError::Unavailable(format!("kafka does not tell its topics: {e}")))
    }

    async fn create_missing(&self, config: &KafkaConfig, plans: &[Plan]) -> Result<(), BusError> {
        let metadata = self.metadata().await?;
        let known: HashSet<_> = metadata.topics().iter().map(|topic| topic.name()).collect();
        let brokers = metadata.brokers().len().clamp(1, REPLICATION);
        let replication = config
            .replication
            .map_or(brokers as i32, |copies| i32::from(copies.max(1)));
        let new: Vec<_> = plans
            .iter()
            .filter(|plan| !known.contains(plan.name.as_str()))
            .map(|plan| {
                let topic = NewTopic::new(
                    &plan.name,
                    plan.partitions,
                    TopicReplication::Fixed(replication),
                );
                let topic = plan
                    .settings
                    .iter()
                    .fold(topic, |topic, (name, value)| topic.set(name, value));
                // A write on two of three replicas survives the loss of one.
                if replication >= 3 {
                    topic.set("min.insync.replicas", "2")
                } else {
                    topic
                }
            })
            .collect();
        if new.is_empty() {
            return Ok(());
        }
        let created = self
            .admin
            .create_topics(&new, &self.options)
            .await
            .map_err(|e| BusError::Unavailable(format!("cannot create topics on kafka: {e}")))?;
        for result in created {
            match result {
                Ok(name) => tracing::info!(topic = name, "topic created"),
                // Another instance created the topic first.
                Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
                Err((name, code)) => {
                    return Err(BusError::Unavailable(format!(
                        "kafka does not create the topic {name}: {code}; create it by hand, or allow it (ACL Create)"
                    )));
                }
            }
        }
        Ok(())
    }

    /// Waits until all partitions have leaders. A new topic can be used only then.
    async fn wait_for_leaders(&self, config: &KafkaConfig, plans: &[Plan]) -> Result<(), BusError> {
        loop {
            let metadata = self.metadata().await?;
            let led: HashMap<_, _> = metadata
                .topics()
                .iter()
                .filter(|topic| !topic.partitions().is_empty())
                .filter(|topic| {
                    topic
                        .partitions()
                        .iter()
                        .all(|partition| partition.leader() >= 0)
                })
                .map(|topic| (topic.name(), topic.partitions().len()))
                .collect();
            for topic in [Topic::Solutions, Topic::Decisions] {
                let name = config.topics.of(topic);
                if let Some(partitions) = led.get(name).filter(|partitions| **partitions != 1) {
                    return Err(BusError::Unavailable(format!(
                        "the topic {name} has {partitions} partitions and must have one, so that only one server acts: \
                         create it again with one, or name another topic in the configuration"
                    )));
                }
            }
            let Some(missing) = plans
                .iter()
                .find(|plan| !led.contains_key(plan.name.as_str()))
            else {
                return Ok(());
            };
            if Instant::now() > self.deadline {
                return Err(BusError::Unavailable(format!(
                    "the topic {} has no leader: see whether all brokers are up",
                    missing.name
                )));
            }
            sleep(LOOK_AGAIN_AFTER).await;
        }
    }

    /// Returns the maximum message size of each topic. An existing topic may accept less than the
    /// configuration says.
    async fn limits(&self, config: &KafkaConfig) -> HashMap<Topic, usize> {
        let mut limits: HashMap<_, _> = Topic::ALL
            .map(|topic| (topic, config.max_message_bytes))
            .into();
        let asked = Topic::ALL.map(|topic| ResourceSpecifier::Topic(config.topics.of(topic)));
        match self.admin.describe_configs(&asked, &self.options).await {
            Ok(answers) => {
                for (topic, answer) in Topic::ALL.into_iter().zip(answers) {
                    let configured = answer
                        .ok()
                        .and_then(|resource| resource.get("max.message.bytes")?.value.clone());
                    let Some(limit) = configured.and_then(|value| value.parse::<usize>().ok())
                    else {
                        continue;
                    };
                    // The broker's limit includes the batch around the message.
                    let fits = limit.saturating_sub(AROUND);
                    if fits < config.max_message_bytes {
                        tracing::warn!(
                            topic = config.topics.of(topic),
                            limit = fits,
                            "topic limit is below the configured message size"
                        );
                        limits.insert(topic, fits);
                    }
                }
            }
            Err(error) => tracing::debug!(%error, "cannot read topic limits from kafka"),
        }
        limits
    }
}
