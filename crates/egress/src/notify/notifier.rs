//! Sender of notices.

use std::time::Duration;

use futures::future::join_all;
use serde_json::Value;
use tokio::time::sleep;

use super::body;
use super::config::check_url;
use super::{About, ChannelConfig, ChannelKind, NotifyConfig};
use anomalyzer_common::http_client;
use anomalyzer_domain::{IncidentId, Notice, Target};

/// Result of a delivery, by channel.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Delivered {
    /// Channels that accepted the notice.
    pub delivered: Vec<String>,
    /// Channels that failed, each with the reason.
    pub failed: Vec<(String, String)>,
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

/// Sender of notices.
#[derive(Debug)]
pub struct Notifier {
    config: NotifyConfig,
    client: reqwest::Client,
}

/// Result of one attempt to send.
enum Try {
    Done,
    Again(String),
    Failed(String),
}

impl Notifier {
    /// Checks the configuration. Sends nothing.
    pub fn new(mut config: NotifyConfig) -> Result<Self, NotifyError> {
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
        Ok(Self { config, client })
    }

    /// Sends a notice to its channel, or for `default` to all channels that are marked as default,
    /// concurrently. Ends after at most `attempts` × `timeout` plus the waits between the attempts.
    pub async fn notify(&self, notice: &Notice, about: &About) -> Result<Delivered, NotifyError> {
        let wanted = |name: &str, channel: &ChannelConfig| match notice.channel.as_str() {
            "default" => channel.default,
            other => other == name,
        };
        let channels: Vec<_> = self
            .config
            .channels
            .iter()
            .filter(|(name, channel)| wanted(name, channel))
            .collect();
        if channels.is_empty() {
            return Err(NotifyError::UnknownChannel {
                channel: notice.channel.clone(),
                known: self
                    .config
                    .channels
                    .keys()
                    .cloned()
                    .collect::<Vec<_>>()
                    .join(", "),
            });
        }
        let sent = channels
            .iter()
            .map(|(name, channel)| self.send(name, channel, notice, about));
        let mut all = Delivered::default();
        for ((name, _), result) in channels.iter().zip(join_all(sent).await) {
            match result {
                Ok(()) => all.delivered.push((*name).clone()),
                Err(why) => all.failed.push(((*name).clone(), why)),
            }
        }
        Ok(all)
    }

    async fn send(
        &self,
        name: &str,
        channel: &ChannelConfig,
        notice: &Notice,
        about: &About,
    ) -> Result<(), String> {
        let body = match channel.kind {
            ChannelKind::Log => {
                let target = about.target.as_ref().map(Target::to_string);
                let incident = about.incident.as_ref().map(IncidentId::as_str);
                tracing::warn!(
                    incident.id = incident, operation.id = %about.operation, target, severity = about.severity,
                    text = notice.text, "{}", notice.title
                );
                return Ok(());
            }
            ChannelKind::Webhook => body::webhook(notice, about),
            ChannelKind::Alertmanager => body::alertmanager(channel, notice, about),
            ChannelKind::Slack => body::slack(notice),
        };
        let mut url = address(channel).await?;
        if channel.kind == ChannelKind::Alertmanager {
            let path = format!("{}/api/v2/alerts", url.path().trim_end_matches('/'));
            url.set_path(&path);
        }
        let mut delay = self.config.retry_delay;
        let mut attempt = 1;
        loop {
            match self.post(&url, &body, about).await {
                Try::Done => return Ok(()),
                Try::Again(why) if attempt < self.config.attempts => {
                    tracing::debug!(channel = name, attempt, why, "retrying notice");
                    sleep(delay).await;
                    delay = delay.saturating_mul(2).min(Duration::from_secs(30));
                    attempt += 1;
                }
                Try::Again(why) => return Err(format!("{why} (tried {attempt} times)")),
                Try::Failed(why) => return Err(why),
            }
        }
    }

    async fn post(&self, url: &reqwest::Url, body: &Value, about: &About) -> Try {
        let request = self
            .client
            .post(url.clone())
            .header("Idempotency-Key", about.operation.as_str())
            .json(body);
        match request.send().await {
            Ok(answer) if answer.status().is_success() => Try::Done,
            Ok(answer) if answer.status().is_server_error() || answer.status() == 429 => {
                Try::Again(format!("it answered {}", answer.status()))
            }
            Ok(answer) => Try::Failed(format!("it answered {}", answer.status())),
            // The URL may be a secret.
            Err(error) => Try::Again(http_client::reason(error)),
        }
    }
}

async fn address(channel: &ChannelConfig) -> Result<reqwest::Url, String> {
    let url = match (&channel.url, &channel.url_file) {
        (Some(url), _) => url.reveal().to_owned(),
        (None, Some(file)) => tokio::fs::read_to_string(file)
            .await
            .map_err(|error| format!("cannot read its url_file {}: {error}", file.display()))?,
        (None, None) => return Err("it has no url".to_owned()),
    };
    check_url(url.trim()).map_err(|why| format!("its url {why}"))
}
