//! What the operator configures, with the rate that the analyst chooses.

use std::collections::BTreeMap;

use anomalyzer_plugin_sdk::Target;
use anomalyzer_plugin_sdk::serde_json::Value;
use schemars::JsonSchema;
use serde::Deserialize;

/// How traffic is limited: by a patch, by a request, or by both.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Parameters {
    /// An object that is patched.
    pub patch: Option<Patch>,
    /// A request that is sent.
    pub http: Option<Http>,
    /// Stands where `{rate}` is written in the strings of both.
    pub requests_per_second: Option<f64>,
}

/// A merge patch (RFC 7396).
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Patch {
    /// What is patched: often not the target itself, but the ingress before it.
    pub target: PatchTarget,
    /// The patch.
    pub patch: Value,
}

/// What is patched.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PatchTarget {
    /// The cluster.
    #[serde(default = "default_cluster")]
    pub cluster: String,
    /// Empty for what has none.
    #[serde(default)]
    pub namespace: String,
    /// `Deployment`, `Process`, or `Kind.group`.
    pub kind: String,
    /// The object's name.
    pub name: String,
}

fn default_cluster() -> String {
    "default".to_owned()
}

impl From<PatchTarget> for Target {
    fn from(target: PatchTarget) -> Self {
        Self {
            cluster: target.cluster,
            namespace: target.namespace,
            kind: target.kind,
            name: target.name,
        }
    }
}

/// A request.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Http {
    /// The method.
    #[serde(default = "default_method")]
    pub method: String,
    /// The absolute URL.
    pub url: String,
    /// Headers by name.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// Text is sent as it is, anything else as JSON.
    #[serde(default)]
    pub body: Option<Value>,
}

fn default_method() -> String {
    "POST".to_owned()
}
