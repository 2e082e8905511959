//! Delivery of one letter: attempts with growing waits, until the channel accepts or refuses it, or
//! it is too old.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use reqwest::header::HeaderMap;
use serde_json::Value;
use tokio::sync::watch;
use tokio::time::Instant;

use super::alerts;
use super::answer::{self, Attempt, MAX_BODY_BYTES};
use super::body;
use super::channel::Channel;
use super::config::check_url;
use super::outbox::Letter;
use super::shared::{Progress, Shared};
use super::{About, ChannelConfig, ChannelKind};
use anomalyzer_common::clock::now_ms;
use anomalyzer_common::{http_client, secret_file};
use anomalyzer_domain::{Notice, OperationId};

/// Longest wait between two attempts, unless the receiver asks for a longer one.
const MAX_DELAY: Duration = Duration::from_secs(60);

impl Shared {
    /// Begins to deliver a letter, and returns its progress. A letter under way is not begun again.
    /// A `report` tells of another channel, and its loss is not reported in turn.
    pub async fn deliver(self: &Arc<Self>, letter: Letter, report: bool) -> Progress {
        let (result, progress) = watch::channel(None);
        let Some(channel) = self.channels.get(&letter.channel).cloned() else {
            let _ = result.send(Some(Err("it is not configured".to_owned())));
            return progress;
        };
        {
            let mut under_way = self.under_way.lock();
            if let Some(known) = under_way.get(&letter.key()) {
                return known.clone();
            }
            if !channel.enter() {
                drop(under_way);
                let why = "too many notices wait for it".to_owned();
                self.abandon(&channel, &letter, &why, report);
                let _ = result.send(Some(Err(why)));
                return progress;
            }
            under_way.insert(letter.key(), progress.clone());
        }
        let (outbox, kept) = (self.outbox.clone(), letter.clone());
        let kept = tokio::task::spawn_blocking(move || outbox.keep(&kept)).await;
        if let Ok(Err(error)) = kept {
            tracing::warn!(%error, "undelivered notice would not survive a restart");
        }
        let shared = Arc::clone(self);
        tokio::spawn(async move {
            let delivered = shared.attempt_until_done(&channel, &letter).await;
            if let Err(why) = &delivered {
                shared.abandon(&channel, &letter, why, report);
            }
            shared.under_way.lock().remove(&letter.key());
            channel.leave();
            let outbox = shared.outbox.clone();
            let _ = tokio::task::spawn_blocking(move || outbox.remove(&letter)).await;
            let _ = result.send(Some(delivered));
        });
        progress
    }

    async fn attempt_until_done(
        self: &Arc<Self>,
        channel: &Arc<Channel>,
        letter: &Letter,
    ) -> Result<(), String> {
        let began = Instant::now();
        let mut delay = self.config.retry_delay;
        let mut attempts = 0;
        loop {
            let turn = channel.turn().await;
            attempts += 1;
            let attempt = self.attempt(channel, letter).await;
            let (why, after) = match attempt {
                Attempt::Accepted => {
                    channel.succeeded(1);
                    return Ok(());
                }
                Attempt::Refused(why) => return Err(why),
                Attempt::Later { why, after } => (why, after),
            };
            if let Some(after) = after {
                channel.pause(after);
            }
            drop(turn);
            let wait = after.map_or(delay, |after| after.max(self.config.retry_delay));
            if attempts >= self.config.attempts
                && began.elapsed() + wait >= self.config.give_up_after
            {
                return Err(format!("{why} (tried {attempts} times)"));
            }
            tracing::debug!(channel = channel.name, attempts, why, "retrying notice");
            if let Some(problem) = channel.failed(&why, false) {
                self.tell_others(channel, &problem);
            }
            tokio::time::sleep(wait).await;
            delay = delay.saturating_mul(2).min(MAX_DELAY);
        }
    }

    async fn attempt(&self, channel: &Channel, letter: &Letter) -> Attempt {
        let Letter { notice, about, .. } = letter;
        let config = &channel.config;
        let body = match config.kind {
            ChannelKind::Log => {
                write_to_log(notice, about);
                return Attempt::Accepted;
            }
            ChannelKind::Webhook => body::webhook(notice, about),
            ChannelKind::Slack => body::slack(notice, about, now_ms()),
            ChannelKind::Alertmanager => return self.attempt_alert(channel, letter).await,
        };
        self.post(config, &body, &about.operation).await
    }

    /// Sends an alert as it is at present: its incident may have ended meanwhile.
    async fn attempt_alert(&self, channel: &Channel, letter: &Letter) -> Attempt {
        let alert = body::alert(&channel.config, &letter.notice, &letter.about);
        let key = alerts::key(&channel.name, &alert);
        let interval = self.config.resend_interval;
        let followed = self.alerts.shown(&key, now_ms(), interval);
        let shown = followed.unwrap_or(alert);
        let sent = Value::Array(vec![shown]);
        let attempt = self
            .post(&channel.config, &sent, &letter.about.operation)
            .await;
        match &attempt {
            Attempt::Accepted => self.alerts.sent([(&key, &sent[0])], interval),
            Attempt::Refused(_) => self.alerts.forget(&key),
            Attempt::Later { .. } => {}
        }
        attempt
    }

    /// Sends the alerts again that are due on an Alertmanager.
    pub async fn resend(self: &Arc<Self>, channel: &Arc<Channel>) {
        let interval = self.config.resend_interval;
        let due = self.alerts.due(&channel.name, now_ms(), interval);
        for batch in due.chunks(alerts::BATCH) {
            let turn = channel.turn().await;
            let sent = batch.iter().map(|(_, body)| body.clone()).collect();
            let about = OperationId::derive(&["alerts", &now_ms().to_string()]);
            let attempt = self
                .post(&channel.config, &Value::Array(sent), &about)
                .await;
            drop(turn);
            let (why, abandoned) = match attempt {
                Attempt::Accepted => {
                    channel.succeeded(0);
                    let sent = batch.iter().map(|(key, body)| (key, body));
                    self.alerts.sent(sent, interval);
                    continue;
                }
                Attempt::Later { why, after } => {
                    channel.pause(after.unwrap_or(self.config.retry_delay));
                    (why, false)
                }
                Attempt::Refused(why) => (why, true),
            };
            if let Some(problem) = channel.failed(&why, abandoned) {
                self.tell_others(channel, &problem);
            }
            return;
        }
    }

    async fn post(&self, config: &ChannelConfig, body: &Value, id: &OperationId) -> Attempt {
        let later = |why| Attempt::Later { why, after: None };
        let mut url = match address(config).await {
            Ok(url) => url,
            // The file may be written any time.
            Err(why) => return later(why),
        };
        if config.kind == ChannelKind::Alertmanager {
            let path = format!("{}/api/v2/alerts", url.path().trim_end_matches('/'));
            url.set_path(&path);
        }
        let request = self
            .client
            .post(url)
            .header("Idempotency-Key", id.as_str())
            .json(body);
        let mut response = match request.send().await {
            Ok(response) => response,
            // The URL may be a secret.
            Err(error) => return later(http_client::reason(error)),
        };
        let (status, headers) = (response.status(), response.headers().clone());
        let body = match status.is_success() {
            true => vec![],
            false => beginning(&mut response).await,
        };
        judge_now(status, &headers, &body)
    }

    /// Abandons a letter: notes its loss, and tells people by the log and by the other channels.
    fn abandon(self: &Arc<Self>, channel: &Arc<Channel>, letter: &Letter, why: &str, report: bool) {
        let Letter { notice, about, .. } = letter;
        tracing::error!(
            channel = channel.name, operation.id = %about.operation, why, title = notice.title,
            "notice is abandoned"
        );
        if channel.config.kind == ChannelKind::Alertmanager {
            // The alert of an open incident is repeated, however often it was abandoned.
            let alert = body::alert(&channel.config, notice, about);
            self.alerts.repeat(&alerts::key(&channel.name, &alert));
        }
        let problem = channel.failed(why, true);
        if let Some(problem) = problem.filter(|_| !report) {
            self.tell_others(channel, &problem);
        }
    }

    /// Tells people by the other channels that a channel does not work: by those marked as default,
    /// or else by all.
    fn tell_others(self: &Arc<Self>, channel: &Channel, problem: &str) {
        let others = self
            .channels
            .values()
            .filter(|other| other.name != channel.name && other.config.kind != ChannelKind::Log);
        let (default, rest): (Vec<_>, Vec<_>) = others.partition(|other| other.config.default);
        let recipients = if default.is_empty() { rest } else { default };
        let title = format!("notices to the channel `{}` do not arrive", channel.name);
        tracing::error!(channel = channel.name, problem, "{title}");
        let at = now_ms();
        for other in recipients {
            let letter = Letter {
                channel: other.name.clone(),
                notice: Notice {
                    channel: other.name.clone(),
                    title: title.clone(),
                    text: format!(
                        "It {problem}. The command `anomalyzer status` shows each channel."
                    ),
                },
                about: About {
                    operation: OperationId::derive(&["channel", &channel.name, &at.to_string()]),
                    incident: None,
                    target: None,
                    severity: "warning".to_owned(),
                    at,
                    until: None,
                    storm: None,
                },
            };
            self.launch(letter);
        }
    }

    /// Delivers a report in a task of its own.
    fn launch(self: &Arc<Self>, letter: Letter) {
        let shared = Arc::clone(self);
        tokio::spawn(async move {
            shared.deliver(letter, true).await;
        });
    }
}

fn judge_now(status: reqwest::StatusCode, headers: &HeaderMap, body: &[u8]) -> Attempt {
    answer::judge(status, headers, body, SystemTime::now())
}

/// Writes a notice to the log.
pub fn write_to_log(notice: &Notice, about: &About) {
    let target = about.target.as_ref().map(ToString::to_string);
    let incident = about.incident.as_ref().map(|incident| incident.as_str());
    tracing::warn!(
        incident.id = incident, operation.id = %about.operation, target, severity = about.severity,
        text = notice.text, "{}", notice.title
    );
}

/// Reads the beginning of a body.
async fn beginning(response: &mut reqwest::Response) -> Vec<u8> {
    let mut body = Vec::new();
    while let Ok(Some(chunk)) = response.chunk().await {
        body.extend_from_slice(&chunk);
        if body.len() >= MAX_BODY_BYTES {
            break;
        }
    }
    body
}

async fn address(channel: &ChannelConfig) -> Result<reqwest::Url, String> {
    let url = match (&channel.url, &channel.url_file) {
        (Some(url), _) => url.reveal().to_owned(),
        (None, Some(file)) => secret_file::read(file)
            .await
            .map_err(|error| format!("cannot read its url_file {}: {error}", file.display()))?,
        (None, None) => return Err("it has no url".to_owned()),
    };
    check_url(url.trim()).map_err(|why| format!("its url {why}"))
}
