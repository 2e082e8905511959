//! Access of tests to the servers of a running testbed, and the report of the tests that ran.
//!
//! The variable `ANOMALYZER_TESTBED` names the state file of the testbed. A test whose server does
//! not run prints that and returns; with `CI` set, the test fails. Each test appends its result to
//! the file that `ANOMALYZER_TEST_REPORT` names, one JSON object a line.
//!
//! ```no_run
//! # async fn a_test() {
//! let Some(kafka) = anomalyzer_testbed::shared::kafka("messages keep their order") else {
//!     return;
//! };
//! # }
//! ```

use std::ffi::OsStr;
use std::fs::File;
use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{
    Kafka, KafkaEndpoint, KubernetesEndpoint, OllamaEndpoint, Prometheus, PrometheusEndpoint,
    PrometheusOptions, Server, State,
};

/// Variable that names the state file.
pub const TESTBED: &str = "ANOMALYZER_TESTBED";
/// Variable that names the report.
pub const REPORT: &str = "ANOMALYZER_TEST_REPORT";

/// One line of the report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// Server that the test needs.
    pub server: Server,
    /// Version of the server, if it runs.
    pub version: Option<String>,
    /// Name of the test.
    pub test: String,
    /// True if the test could run.
    pub ran: bool,
    /// Reason why the test could not run.
    pub why: Option<String>,
}

/// Returns Kafka for the test called `test`.
pub fn kafka(test: &str) -> Option<KafkaEndpoint> {
    answer(Server::Kafka, test, |state| {
        let kafka = state.kafka?;
        Some((kafka.brokers.clone(), kafka.version.clone(), kafka))
    })
}

/// Returns Prometheus for the test called `test`.
pub fn prometheus(test: &str) -> Option<PrometheusEndpoint> {
    answer(Server::Prometheus, test, |state| {
        let prometheus = state.prometheus?;
        Some((
            prometheus.url.clone(),
            prometheus.version.clone(),
            prometheus,
        ))
    })
}

/// Returns Ollama for the test called `test`.
pub fn ollama(test: &str) -> Option<OllamaEndpoint> {
    answer(Server::Ollama, test, |state| {
        let ollama = state.ollama?;
        Some((ollama.url.clone(), ollama.version.clone(), ollama))
    })
}

/// Returns Kubernetes for the test called `test`. Tests share the cluster, so each test uses a
/// namespace of its own.
pub fn kubernetes(test: &str) -> Option<KubernetesEndpoint> {
    answer(Server::Kubernetes, test, |state| {
        let kubernetes = state.kubernetes?;
        Some((
            kubernetes.server.clone(),
            kubernetes.version.clone(),
            kubernetes,
        ))
    })
}

/// Starts a broker that the test called `test` may kill and restart.
///
/// Without a testbed, the test does not run, because tests must not install Kafka.
///
/// # Panics
/// Panics if the broker does not start.
pub async fn own_kafka(test: &str) -> Option<Kafka> {
    kafka(test)?;
    match Kafka::start().await {
        Ok(kafka) => Some(kafka),
        Err(error) => panic!("{error:#}"),
    }
}

/// Starts a Prometheus 3 for the test called `test`.
///
/// Without a testbed, the test does not run, because tests must not build Prometheus.
///
/// # Panics
/// Panics if the server does not start.
pub async fn own_prometheus3(test: &str, options: &PrometheusOptions) -> Option<Prometheus> {
    prometheus(test)?;
    match Prometheus::start_3(options).await {
        Ok(prometheus) => Some(prometheus),
        Err(error) => panic!("{error:#}"),
    }
}

/// Reports whether the server runs, and returns its endpoint. `find` returns the address, the
/// version and the endpoint from the state.
fn answer<E>(
    server: Server,
    test: &str,
    find: impl FnOnce(State) -> Option<(String, String, E)>,
) -> Option<E> {
    let found = running().and_then(|state| {
        let (address, version, endpoint) = find(state).ok_or("the testbed runs without it")?;
        reachable(&address)?;
        Ok((version, endpoint))
    });
    let (version, why, endpoint) = match found {
        Ok((version, endpoint)) => (Some(version), None, Some(endpoint)),
        Err(why) => (None, Some(why), None),
    };
    if let Some(why) = &why {
        let remedy = "start it by cargo xtask test, or cargo xtask up";
        // Written to standard error directly: the capture of test output would show it for failures
        // only.
        let _said = writeln!(
            std::io::stderr(),
            "NOT RUN: {test}: needs {server} ({why}); {remedy}"
        );
    }
    let line = Line {
        server,
        version,
        test: test.to_owned(),
        ran: endpoint.is_some(),
        why,
    };
    if let Some(report) = std::env::var_os(REPORT) {
        append(Path::new(&report), &line);
    }
    if let (Some(why), true) = (line.why, is_ci(std::env::var_os("CI").as_deref())) {
        panic!("{test}: needs {server} ({why}), and with CI set nothing may be left out");
    }
    endpoint
}

/// Returns true if the variable `CI` demands that every test runs. `cargo xtask test` reads the
/// variable in the same way.
fn is_ci(value: Option<&OsStr>) -> bool {
    value.is_some_and(|value| !value.is_empty() && value != "false")
}

fn running() -> Result<State, String> {
    let path = PathBuf::from(std::env::var_os(TESTBED).ok_or(format!("{TESTBED} is not set"))?);
    let state = State::read(&path).map_err(|error| format!("{error:#}"))?;
    state.ok_or_else(|| format!("there is no state file {}", path.display()))
}

/// Connects to `address`, which is `host:port` with or without a scheme.
fn reachable(address: &str) -> Result<(), String> {
    let socket: SocketAddr = address
        .rsplit('/')
        .next()
        .and_then(|socket| socket.parse().ok())
        .ok_or_else(|| format!("{address} is no address"))?;
    match TcpStream::connect_timeout(&socket, Duration::from_secs(2)) {
        Ok(_connected) => Ok(()),
        Err(error) => Err(format!("it does not answer at {socket}: {error}")),
    }
}

/// Appends a line to the report in one write, so that the lines of several test programs don't mix.
fn append(report: &Path, line: &Line) {
    let written = serde_json::to_string(line)
        .map_err(std::io::Error::other)
        .and_then(|text| {
            let mut file = File::options().create(true).append(true).open(report)?;
            file.write_all(format!("{text}\n").as_bytes())
        });
    if let Err(error) = written {
        panic!("cannot write the test report {}: {error}", report.display());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ci_that_is_false_or_empty_is_none() {
        let said = |value: &str| is_ci(Some(OsStr::new(value)));
        assert_eq!(
            [
                said("true"),
                said("1"),
                said("false"),
                said(""),
                is_ci(None)
            ],
            [true, true, false, false, false]
        );
    }
}
