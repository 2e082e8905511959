//! Action that limits the traffic to a target.

mod parameters;

use anomalyzer_plugin_sdk::serde_json::{Map, Value};
use anomalyzer_plugin_sdk::{
    About, Action, Error, HttpRequest, Incident, MergePatch, Need, Operation, Plan, figure,
    in_words,
};

pub use parameters::{Http, Parameters, Patch, PatchTarget};

/// Action `rate-limit`.
pub struct RateLimit;

/// Placeholder for `requests_per_second` in the strings of the configured patch and request.
const PLACEHOLDER: &str = "{rate}";

impl Action for RateLimit {
    type Parameters = Parameters;

    const NEEDS: &'static [Need] = &[
        Need {
            operation: "patch",
            scope: "*",
        },
        Need {
            operation: "http",
            scope: "*",
        },
    ];

    fn about() -> About {
        About {
            name: "rate-limit",
            version: env!("CARGO_PKG_VERSION"),
            summary: "limits the traffic that a target accepts, in the way that is configured",
        }
    }

    fn plan(_: &Incident, parameters: Parameters) -> Result<Plan, Error> {
        let rate = Rate::new(parameters.requests_per_second)?;
        let mut operations = Vec::new();
        if let Some(Patch { target, patch }) = parameters.patch {
            let patch = rate.fill_in("patch", patch)?.to_string();
            operations.push(Operation::Patch(MergePatch {
                target: target.into(),
                patch,
            }));
        }
        if let Some(Http {
            method,
            url,
            headers,
            body,
        }) = parameters.http
        {
            let body = match body {
                None | Some(Value::Null) => None,
                Some(Value::String(text)) => Some(rate.fill_in_text("http.body", &text)?),
                Some(json) => Some(rate.fill_in("http.body", json)?.to_string()),
            };
            operations.push(Operation::Http(HttpRequest {
                method,
                url: rate.fill_in_text("http.url", &url)?,
                headers: headers.into_iter().collect(),
                body: body.map(String::into_bytes),
            }));
        }
        if operations.is_empty() {
            return Ok(Plan::give_up(
                "nothing is configured that limits traffic: set `patch` or `http`",
            ));
        }
        Ok(Plan::in_order(operations, |results| {
            let done = results
                .iter()
                .map(|(operation, _)| in_words(operation))
                .collect::<Vec<_>>();
            format!("traffic is limited by {}", done.join(" and "))
        }))
    }
}

/// Text that replaces the placeholder.
struct Rate(Option<String>);

impl Rate {
    fn new(requests_per_second: Option<f64>) -> Result<Self, Error> {
        match requests_per_second {
            Some(rate) if !(rate > 0.0 && rate.is_finite()) => Err(Error::Invalid(format!(
                "`requests_per_second` is {rate}: give a number above 0"
            ))),
            rate => Ok(Self(rate.map(figure))),
        }
    }

    fn fill_in_text(&self, key: &str, text: &str) -> Result<String, Error> {
        if !text.contains(PLACEHOLDER) {
            return Ok(text.to_owned());
        }
        let rate = self.0.as_deref().ok_or_else(|| {
            Error::Invalid(format!(
                "`{key}` has {PLACEHOLDER}, but `requests_per_second` is missing"
            ))
        })?;
        Ok(text.replace(PLACEHOLDER, rate))
    }

    fn fill_in(&self, key: &str, json: Value) -> Result<Value, Error> {
        Ok(match json {
            Value::String(text) => Value::String(self.fill_in_text(key, &text)?),
            Value::Array(items) => Value::Array(
                items
                    .into_iter()
                    .map(|item| self.fill_in(key, item))
                    .collect::<Result<_, _>>()?,
            ),
            Value::Object(fields) => {
                let filled = fields
                    .into_iter()
                    .map(|(name, value)| Ok((name, self.fill_in(key, value)?)));
                Value::Object(filled.collect::<Result<Map<_, _>, Error>>()?)
            }
            other => other,
        })
    }
}

anomalyzer_plugin_sdk::export_action!(RateLimit);

#[cfg(test)]
mod tests {
    use anomalyzer_plugin_sdk::Step;
    use anomalyzer_plugin_sdk::serde_json::{from_str, json};
    use anomalyzer_plugin_sdk::test::{Case, Played, all_done};

    use super::*;

    fn play(parameters: Value) -> Result<Played, Error> {
        Case {
            parameters,
            ..Case::default()
        }
        .play::<RateLimit>(all_done)
    }

    #[test]
    fn the_configured_object_is_patched_with_the_rate_in_its_strings() {
        let played = play(json!({
            "patch": {
                "target": {"namespace": "shop", "kind": "Ingress.networking.k8s.io", "name": "web"},
                "patch": {"metadata": {"annotations": {"nginx.ingress.kubernetes.io/limit-rps": "{rate}"}}, "n": [1, null]},
            },
            "requests_per_second": 50,
        }))
        .unwrap();
        let [Operation::Patch(patch)] = &played.operations[..] else {
            panic!("{played:?}")
        };
        assert_eq!(
            patch.target.to_string(),
            "default/shop/Ingress.networking.k8s.io/web"
        );
        assert_eq!(
            from_str::<Value>(&patch.patch).unwrap(),
            json!({"metadata": {"annotations": {"nginx.ingress.kubernetes.io/limit-rps": "50"}}, "n": [1, null]})
        );
        assert!(matches!(played.end, Step::Finished(_)));
    }

    #[test]
    fn the_configured_request_is_sent_with_the_rate_in_its_body() {
        for body in [json!("{\"rps\": \"{rate}\"}"), json!({"rps": "{rate}"})] {
            let played = play(json!({
                "http": {"method": "POST", "url": "http://127.0.0.1:8000/limit", "headers": {"content-type": "application/json"}, "body": body},
                "requests_per_second": 12.5,
            }))
            .unwrap();
            let [Operation::Http(request)] = &played.operations[..] else {
                panic!("{played:?}")
            };
            let body =
                from_str::<Value>(std::str::from_utf8(request.body.as_ref().unwrap()).unwrap())
                    .unwrap();
            assert_eq!(body, json!({"rps": "12.5"}));
            assert_eq!(
                request.headers,
                [("content-type".to_owned(), "application/json".to_owned())]
            );
        }
    }

    #[test]
    fn where_nothing_is_configured_it_gives_up() {
        let played = play(json!({})).unwrap();
        assert!(matches!(played.end, Step::GaveUp(why) if why.contains("nothing is configured")));
    }

    #[test]
    fn a_rate_that_is_missing_or_makes_no_sense_is_told() {
        let http = json!({"method": "POST", "url": "http://127.0.0.1/{rate}"});
        for parameters in [
            json!({"http": http}),
            json!({"http": http, "requests_per_second": 0}),
        ] {
            assert!(
                matches!(play(parameters), Err(Error::Invalid(why)) if why.contains("`requests_per_second`"))
            );
        }
        let typo = json!({"patch": {"target": {"kind": "Process", "nam": "web"}, "patch": {}}});
        assert!(matches!(play(typo), Err(Error::Invalid(why)) if why.contains("`nam`")));
    }
}
