//! Domain types of the design. This module does no I/O and reads no clock: time is passed in as a
//! value.

mod approval;
mod basis;
mod decision;
pub mod duration;
mod finding;
mod id;
mod incident;
mod labels;
mod message;
mod number;
mod operation;
mod permission;
mod plugin;
mod sample;
mod snapshot;
mod solution;
mod target;
mod text;
mod time;

pub use approval::{Answer, Question};
pub use basis::{Basis, Witness, WitnessMemory};
pub use decision::{
    Anomaly, Control, Decision, DecisionState, GuardVerdict, OperationRecord, Outcome, OutcomeKind,
    Undo, UndoState, Verdict, Verification, VerificationOutcome,
};
pub use finding::{Direction, Finding, Meaning, Phase, Range};
pub use id::{DecisionId, FindingId, IncidentId, OperationId, derive};
pub use incident::{Incident, IncidentEvent, IncidentEventKind};
pub use labels::Labels;
pub use message::{Delivery, Record, Topic};
pub use operation::{HttpRequest, LogRequest, MergePatch, Notice, Operation};
pub use permission::{Allowance, Grant, Mode};
pub use plugin::{Origin, PluginChange, PluginChangeKind, PluginKind, Version};
pub use sample::{Coverage, MetricBatch, STALE_NAN_BITS, Sample, Series};
pub use snapshot::{Autoscaler, PodSummary, Replicas, Snapshot};
pub use solution::{
    Analyst, AnalystKind, Evidence, EvidenceKind, Parameters, Proposal, Provenance, Solution,
    solutions,
};
pub use target::{PROCESS_KIND, ParseTargetError, Target};
pub use text::truncate;
pub use time::{Clock, UnixMs, as_rfc3339, as_rfc3339_option, millis, rfc3339};
