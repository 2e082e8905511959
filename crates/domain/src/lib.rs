//! The vocabulary of the service as types: signals, findings, incidents, solutions, decisions and
//! operations. This crate does no I/O and reads no clock: time is passed in as a value.

mod approval;
mod basis;
mod config_issue;
mod decision;
mod decision_state;
pub mod duration;
mod evidence;
mod finding;
mod id;
mod incident;
mod incident_view;
mod labels;
mod message;
mod number;
mod operation;
mod operation_record;
mod parameters;
mod permission;
mod plugin;
mod replay_context;
mod sample;
mod signal;
mod snapshot;
mod solution;
mod target;
#[cfg(any(test, feature = "test-support"))]
pub mod testing;
mod text;
mod time;
mod verdict;
mod verification;

pub use approval::{Answer, Question};
pub use basis::Basis;
pub use config_issue::{ConfigIssue, Step};
pub use decision::{Anomaly, Decision};
pub use decision_state::{DecisionState, InvalidTransition};
pub use evidence::{Evidence, EvidenceKind};
pub use finding::{Direction, Finding, Meaning, Phase, Range};
pub use id::{DecisionId, FindingId, IncidentId, OperationId, derive};
pub use incident::{Incident, IncidentEvent, IncidentEventKind};
pub use incident_view::IncidentView;
pub use labels::{
    Labels, LabelsError, MAX_LABEL_NAME_BYTES, MAX_LABEL_VALUE_BYTES, MAX_LABELS, MAX_LABELS_BYTES,
};
pub use message::{Delivery, Record, Topic, UNREADABLE};
pub use operation::{HttpRequest, LogRequest, MergePatch, Notice, Operation};
pub use operation_record::{OperationRecord, Outcome, OutcomeKind, Undo, UndoState};
pub use parameters::Parameters;
pub use permission::{Allowance, DeclaredEffect, Grant, Mode};
pub use plugin::{Approver, Origin, PluginChange, PluginChangeKind, PluginKind, Version};
pub use replay_context::{ReplayContext, WitnessMemory};
pub use sample::{Coverage, MetricBatch, STALE_NAN_BITS, Sample, Series};
pub use signal::{DetectorConfig, WatchedSignal};
pub use snapshot::{Autoscaler, PodSummary, Replicas, Snapshot};
pub use solution::{Analyst, AnalystKind, Proposal, Provenance, Solution, solutions};
pub use target::{PROCESS_KIND, ParseTargetError, Target, TargetPartError};
pub use text::{NameError, check_name, excerpt, is_hidden, one_line, truncate};
pub use time::{Clock, UnixMs, as_rfc3339, as_rfc3339_option, millis, rfc3339};
pub use verdict::{GuardVerdict, Verdict};
pub use verification::{Control, Verification, VerificationOutcome};
