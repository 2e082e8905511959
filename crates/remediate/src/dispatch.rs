//! Dispatches an operation to the operator, channel or client that can perform it.

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::json;

use anomalyzer_collect::MetricSource;
use anomalyzer_domain::{Clock, Notice, Operation, OperationId, Snapshot, Target};
use anomalyzer_egress::http::HttpSender;
use anomalyzer_egress::notify::{About, Notifier};
use anomalyzer_operator::{Operator, OperatorError, Performed};

/// Operators, channels and clients through which the host observes and changes the world.
#[derive(Clone)]
pub struct Dispatcher {
    /// Operators, in the order in which they are asked to handle a target.
    pub operators: Vec<Arc<dyn Operator>>,
    /// Notifies people.
    pub notifier: Arc<Notifier>,
    /// Sends HTTP requests.
    pub http: Arc<HttpSender>,
    /// Answers queries for metrics.
    pub metrics: Arc<dyn MetricSource>,
    /// Query of each signal that is defined by one.
    pub queries: HashMap<String, String>,
    /// Wall clock.
    pub clock: Clock,
}

impl Dispatcher {
    /// Returns the operator that handles a target.
    pub fn operator(&self, target: &Target) -> Option<&Arc<dyn Operator>> {
        self.operators
            .iter()
            .find(|operator| operator.handles(target))
    }

    /// Returns a snapshot of the target.
    ///
    /// # Errors
    /// No operator handles the target, or the operator cannot inspect it.
    pub async fn inspect(&self, target: &Target) -> Result<Snapshot, OperatorError> {
        self.known(target)?.inspect(target).await
    }

    fn known(&self, target: &Target) -> Result<&Arc<dyn Operator>, OperatorError> {
        self.operator(target).ok_or_else(|| {
            OperatorError::Unsupported(format!(
                "no operator knows {target}: configure [kubernetes], or a group of that name in [local.groups]"
            ))
        })
    }

    /// Performs one operation.
    ///
    /// # Errors
    /// [`OperatorError`] says whether the operation may have happened.
    pub async fn perform(
        &self,
        id: &OperationId,
        operation: &Operation,
        basis: Option<&Snapshot>,
        about: &About,
    ) -> Result<Performed, OperatorError> {
        let only = |result| Performed {
            result,
            before: None,
            after: None,
            version: None,
        };
        match operation {
            Operation::Inspect { target } => {
                let snapshot = self.inspect(target).await?;
                Ok(only(serde_json::to_value(snapshot).unwrap_or_default()))
            }
            Operation::ReadLogs(request) => {
                let lines = self.known(&request.target)?.read_logs(request).await?;
                Ok(only(json!({ "lines": lines })))
            }
            Operation::Query { query } => {
                let series = self
                    .metrics
                    .query(query, (self.clock)())
                    .await
                    .map_err(|error| OperatorError::Unavailable(error.to_string()))?;
                let series: Vec<_> = series
                    .iter()
                    .map(|series| {
                        let samples: Vec<_> = series
                            .samples
                            .iter()
                            .map(|s| json!([s.at, s.value]))
                            .collect();
                        json!({ "labels": series.labels, "samples": samples })
                    })
                    .collect();
                Ok(only(json!({ "series": series })))
            }
            Operation::Scale { target, .. }
            | Operation::Restart { target }
            | Operation::RollBack { target } => self.change(id, operation, target, basis).await,
            Operation::Patch(patch) => self.change(id, operation, &patch.target, basis).await,
            Operation::Http(request) => self.http.perform(id, request).await,
            Operation::Notify(notice) => self.notify(notice, about).await,
            Operation::Custom { name, .. } => Err(OperatorError::Unsupported(format!(
                "the host does not know an operation `{name}`"
            ))),
        }
    }

    /// Sends a notice through its channels.
    ///
    /// # Errors
    /// No channel accepted the notice.
    pub async fn notify(&self, notice: &Notice, about: &About) -> Result<Performed, OperatorError> {
        let sent = self.notifier.notify(notice, about).await;
        let sent = sent.map_err(|error| OperatorError::Unsupported(error.to_string()))?;
        let failed: Vec<_> = sent
            .failed
            .iter()
            .map(|(name, why)| format!("{name}: {why}"))
            .collect();
        if sent.delivered.is_empty() && sent.pending.is_empty() {
            return Err(OperatorError::Unavailable(format!(
                "nobody was told: {}",
                failed.join("; ")
            )));
        }
        let mut result = json!({ "delivered": sent.delivered, "failed": failed });
        if !sent.pending.is_empty() {
            result["pending"] = json!(sent.pending);
        }
        Ok(Performed {
            result,
            before: None,
            after: None,
            version: None,
        })
    }

    async fn change(
        &self,
        id: &OperationId,
        operation: &Operation,
        target: &Target,
        basis: Option<&Snapshot>,
    ) -> Result<Performed, OperatorError> {
        let operator = self.known(target)?;
        let basis = basis.ok_or_else(|| {
            OperatorError::Unavailable(format!("{target} could not be inspected before"))
        })?;
        operator.perform(id, operation, basis).await
    }
}
