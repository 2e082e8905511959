//! Made-up situations to test a policy on. Facts that a case leaves out are those of an ordinary
//! day.

use serde::Deserialize;
use serde_json::{Value, json};

use super::default_operation::{notice, usual};
use super::{
    Approved, DiagnosisFacts, Effect, Facts, IncidentFacts, RateLimitFacts, Source, Spent,
    TargetFacts,
};
use anomalyzer_domain::{
    AnalystKind, Coverage, DeclaredEffect, HttpRequest, MergePatch, Mode, Operation, Replicas,
    Snapshot, Target, UnixMs, Verdict, as_rfc3339, solutions,
};

/// A situation, and the verdict that the guard is expected to give.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    /// Name of the case for display.
    pub name: String,
    /// Expected verdict.
    pub expect: Verdict,
    /// Expected rule, such as `policy:…` or `cooldown`. Any rule is accepted if it is not set.
    #[serde(default)]
    pub rule: Option<String>,
    /// The solution, such as `restart_service`.
    solution: String,
    target: Target,
    /// The operation. Defaults to the usual operation of the solution.
    #[serde(default)]
    operation: Option<CaseOperation>,
    /// Time of the request. Defaults to noon of a Thursday.
    #[serde(default = "noon", with = "as_rfc3339")]
    at: UnixMs,
    #[serde(default = "engine")]
    source: Source,
    #[serde(default = "two")]
    replicas: Option<Replicas>,
    #[serde(default)]
    incident: CaseIncident,
    #[serde(default)]
    diagnosis: CaseDiagnosis,
    #[serde(default = "one")]
    open_incidents: u32,
    #[serde(default)]
    spent: CaseSpent,
    /// True if a person has approved exactly this operation.
    #[serde(default)]
    approved: bool,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct CaseOperation {
    kind: Kind,
    /// Number of replicas to scale to, for `scale`.
    replicas: Option<u32>,
    /// Merge patch, for `patch`. By default it changes nothing that a rule looks at.
    #[serde(default)]
    patch: Option<Value>,
    /// Effect that the grant declares, for `http`.
    #[serde(default)]
    effect: Option<DeclaredEffect>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    Scale,
    Restart,
    RollBack,
    Patch,
    Http,
    Notify,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct CaseIncident {
    signals: Vec<String>,
    severity: f64,
    /// Age of the incident in minutes.
    minutes: u32,
    open: bool,
}

impl Default for CaseIncident {
    fn default() -> Self {
        Self {
            signals: vec![],
            severity: 2.0,
            minutes: 1,
            open: true,
        }
    }
}

#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct CaseDiagnosis {
    analyst: AnalystKind,
    confidence: f64,
    attempt: u32,
}

impl Default for CaseDiagnosis {
    fn default() -> Self {
        Self {
            analyst: AnalystKind::Rules,
            confidence: 0.8,
            attempt: 0,
        }
    }
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct CaseSpent {
    on_target: u32,
    in_namespace: u32,
    in_cluster: u32,
}

/// Noon of a Thursday.
pub(super) const NOON: UnixMs = 1_795_694_400_000;

fn noon() -> UnixMs {
    NOON
}

fn engine() -> Source {
    Source::Engine
}

#[expect(clippy::unnecessary_wraps, reason = "a default has the field's type")]
fn two() -> Option<Replicas> {
    Some(Replicas {
        desired: 2,
        ready: 2,
    })
}

fn one() -> u32 {
    1
}

impl Case {
    /// Returns the facts that the guard gets in this situation.
    ///
    /// # Errors
    /// Returns an error if the case has no operation and the solution has no usual one.
    pub fn facts(&self) -> Result<Facts, String> {
        let solution = self.solution.replace('-', "_");
        let person = self.source == Source::Person;
        Ok(Facts {
            now: self.at,
            jumped: 0,
            source: self.source,
            plugin_mode: Mode::Auto,
            target: Some(self.target.clone()),
            expires_at: self.at + 60_000,
            incident: (!person).then(|| IncidentFacts {
                open: Some(self.incident.open),
                coverage: Coverage {
                    asked: 1,
                    answered: 1,
                    failed: 0,
                },
                as_of: Some(self.at),
                signals: self.incident.signals.clone(),
                severity: self.incident.severity,
                opened_at: Some(self.at - i64::from(self.incident.minutes) * 60_000),
            }),
            diagnosis: DiagnosisFacts {
                analyst: self.diagnosis.analyst,
                confidence: self.diagnosis.confidence,
                attempt: self.diagnosis.attempt,
            },
            operation: Some(self.operation(&solution)?),
            effect: None,
            takes_back: false,
            approved: self.approved.then(|| Approved {
                by: "a person".into(),
                expires_at: self.at.saturating_add(60_000),
            }),
            snapshot: Some(Snapshot::plain(self.target.clone(), self.at, self.replicas)),
            target_facts: TargetFacts::default(),
            stopped: None,
            record_mismatch: None,
            silenced: None,
            open_incidents: self.open_incidents,
            spent: Spent {
                on_target: self.spent.on_target,
                in_namespace: self.spent.in_namespace,
                in_cluster: self.spent.in_cluster,
            },
            past: vec![],
            rate_limit: (solution == solutions::RATE_LIMIT).then(|| RateLimitFacts {
                patches: Some(self.target.clone()),
            }),
            solution,
        }
        .with_effect(self.declared()))
    }

    fn declared(&self) -> Option<Effect> {
        let effect = self.operation.as_ref()?.effect?;
        Some(Effect::declared(effect))
    }

    fn operation(&self, solution: &str) -> Result<Operation, String> {
        let target = &self.target;
        let desired = self.replicas.map_or(1, |replicas| replicas.desired);
        let Some(asked) = &self.operation else {
            return usual(solution, target, desired).ok_or_else(|| {
                format!(
                    "what {solution} does is not known: add `operation = {{ kind = \"restart\" }}`"
                )
            });
        };
        let target = target.clone();
        Ok(match asked.kind {
            Kind::Scale => Operation::Scale {
                target,
                replicas: asked.replicas.unwrap_or(desired + 1),
            },
            Kind::Restart => Operation::Restart { target },
            Kind::RollBack => Operation::RollBack { target },
            Kind::Patch => Operation::Patch(MergePatch {
                target,
                patch: asked.patch.clone().unwrap_or_else(|| json!({})),
            }),
            Kind::Http => Operation::Http(HttpRequest {
                method: "POST".into(),
                url: "http://example.com/".into(),
                headers: vec![],
                body: None,
            }),
            Kind::Notify => notice(),
        })
    }
}
