//! Settings of the action `rate_limit`.

use serde::{Deserialize, Serialize};

use anomalyzer_domain::{ConfigIssue, Parameters, Target};

/// Operation of `rate_limit` for one target: a merge patch or a request. The string `{rate}` in it
/// stands for the number of admitted requests per second.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RateLimitConfig {
    /// Target for which `rate_limit` is offered.
    pub target: Target,
    /// Merge patch: `{ target, patch }`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub patch: Option<serde_json::Value>,
    /// Request: `{ method, url, headers, body }`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http: Option<serde_json::Value>,
    /// Rate if the diagnosis states none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests_per_second: Option<u32>,
}

impl RateLimitConfig {
    /// Returns the parameters of the action.
    pub fn parameters(&self) -> Parameters {
        let mut parameters = Parameters::new();
        for (name, value) in [("patch", &self.patch), ("http", &self.http)] {
            if let Some(value) = value {
                parameters.insert(name.into(), value.clone());
            }
        }
        if let Some(rate) = self.requests_per_second {
            parameters.insert("requests_per_second".into(), rate.into());
        }
        parameters
    }

    /// Checks that there is one operation, and that the target of a patch can be read.
    pub(super) fn validate(&self) -> Result<(), ConfigIssue> {
        if self.patch.is_some() == self.http.is_some() {
            return Err(self.issue("give either `patch` or `http`"));
        }
        if let Some(patch) = &self.patch
            && let Err(error) = serde_json::from_value::<Target>(patch["target"].clone())
        {
            return Err(self.issue(&format!(
                "what its `patch` is for cannot be read ({error}): write `patch = {{ target = {{ kind, name }}, patch = {{ … }} }}`"
            )));
        }
        Ok(())
    }

    pub(super) fn issue(&self, why: &str) -> ConfigIssue {
        ConfigIssue::new(format!("rate limit of {}: {why}", self.target))
    }
}
