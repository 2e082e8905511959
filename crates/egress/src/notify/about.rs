//! Context of a notice.

use serde::{Deserialize, Serialize};

use anomalyzer_domain::{IncidentId, OperationId, Target, UnixMs};

/// Context of a notice.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct About {
    /// Id of the operation, which is also the `Idempotency-Key`.
    pub operation: OperationId,
    /// Incident of the notice.
    pub incident: Option<IncidentId>,
    /// Target of the incident.
    pub target: Option<Target>,
    /// Severity: `info`, `warning` or `critical`.
    pub severity: String,
    /// Time of the request.
    pub at: UnixMs,
    /// Time at which a question lapses. `None` for every other notice.
    #[serde(default)]
    pub until: Option<UnixMs>,
    /// Storm of alarms that the notice tells of. `None` for every other notice.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storm: Option<OperationId>,
}
