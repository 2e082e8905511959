//! Configuration of the process groups of this machine.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::domain::duration;

/// The `[local]` table.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LocalConfig {
    /// Groups by name. The group `web` is the target `default//Process/web`, and its replicas are
    /// `web-0`, `web-1`, …
    pub groups: BTreeMap<String, GroupConfig>,
}

/// The `[local.groups.NAME]` table.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GroupConfig {
    /// Program and arguments. The placeholders `{port}`, `{host}` and `{replica}` (0, 1, …) are
    /// filled in.
    pub command: Vec<String>,
    /// Working directory. The default is that of the host.
    #[serde(default)]
    pub directory: Option<PathBuf>,
    /// Variables that are added to the environment of the host. `PORT` and `HOST` are also set.
    #[serde(default)]
    pub environment: BTreeMap<String, String>,
    /// Initial number of replicas. Later starts use the number of the last scaling.
    #[serde(default = "one")]
    pub replicas: u32,
    /// Minimum number of replicas. Scaling below it is refused.
    #[serde(default = "one")]
    pub min_replicas: u32,
    /// Maximum number of replicas. Scaling above it is refused.
    #[serde(default = "ten")]
    pub max_replicas: u32,
    /// Address that replicas listen on.
    #[serde(default = "loopback")]
    pub host: IpAddr,
    /// Port of replica 0. Replica N gets the port `first_port` + N.
    pub first_port: u16,
    /// Readiness probe. Without one, a replica is ready as soon as it runs.
    #[serde(default)]
    pub readiness: Option<Readiness>,
    /// Time that a replica may take to end after SIGTERM before it is killed.
    #[serde(default = "ten_seconds", with = "duration")]
    pub stop_timeout: Duration,
    /// Time that a new replica may take to become ready. A rolling restart halts at a replica that
    /// takes longer.
    #[serde(default = "thirty_seconds", with = "duration")]
    pub start_timeout: Duration,
    /// Wait before a crashed replica is started again. It doubles with each crash.
    #[serde(default = "half_a_second", with = "duration")]
    pub restart_delay: Duration,
    /// Maximum wait before a restart. After a run that was longer than this, the wait starts again
    /// at `restart_delay`.
    #[serde(default = "thirty_seconds", with = "duration")]
    pub max_restart_delay: Duration,
    /// Number of log lines that are kept of each replica's present run, and also of its previous
    /// run.
    #[serde(default = "thousand")]
    pub log_lines: usize,
}

/// Readiness probe. A replica is ready if it answers a GET of `path` with 2xx or 3xx.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Readiness {
    /// Path of the URL, for example `/health`.
    pub path: String,
    /// Timeout of one probe.
    #[serde(default = "second", with = "duration")]
    pub timeout: Duration,
    /// Time between two probes.
    #[serde(default = "second", with = "duration")]
    pub interval: Duration,
    /// Number of consecutive failures after which a replica is no longer ready.
    #[serde(default = "three")]
    pub failures: u32,
}

fn one() -> u32 {
    1
}

fn three() -> u32 {
    3
}

fn ten() -> u32 {
    10
}

fn thousand() -> usize {
    1_000
}

fn loopback() -> IpAddr {
    IpAddr::V4(Ipv4Addr::LOCALHOST)
}

fn half_a_second() -> Duration {
    Duration::from_millis(500)
}

fn second() -> Duration {
    Duration::from_secs(1)
}

fn ten_seconds() -> Duration {
    Duration::from_secs(10)
}

fn thirty_seconds() -> Duration {
    Duration::from_secs(30)
}

impl GroupConfig {
    /// Creates a group with the defaults of the configuration file.
    pub fn new(command: Vec<String>, first_port: u16) -> Self {
        Self {
            command,
            directory: None,
            environment: BTreeMap::new(),
            replicas: one(),
            min_replicas: one(),
            max_replicas: ten(),
            host: loopback(),
            first_port,
            readiness: None,
            stop_timeout: ten_seconds(),
            start_timeout: thirty_seconds(),
            restart_delay: half_a_second(),
            max_restart_delay: thirty_seconds(),
            log_lines: thousand(),
        }
    }
}

impl LocalConfig {
    /// Checks the configuration.
    ///
    /// # Errors
    ///
    /// Returns an error that names the wrong key and the remedy.
    pub fn validate(&self) -> Result<(), String> {
        for (name, group) in &self.groups {
            group.validate(name)?;
        }
        for (name, group) in &self.groups {
            for (other, theirs) in self
                .groups
                .range::<String, _>((std::ops::Bound::Excluded(name), std::ops::Bound::Unbounded))
            {
                let (ours, theirs_ports) = (group.ports(), theirs.ports());
                if group.host == theirs.host
                    && ours.start < theirs_ports.end
                    && theirs_ports.start < ours.end
                {
                    return Err(format!(
                        "local.groups.{name} (ports {} to {}) and local.groups.{other} (ports {} to {}) overlap: change a first_port \
                         or a max_replicas",
                        ours.start,
                        ours.end - 1,
                        theirs_ports.start,
                        theirs_ports.end - 1
                    ));
                }
            }
        }
        Ok(())
    }
}

impl GroupConfig {
    fn ports(&self) -> std::ops::Range<u32> {
        let first = u32::from(self.first_port);
        first..first.saturating_add(self.max_replicas.max(1))
    }

    fn validate(&self, name: &str) -> Result<(), String> {
        let key = format!("local.groups.{name}");
        let named = !name.is_empty()
            && name.len() <= 63
            && name
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        if !named {
            return Err(format!(
                "{key}: a group's name has lower-case letters, digits and hyphens, at most 63"
            ));
        }
        if self.command.first().is_none_or(String::is_empty) {
            return Err(format!(
                "{key}.command is empty: name a program, for example command = [\"./web\", \"{{port}}\"]"
            ));
        }
        if !(self.min_replicas..=self.max_replicas).contains(&self.replicas) {
            return Err(format!(
                "{key}.replicas is {}: it must be between min_replicas ({}) and max_replicas ({})",
                self.replicas, self.min_replicas, self.max_replicas
            ));
        }
        if self.first_port == 0 || self.ports().end > 65_536 {
            return Err(format!(
                "{key}.first_port is {}: with max_replicas {} there must be a port from 1 to 65535 for each",
                self.first_port, self.max_replicas
            ));
        }
        if !(1..=100_000).contains(&self.log_lines) {
            return Err(format!(
                "{key}.log_lines is {}: keep 1 to 100000",
                self.log_lines
            ));
        }
        if self.restart_delay.is_zero() || self.max_restart_delay < self.restart_delay {
            return Err(format!(
                "{key}.restart_delay must be above 0 and at most max_restart_delay"
            ));
        }
        if let Some(readiness) = &self.readiness {
            if !readiness.path.starts_with('/') {
                return Err(format!(
                    "{key}.readiness.path must start with /, for example /health"
                ));
            }
            if readiness.timeout.is_zero()
                || readiness.interval.is_zero()
                || readiness.failures == 0
            {
                return Err(format!(
                    "{key}.readiness: timeout, interval and failures must be above 0"
                ));
            }
        }
        for name in self.environment.keys() {
            super::environment::check_name(name)
                .map_err(|why| format!("{key}.environment: {why}"))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> LocalConfig {
        toml::from_str(text).unwrap()
    }

    #[test]
    fn a_group_needs_a_command_and_a_port_and_nothing_else() {
        let config = parse("[groups.web]\ncommand = ['web', '{port}']\nfirst_port = 8000");
        assert_eq!(
            config.groups["web"],
            GroupConfig::new(vec!["web".into(), "{port}".into()], 8000)
        );
        config.validate().unwrap();
    }

    #[test]
    fn an_unknown_key_is_an_error() {
        let error = toml::from_str::<LocalConfig>(
            "[groups.web]\ncommand = ['web']\nfirst_port = 1\nreplica = 2",
        );
        assert!(error.unwrap_err().to_string().contains("replica"));
    }

    #[test]
    fn what_cannot_work_is_refused_with_the_key_and_the_remedy() {
        for (text, expected) in [
            (
                "command = []\nfirst_port = 8000",
                "local.groups.web.command is empty",
            ),
            ("command = ['w']\nfirst_port = 65530", "first_port is 65530"),
            (
                "command = ['w']\nfirst_port = 8000\nreplicas = 11",
                "local.groups.web.replicas is 11",
            ),
            (
                "command = ['w']\nfirst_port = 8000\nenvironment = {'A=B' = 'x'}",
                "local.groups.web.environment",
            ),
            (
                "command = ['w']\nfirst_port = 8000\nreadiness = {path = 'x'}",
                "must start with /",
            ),
        ] {
            let error = parse(&format!("[groups.web]\n{text}"))
                .validate()
                .unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn groups_may_not_share_ports() {
        let error =
            parse("[groups.a]\ncommand = ['a']\nfirst_port = 8000\n[groups.b]\ncommand = ['b']\nfirst_port = 8009")
                .validate()
                .unwrap_err();
        assert!(
            error.contains("local.groups.a (ports 8000 to 8009)"),
            "{error}"
        );
    }
}
