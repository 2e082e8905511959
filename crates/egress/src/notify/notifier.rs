//! Sender of notices.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::future::join_all;
use futures::stream::FuturesUnordered;
use parking_lot::Mutex;
use tokio::time::Instant;

use super::alerts::Alerts;
use super::channel::{Channel, MAX_WAITING};
use super::delivery::write_to_log;
use super::outbox::{Letter, Outbox};
use super::shared::Shared;
use super::{About, ChannelConfig, ChannelKind, ChannelStatus, NotifyConfig, body};
use anomalyzer_common::clock::now_ms;
use anomalyzer_common::http_client;
use anomalyzer_domain::{IncidentId, Notice, OperationId, UnixMs};

/// Time that the channels have to accept a notice before the sender goes on.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);
/// Time that the other channels have once one has accepted the notice.
const FURTHER_ANSWER_TIMEOUT: Duration = Duration::from_millis(250);

/// Result of a notice so far, by channel.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Delivered {
    /// Channels that accepted the notice.
    pub delivered: Vec<String>,
    /// Channels that failed, each with the reason.
    pub failed: Vec<(String, String)>,
    /// Channels that have not accepted the notice yet. The host goes on to send it.
    pub pending: Vec<String>,
}

/// Reason why a notice cannot be sent.
#[derive(Debug, thiserror::Error)]
pub enum NotifyError {
    /// Invalid configuration.
    #[error("{0}")]
    Config(String),
    /// No HTTP client.
    #[error("cannot make an HTTP client: {0}")]
    Client(#[from] reqwest::Error),
    /// Unknown channel.
    #[error("there is no channel `{channel}`: known are {known}")]
    UnknownChannel {
        /// Name of the requested channel.
        channel: String,
        /// Names of the known channels.
        known: String,
    },
}

/// Sender of notices. Clones share the channels.
#[derive(Clone, Debug)]
pub struct Notifier {
    shared: Arc<Shared>,
}

impl Notifier {
    /// Checks the configuration. Sends nothing, and keeps nothing over a restart.
    pub fn new(config: NotifyConfig) -> Result<Self, NotifyError> {
        Self::with_outbox(config, Outbox::default())
    }

    /// Checks the configuration. Keeps undelivered notices in `folder`; see [`Self::resume`].
    pub fn in_folder(config: NotifyConfig, folder: PathBuf) -> Result<Self, NotifyError> {
        Self::with_outbox(config, Outbox::in_folder(folder))
    }

    fn with_outbox(mut config: NotifyConfig, outbox: Outbox) -> Result<Self, NotifyError> {
        config
            .validate()
            .map_err(|issue| NotifyError::Config(issue.message))?;
        config
            .channels
            .entry("log".to_owned())
            .or_insert_with(|| ChannelConfig::new(ChannelKind::Log, None));
        if !config.channels.values().any(|channel| channel.default)
            && let Some(log) = config.channels.get_mut("log")
        {
            log.default = true;
        }
        let client = http_client::client(config.timeout)?;
        let channels = config.channels.iter().map(|(name, config)| {
            let channel = Channel::new(name.clone(), config.clone());
            (name.clone(), Arc::new(channel))
        });
        Ok(Self {
            shared: Arc::new(Shared {
                channels: channels.collect(),
                config,
                client,
                outbox,
                alerts: Alerts::default(),
                under_way: Mutex::default(),
            }),
        })
    }

    /// Sends the notices that an earlier run could not deliver.
    pub async fn resume(&self) {
        let outbox = self.shared.outbox.clone();
        let most = MAX_WAITING * self.shared.channels.len();
        let letters = tokio::task::spawn_blocking(move || outbox.letters(most)).await;
        for letter in letters.unwrap_or_default() {
            match self.shared.channels.get(&letter.channel) {
                Some(channel) => {
                    self.follow(channel, &letter.notice, &letter.about, false);
                    self.shared.deliver(letter, false).await;
                }
                None => {
                    tracing::error!(
                        channel = letter.channel,
                        title = letter.notice.title,
                        "undelivered notice is dropped: its channel is not configured any more"
                    );
                    self.shared.outbox.remove(&letter);
                }
            }
        }
    }

    /// Sends a notice to its channel, or for `default` to all channels that are marked as default.
    /// Returns after two seconds at the latest; the notice is on its way to the pending channels.
    ///
    /// # Errors
    /// There is no such channel.
    pub async fn notify(&self, notice: &Notice, about: &About) -> Result<Delivered, NotifyError> {
        let mut all = Delivered::default();
        let mut waiting = FuturesUnordered::new();
        for channel in self.channels_of(notice)? {
            if channel.config.kind == ChannelKind::Log {
                write_to_log(notice, about);
                all.delivered.push(channel.name.clone());
                continue;
            }
            if !self.follow(channel, notice, about, false) {
                tracing::error!(
                    channel = channel.name,
                    "too many alerts: this one is sent once and not repeated"
                );
            }
            let letter = Letter {
                channel: channel.name.clone(),
                notice: notice.clone(),
                about: about.clone(),
            };
            let mut progress = self.shared.deliver(letter, false).await;
            all.pending.push(channel.name.clone());
            waiting.push(async move {
                let result = progress.wait_for(Option::is_some).await;
                let result = result.ok().and_then(|result| result.clone());
                (channel.name.clone(), result)
            });
        }
        let now = Instant::now();
        let mut deadline = now + ANSWER_TIMEOUT;
        if !all.delivered.is_empty() {
            deadline = now + FURTHER_ANSWER_TIMEOUT;
        }
        while let Ok(Some((name, result))) = tokio::time::timeout_at(deadline, waiting.next()).await
        {
            let Some(result) = result else { continue };
            all.pending.retain(|pending| *pending != name);
            match result {
                Ok(()) => {
                    all.delivered.push(name);
                    deadline = deadline.min(Instant::now() + FURTHER_ANSWER_TIMEOUT);
                }
                Err(why) => all.failed.push((name, why)),
            }
        }
        all.delivered.sort();
        all.failed.sort();
        Ok(all)
    }

    fn channels_of(&self, notice: &Notice) -> Result<Vec<&Arc<Channel>>, NotifyError> {
        let channels = &self.shared.channels;
        let wanted: Vec<_> = match notice.channel.as_str() {
            "default" => channels
                .values()
                .filter(|channel| channel.config.default)
                .collect(),
            name => channels.get(name).into_iter().collect(),
        };
        if wanted.is_empty() {
            let known: Vec<_> = channels.keys().cloned().collect();
            return Err(NotifyError::UnknownChannel {
                channel: notice.channel.clone(),
                known: known.join(", "),
            });
        }
        Ok(wanted)
    }

    /// Begins to follow the alert of a notice, if `channel` is an Alertmanager. Returns false if
    /// there are too many alerts.
    fn follow(&self, channel: &Channel, notice: &Notice, about: &About, sent: bool) -> bool {
        let alertmanager = channel.config.kind == ChannelKind::Alertmanager;
        !alertmanager || {
            let alert = body::alert(&channel.config, notice, about);
            self.shared.alerts.begin(&channel.name, alert, about, sent)
        }
    }

    /// Follows the alert of a notice that an earlier run, or another server, has sent.
    pub fn restore_alert(&self, notice: &Notice, about: &About) {
        for channel in self.channels_of(notice).unwrap_or_default() {
            self.follow(channel, notice, about, true);
        }
    }

    /// Returns the incidents that Alertmanagers were told of, and whose end they do not know yet.
    pub fn alerted_incidents(&self) -> Vec<IncidentId> {
        self.shared.alerts.incidents()
    }

    /// Lets the alert of a storm last as long as this incident, besides others.
    pub fn join_storm(&self, storm: &OperationId, incident: &IncidentId) {
        let mut channels = self.shared.channels.values();
        let has_alerts = channels.any(|it| it.config.kind == ChannelKind::Alertmanager);
        if has_alerts && !self.shared.alerts.join_storm(storm, incident) {
            tracing::error!(
                incident.id = %incident,
                "too many incidents in storms: an alert may end before this incident"
            );
        }
    }

    /// Ends the alerts of an incident that is over since `at`.
    pub fn end_incident(&self, incident: &IncidentId, at: UnixMs) {
        self.shared.alerts.end_incident(incident, at.min(now_ms()));
    }

    /// Ends the alert of a question that is answered or lapsed.
    pub fn end_question(&self, operation: &OperationId) {
        self.shared.alerts.end_operation(operation, now_ms());
    }

    /// Sends the alerts that are due again. A channel that hangs delays no other one.
    pub async fn resend_alerts(&self) {
        let channels = self.shared.channels.values();
        let alertmanagers =
            channels.filter(|channel| channel.config.kind == ChannelKind::Alertmanager);
        join_all(alertmanagers.map(|channel| self.shared.resend(channel))).await;
    }

    /// Returns the interval at which alerts are sent again.
    pub fn resend_interval(&self) -> Duration {
        self.shared.config.resend_interval
    }

    /// Returns the state of each channel.
    pub fn status(&self) -> Vec<ChannelStatus> {
        let channels = self.shared.channels.values();
        channels.map(|channel| channel.status()).collect()
    }
}
