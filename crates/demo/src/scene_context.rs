//! Service, record and clients that every scene works with.

use std::time::Duration;

use anyhow::Context;
use serde_json::json;

use super::environment::Environment;
use super::narrator::Narrator;
use anomalyzer_common::http_client;
use anomalyzer_history::HistoryReader;
use anomalyzer_service::Service;

/// The running service of a demo, with the means to disturb it and to read its record.
pub(super) struct SceneContext<'a> {
    /// Output of the demo.
    pub(super) narrator: Narrator,
    /// Environment of the service.
    pub(super) environment: &'a Environment,
    /// The service.
    pub(super) running: &'a Service,
    /// Reader of the record.
    pub(super) reader: HistoryReader,
    /// Client of the application and of the API.
    pub(super) client: reqwest::Client,
}

impl<'a> SceneContext<'a> {
    pub(super) fn new(
        narrator: Narrator,
        environment: &'a Environment,
        running: &'a Service,
        reader: HistoryReader,
    ) -> anyhow::Result<Self> {
        Ok(Self {
            narrator,
            environment,
            running,
            reader,
            client: http_client::client(Duration::from_secs(5))?,
        })
    }

    /// Returns a timeout of `seconds`, which is longer on the real services.
    pub(super) fn within(&self, seconds: u64) -> Duration {
        Duration::from_secs(seconds * u64::from(self.environment.timeout_factor))
    }

    /// Switches a fault of a replica on.
    pub(super) async fn fault(&self, replica: &str, name: &str) -> anyhow::Result<()> {
        let url = format!("{replica}/fault/{name}");
        let answer = self
            .client
            .post(&url)
            .send()
            .await
            .with_context(|| format!("POST {url}"))?;
        anyhow::ensure!(
            answer.status().is_success(),
            "POST {url} answered {}",
            answer.status()
        );
        self.narrator.say(
            "fault",
            &format!("POST {url}"),
            &json!({ "fault": name, "replica": replica }),
        );
        Ok(())
    }
}

/// Calls `ask` until it returns a value.
///
/// # Errors
///
/// Returns an error with the text `otherwise` if there is no value within `time_limit`.
pub(super) async fn poll<T>(
    time_limit: Duration,
    otherwise: &str,
    mut ask: impl AsyncFnMut() -> Option<T>,
) -> anyhow::Result<T> {
    let deadline = tokio::time::Instant::now() + time_limit;
    loop {
        if let Some(answer) = ask().await {
            return Ok(answer);
        }
        anyhow::ensure!(
            tokio::time::Instant::now() < deadline,
            "{otherwise} within {time_limit:?}"
        );
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
