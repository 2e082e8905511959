//! Startup, readiness and liveness probes.

use std::net::Ipv4Addr;
use std::ops::ControlFlow;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, HTTPGetAction, Probe};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use tokio::net::TcpStream;

use crate::http;

/// Request of a probe.
#[derive(Debug)]
enum Question {
    Http {
        url: String,
        headers: Vec<(String, String)>,
    },
    Tcp {
        host: String,
        port: u16,
    },
}

/// A probe of one container at its address.
#[derive(Debug)]
pub(super) struct Check {
    question: Question,
    initial_delay: Duration,
    period: Duration,
    timeout: Duration,
    success_threshold: i32,
    failure_threshold: i32,
}

/// Result of an answer, after counting towards the thresholds.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Enough successes in a row.
    Healthy,
    /// A failure with its reason. `conclusive` is true if the failures reached the threshold.
    Failed { reason: String, conclusive: bool },
}

/// The probes of a container.
#[derive(Debug)]
pub(super) struct Probes {
    pub startup: Option<Check>,
    pub readiness: Option<Check>,
    pub liveness: Option<Check>,
}

impl Probes {
    /// Reads the probes of `container`.
    ///
    /// # Errors
    /// Returns an error that names a feature of a probe that this kubelet lacks.
    pub(super) fn new(container: &Container, address: Ipv4Addr) -> Result<Self, String> {
        let check = |probe: &Option<Probe>| {
            probe
                .as_ref()
                .map(|probe| Check::new(probe, container, address))
                .transpose()
        };
        Ok(Self {
            startup: check(&container.startup_probe)?,
            readiness: check(&container.readiness_probe)?,
            liveness: check(&container.liveness_probe)?,
        })
    }
}

impl Check {
    fn new(probe: &Probe, container: &Container, address: Ipv4Addr) -> Result<Self, String> {
        let question = match (&probe.http_get, &probe.tcp_socket) {
            (Some(get), _) => http_question(get, container, address)?,
            (None, Some(tcp)) => Question::Tcp {
                host: tcp.host.clone().unwrap_or_else(|| address.to_string()),
                port: port(&tcp.port, container)?,
            },
            (None, None) => {
                return Err(
                    "probes other than httpGet and tcpSocket are not supported by the testbed"
                        .to_owned(),
                );
            }
        };
        let seconds = |value: Option<i32>, default: u64| {
            Duration::from_secs(
                value
                    .and_then(|value| u64::try_from(value).ok())
                    .unwrap_or(default),
            )
        };
        Ok(Self {
            question,
            initial_delay: seconds(probe.initial_delay_seconds, 0),
            period: seconds(probe.period_seconds, 10).max(Duration::from_secs(1)),
            timeout: seconds(probe.timeout_seconds, 1).max(Duration::from_secs(1)),
            success_threshold: probe.success_threshold.unwrap_or(1),
            failure_threshold: probe.failure_threshold.unwrap_or(3),
        })
    }

    /// Probes the container periodically and passes each verdict to `report`, until `report` breaks
    /// with a value.
    pub(super) async fn run<T>(&self, mut report: impl FnMut(Verdict) -> ControlFlow<T>) -> T {
        tokio::time::sleep(self.initial_delay).await;
        let mut ticks = tokio::time::interval(self.period);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let (mut successes, mut failures) = (0, 0);
        loop {
            ticks.tick().await;
            let answer = tokio::time::timeout(self.timeout, self.question.ask()).await;
            let answer =
                answer.unwrap_or_else(|_late| Err(format!("no answer within {:?}", self.timeout)));
            let verdict = match answer {
                Ok(()) => {
                    (successes, failures) = (successes + 1, 0);
                    if successes < self.success_threshold {
                        continue;
                    }
                    Verdict::Healthy
                }
                Err(reason) => {
                    (successes, failures) = (0, failures + 1);
                    Verdict::Failed {
                        reason,
                        conclusive: failures >= self.failure_threshold,
                    }
                }
            };
            if let ControlFlow::Break(value) = report(verdict) {
                return value;
            }
        }
    }
}

impl Question {
    async fn ask(&self) -> Result<(), String> {
        match self {
            Self::Tcp { host, port } => match TcpStream::connect((host.as_str(), *port)).await {
                Ok(_connected) => Ok(()),
                Err(error) => Err(format!("dial tcp {host}:{port}: {error}")),
            },
            Self::Http { url, headers } => {
                let request = headers
                    .iter()
                    .fold(http::CLIENT.get(url), |request, (name, value)| {
                        request.header(name, value)
                    });
                match request
                    .header("user-agent", "kube-probe/testbed")
                    .send()
                    .await
                {
                    Ok(answer) if (200..400).contains(&answer.status().as_u16()) => Ok(()),
                    Ok(answer) => Err(format!(
                        "HTTP probe failed with statuscode: {}",
                        answer.status().as_u16()
                    )),
                    Err(error) => Err(format!(
                        "Get {url:?}: {}",
                        anyhow::Error::from(error).root_cause()
                    )),
                }
            }
        }
    }
}

fn http_question(
    get: &HTTPGetAction,
    container: &Container,
    address: Ipv4Addr,
) -> Result<Question, String> {
    let scheme = get.scheme.as_deref().unwrap_or("HTTP").to_lowercase();
    let host = get.host.clone().unwrap_or_else(|| address.to_string());
    let path = get.path.as_deref().unwrap_or("/");
    let url = format!(
        "{scheme}://{host}:{}/{}",
        port(&get.port, container)?,
        path.trim_start_matches('/')
    );
    let headers = get
        .http_headers
        .iter()
        .flatten()
        .map(|header| (header.name.clone(), header.value.clone()))
        .collect();
    Ok(Question::Http { url, headers })
}

/// Returns a port that is given by its number, or by its name among the container's ports.
fn port(port: &IntOrString, container: &Container) -> Result<u16, String> {
    let number = match port {
        IntOrString::Int(number) => Some(*number),
        IntOrString::String(name) => {
            let ports = container.ports.as_deref().unwrap_or_default();
            ports
                .iter()
                .find(|port| port.name.as_ref() == Some(name))
                .map(|port| port.container_port)
        }
    };
    number
        .and_then(|number| u16::try_from(number).ok())
        .ok_or_else(|| format!("a probe's port {port:?} is none of the container's"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tokio::net::TcpListener;

    use super::*;

    fn readiness(probe: &serde_json::Value) -> Result<Check, String> {
        let ports = json!([{ "name": "metrics", "containerPort": 8_000 }]);
        let container = json!({ "name": "app", "ports": ports, "readinessProbe": probe });
        let container = serde_json::from_value(container).unwrap();
        Probes::new(&container, Ipv4Addr::new(127, 0, 1, 3)).map(|probes| probes.readiness.unwrap())
    }

    #[test]
    fn a_port_may_be_named_and_the_host_is_the_pods_address() {
        let check =
            readiness(&json!({ "httpGet": { "path": "/ready", "port": "metrics" } })).unwrap();
        assert!(
            matches!(check.question, Question::Http { url, .. } if url == "http://127.0.1.3:8000/ready")
        );
        let refusal = readiness(&json!({ "httpGet": { "port": "nobody" } })).unwrap_err();
        assert!(refusal.contains("nobody"), "{refusal}");
    }

    #[tokio::test]
    async fn a_probe_fails_for_good_after_as_many_failures_as_it_allows() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        let probe =
            json!({ "tcpSocket": { "host": "127.0.0.1", "port": port }, "failureThreshold": 2 });
        let mut check = readiness(&probe).unwrap();
        check.period = Duration::from_millis(5);
        let mut conclusions = Vec::new();
        check
            .run(|verdict| match verdict {
                Verdict::Failed { conclusive, .. } => {
                    conclusions.push(conclusive);
                    if conclusions.len() == 3 {
                        ControlFlow::Break(())
                    } else {
                        ControlFlow::Continue(())
                    }
                }
                Verdict::Healthy => ControlFlow::Break(()),
            })
            .await;
        assert_eq!(conclusions, [false, true, true]);
    }
}
