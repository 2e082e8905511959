//! Prometheus's HTTP service discovery: `[{"targets": ["127.0.1.5:8000"], "labels": {"pod":
//! "web-1"}}]`. <https://prometheus.io/docs/prometheus/latest/http_sd/>

use std::collections::BTreeMap;
use std::time::Duration;

use reqwest::Url;
use reqwest::header::ACCEPT;
use serde::Deserialize;

use anomalyzer_common::secret_url::shown;

use crate::SourceError;
use crate::fetch::{Bounds, SourceClient};

const BOUNDS: Bounds = Bounds {
    timeout: Duration::from_secs(5),
    body_limit: 4 << 20,
};

/// Prefix of labels that become parameters of the address.
const PARAMETER: &str = "__param_";

/// A group. Go writes `null` for an empty list, an empty map and an empty text, and it writes the
/// names of fields without tags with a capital. The usual cases of the names are read.
#[derive(Deserialize)]
struct Group {
    #[serde(default, alias = "Targets", alias = "TARGETS")]
    targets: Option<Vec<Option<String>>>,
    #[serde(default, alias = "Labels", alias = "LABELS")]
    labels: Option<BTreeMap<String, Option<String>>>,
}

/// One discovered address with its labels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Discovered {
    /// Address as `host:port`.
    pub address: String,
    /// Labels, including those that begin with `__`.
    pub labels: BTreeMap<String, String>,
}

impl Discovered {
    /// Returns the base address, such as `http://127.0.1.5:8000`.
    pub fn base_url(&self) -> String {
        let scheme = self.labels.get("__scheme__").map_or("http", String::as_str);
        format!("{scheme}://{}", self.address)
    }

    /// Returns the address of the metrics, such as `http://127.0.1.5:8000/metrics`. As in
    /// Prometheus, `__metrics_path__` may lack its first slash, and `__param_NAME` is a parameter.
    pub fn metrics_url(&self) -> String {
        let base = self.base_url();
        let Ok(mut url) = Url::parse(&base) else {
            // The scrape of this address fails and reports the reason.
            return base;
        };
        match self.labels.get("__metrics_path__") {
            Some(path) => url.set_path(path),
            None if url.path() == "/" => url.set_path("/metrics"),
            None => {}
        }
        for (name, value) in &self.labels {
            if let Some(name) = name.strip_prefix(PARAMETER) {
                url.query_pairs_mut().append_pair(name, value);
            }
        }
        url.into()
    }
}

/// Fetches the list of addresses. An empty list is valid.
pub async fn fetch(client: &SourceClient, url: &str) -> Result<Vec<Discovered>, SourceError> {
    let accept = (ACCEPT, "application/json");
    let answer = client
        .page(url, accept, "HTTP service discovery", BOUNDS)
        .await?;
    parse(&answer.body).map_err(|error| {
        let (url, reason) = (shown(url), error.to_string());
        if error.is_eof() {
            SourceError::CutShort { url, reason }
        } else {
            SourceError::Malformed { url, reason }
        }
    })
}

fn parse(body: &[u8]) -> Result<Vec<Discovered>, serde_json::Error> {
    let groups: Option<Vec<Group>> = serde_json::from_slice(body)?;
    let discovered = groups.into_iter().flatten().flat_map(|group| {
        // An empty label is no label.
        let labels: BTreeMap<String, String> = group
            .labels
            .unwrap_or_default()
            .into_iter()
            .filter_map(|(name, value)| Some((name, value.filter(|value| !value.is_empty())?)))
            .collect();
        let addresses = group.targets.unwrap_or_default().into_iter().flatten();
        let addresses = addresses.map(|address| address.trim().to_owned());
        let addresses = addresses.filter(|address| !address.is_empty());
        addresses.map(move |address| Discovered {
            address,
            labels: labels.clone(),
        })
    });
    Ok(discovered.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_target_of_a_group_has_the_labels_of_its_group() {
        let text = br#"[{"targets":["127.0.1.5:8000","127.0.1.6:8000"],"labels":{"pod":"web","__metrics_path__":"/m"}},
                        {"targets":["127.0.1.7:8000"]}]"#;
        let urls: Vec<String> = parse(text)
            .unwrap()
            .iter()
            .map(Discovered::metrics_url)
            .collect();
        assert_eq!(
            urls,
            [
                "http://127.0.1.5:8000/m",
                "http://127.0.1.6:8000/m",
                "http://127.0.1.7:8000/metrics"
            ]
        );
    }
    #[test]
    fn null_is_empty_as_in_go() {
        for (text, addresses) in [
            ("null", 0),
            ("[]", 0),
            (r#"[{"targets":null,"labels":null}]"#, 0),
            (r#"[{"targets":["a:1"],"labels":null}]"#, 1),
            (r#"[{"Targets":["a:1", "", " "],"Labels":{"x":""}}]"#, 1),
            (
                r#"[{"labels":{}},{"targets":["a:1",null],"labels":{"x":null,"__metrics_path__":""}}]"#,
                1,
            ),
        ] {
            let found = parse(text.as_bytes()).unwrap();
            assert_eq!(found.len(), addresses, "{text}");
            for found in found {
                assert_eq!(found.metrics_url(), "http://a:1/metrics");
                assert_eq!(found.labels, BTreeMap::new());
            }
        }
    }

    #[test]
    fn host_path_and_parameters_are_joined_as_in_prometheus() {
        for (labels, url) in [
            (&[("__metrics_path__", "m")][..], "http://h:1/m"),
            (&[("__metrics_path__", "/m")], "http://h:1/m"),
            (&[("__metrics_path__", "a b/c?d")], "http://h:1/a%20b/c%3Fd"),
            (&[("__metrics_path__", "/")], "http://h:1/"),
            (&[("__scheme__", "https")], "https://h:1/metrics"),
            (
                &[("__param_target", "x y"), ("__param_module", "http")],
                "http://h:1/metrics?module=http&target=x+y",
            ),
        ] {
            let labels = labels
                .iter()
                .map(|(n, v)| ((*n).to_owned(), (*v).to_owned()));
            let found = Discovered {
                address: "h:1".to_owned(),
                labels: labels.collect(),
            };
            assert_eq!(found.metrics_url(), url);
        }
    }
}
