//! Prometheus's HTTP service discovery: `[{"targets": ["127.0.1.5:8000"], "labels": {"pod":
//! "web-1"}}]`. <https://prometheus.io/docs/prometheus/latest/http_sd/>

use std::collections::BTreeMap;
use std::time::Duration;

use reqwest::Client;
use serde::Deserialize;

use super::fetch::{Bounds, shown_text};
use super::{SourceError, fetch};

const BOUNDS: Bounds = Bounds {
    timeout: Duration::from_secs(5),
    body_limit: 4 << 20,
};

#[derive(Deserialize)]
struct Group {
    targets: Vec<String>,
    #[serde(default)]
    labels: BTreeMap<String, String>,
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

    /// Returns the address of the metrics, such as `http://127.0.1.5:8000/metrics`.
    pub fn metrics_url(&self) -> String {
        let path = self
            .labels
            .get("__metrics_path__")
            .map_or("/metrics", String::as_str);
        self.base_url() + path
    }
}

/// Fetches the list of addresses. An empty list is valid.
pub async fn fetch(client: &Client, url: &str) -> Result<Vec<Discovered>, SourceError> {
    let body = fetch::get(
        client,
        client.get(url),
        url,
        "HTTP service discovery",
        BOUNDS,
    )
    .await?;
    parse(&body).map_err(|error| {
        let (url, reason) = (shown_text(url), error.to_string());
        if error.is_eof() {
            SourceError::CutShort { url, reason }
        } else {
            SourceError::Malformed { url, reason }
        }
    })
}

fn parse(body: &[u8]) -> Result<Vec<Discovered>, serde_json::Error> {
    let groups: Vec<Group> = serde_json::from_slice(body)?;
    let discovered = groups.into_iter().flat_map(|Group { targets, labels }| {
        targets.into_iter().map(move |address| Discovered {
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
}
