//! Configuration of the channels for notices.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use anomalyzer_common::secret_url::SecretUrl;
use anomalyzer_domain::{ConfigIssue, duration};

/// The `[notify]` table.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct NotifyConfig {
    /// Channels by name. The channel `log` exists even if it is not configured.
    pub channels: BTreeMap<String, ChannelConfig>,
    /// Timeout of one attempt.
    #[serde(with = "duration")]
    pub timeout: Duration,
    /// Minimum number of attempts before a notice is abandoned. A notice is retried if there is no
    /// connection or no response, and on status 408, 425, 429 and 5xx.
    pub attempts: u32,
    /// Wait after the first attempt. It doubles with each further one, up to a minute. A receiver
    /// that asks for a longer wait gets it, up to five minutes.
    #[serde(with = "duration")]
    pub retry_delay: Duration,
    /// Age at which an undelivered notice is abandoned.
    #[serde(with = "duration")]
    pub give_up_after: Duration,
    /// Interval at which an alert is sent to an Alertmanager again while its incident is open. The
    /// alert is valid for five intervals.
    #[serde(with = "duration")]
    pub resend_interval: Duration,
}

impl Default for NotifyConfig {
    fn default() -> Self {
        Self {
            channels: BTreeMap::new(),
            timeout: Duration::from_secs(10),
            attempts: 3,
            retry_delay: Duration::from_secs(1),
            give_up_after: Duration::from_secs(3_600),
            resend_interval: Duration::from_secs(60),
        }
    }
}

/// The `[notify.channels.NAME]` table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChannelConfig {
    /// Kind of the channel.
    #[serde(rename = "type")]
    pub kind: ChannelKind,
    /// True if the channel receives the notices to `default`. If no channel is marked, they go to
    /// `log`.
    #[serde(default)]
    pub default: bool,
    /// URL of the receiver, or of the Alertmanager (without `/api/v2/alerts`).
    #[serde(default)]
    pub url: Option<SecretUrl>,
    /// File with the URL, for a URL that is secret (such as Slack's). It is read again for each
    /// notice.
    #[serde(default)]
    pub url_file: Option<PathBuf>,
    /// Labels added to alerts (`alertmanager` only).
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// Target of an alert's link (`alertmanager` only).
    #[serde(default)]
    pub generator_url: Option<String>,
}

/// Kind of a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChannelKind {
    /// A line in the host's log.
    Log,
    /// A JSON POST.
    Webhook,
    /// The API v2 of a Prometheus Alertmanager.
    Alertmanager,
    /// An incoming webhook of Slack.
    Slack,
}

impl ChannelConfig {
    /// Creates a channel to `url`, or to the log.
    pub fn new(kind: ChannelKind, url: Option<String>) -> Self {
        Self {
            kind,
            default: false,
            url: url.map(SecretUrl::from),
            url_file: None,
            labels: BTreeMap::new(),
            generator_url: None,
        }
    }
}

impl NotifyConfig {
    /// Checks the bounds and each channel.
    ///
    /// # Errors
    /// Returns the first issue.
    pub fn validate(&self) -> Result<(), ConfigIssue> {
        if self.attempts == 0 || self.attempts > 10 {
            let message = format!("notify.attempts is {}: 1 to 10 make sense", self.attempts);
            return Err(ConfigIssue::at("attempts", message));
        }
        if self.timeout.is_zero() {
            let message = "notify.timeout must be above 0, for example \"10s\"";
            return Err(ConfigIssue::at("timeout", message));
        }
        if self.resend_interval < Duration::from_millis(100) {
            let message = "notify.resend_interval must be at least 100ms, for example \"1m\"";
            return Err(ConfigIssue::at("resend_interval", message));
        }
        for (name, channel) in &self.channels {
            channel
                .validate(name)
                .map_err(|issue| issue.within(name).within("channels"))?;
        }
        Ok(())
    }
}

impl ChannelConfig {
    fn validate(&self, name: &str) -> Result<(), ConfigIssue> {
        let wrong = |why: &str| ConfigIssue::new(format!("notify.channels.{name}{why}"));
        if name == "default" {
            return Err(wrong(
                ": `default` means all channels marked default = true: choose another name",
            ));
        }
        let log = self.kind == ChannelKind::Log;
        match (&self.url, &self.url_file) {
            (Some(_), Some(_)) => return Err(wrong(" has url and url_file: give one of them")),
            (None, None) if !log => return Err(wrong(" needs url or url_file")),
            (Some(url), None) if !log => {
                check_url(url.reveal())
                    .map_err(|why| wrong(&format!(".url {why}")).within("url"))?;
            }
            (Some(_), None) | (None, Some(_)) if log => {
                return Err(wrong(": the log has no url"));
            }
            _ => {}
        }
        let alert = self.kind == ChannelKind::Alertmanager;
        if !alert && (!self.labels.is_empty() || self.generator_url.is_some()) {
            return Err(wrong(": only an alertmanager has labels and generator_url"));
        }
        for label in self.labels.keys() {
            let first =
                label.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_');
            if !first
                || !label
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
            {
                let why = format!(".labels: `{label}` is no label: write letters, digits and _");
                return Err(wrong(&why).within(label).within("labels"));
            }
        }
        Ok(())
    }
}

/// Parses a URL that accepts a POST. The error message does not repeat the URL, because it may be
/// secret.
pub fn check_url(url: &str) -> Result<reqwest::Url, String> {
    let url = reqwest::Url::parse(url)
        .map_err(|error| format!("is no URL ({error}): write https://host/path"))?;
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
        return Err("must begin with http:// or https://".to_owned());
    }
    Ok(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_work_is_refused_with_the_key_and_the_remedy() {
        for (text, expected) in [
            (
                "channels.hook = {type = 'webhook'}",
                "notify.channels.hook needs url or url_file",
            ),
            (
                "channels.hook = {type = 'webhook', url = 'ftp://x'}",
                "notify.channels.hook.url must begin with http",
            ),
            (
                "channels.s = {type = 'slack', url = 'http://x', url_file = '/x'}",
                "give one of them",
            ),
            (
                "channels.s = {type = 'slack', url = 'http://x', labels = {a = 'b'}}",
                "only an alertmanager",
            ),
            ("channels.default = {type = 'log'}", "choose another name"),
            ("attempts = 0", "notify.attempts is 0"),
            (
                "resend_interval = '0s'",
                "notify.resend_interval must be at least",
            ),
        ] {
            let config: NotifyConfig = toml::from_str(text).unwrap();
            let error = config.validate().unwrap_err().message;
            assert!(error.contains(expected), "{error}");
        }
        assert!(toml::from_str::<NotifyConfig>("channels.x = {type = 'pigeon'}").is_err());
    }
}
