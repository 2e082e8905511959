//! Credential plugin (`exec`) of a kubeconfig: a command that prints a token or a certificate.
//!
//! kube would run the command without a time limit, on the thread that asks, and would never run it
//! again for a token without an expiry.

use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use kube::config::{ExecConfig, ExecInteractiveMode};
use serde::Deserialize;
use serde_json::json;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::Command;
use tokio::time::timeout;

use super::error::short;
use anomalyzer_domain::{UnixMs, as_rfc3339_option};

/// Maximum number of bytes that are read of one stream of the command.
const MAX_OUTPUT: u64 = 1 << 20;

/// Credentials that the command printed.
#[derive(Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Credentials {
    /// Bearer token.
    pub token: Option<String>,
    /// Client certificate, as PEM.
    pub client_certificate_data: Option<String>,
    /// Key of the certificate, as PEM.
    pub client_key_data: Option<String>,
    /// Time at which the credentials expire.
    #[serde(with = "as_rfc3339_option")]
    pub expiration_timestamp: Option<UnixMs>,
}

#[derive(Deserialize)]
struct Printed {
    status: Option<Credentials>,
}

/// Checks that the plugin can run without a person. `None` means that it can.
pub fn problem(plugin: &ExecConfig) -> Option<String> {
    let Some(command) = &plugin.command else {
        return Some("its credential plugin (exec) names no command".to_owned());
    };
    (plugin.interactive_mode == Some(ExecInteractiveMode::Always)).then(|| {
        format!(
            "its credential plugin `{command}` needs a person (interactiveMode: Always): use a service account, \
             or a plugin that needs none"
        )
    })
}

/// Runs the command and returns its credentials. The command and its children are killed after
/// `limit`. The error never contains the output, which may be a secret.
pub async fn run(plugin: &ExecConfig, limit: Duration) -> Result<Credentials, String> {
    let name = plugin.command.as_deref().unwrap_or_default();
    let mut command = command(plugin, name)?;
    let mut child = command.spawn().map_err(|error| {
        let hint = plugin.install_hint.as_deref().map(short);
        let hint = hint.map(|hint| format!(": {hint}")).unwrap_or_default();
        format!("cannot run the credential plugin `{name}`: {error}{hint}")
    })?;
    // The command may have started others that hold its streams.
    let mut group = Group(child.id());
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let printed = async { tokio::join!(read(stdout), read(stderr), child.wait()) };
    let ended = timeout(limit, printed).await;
    if ended.is_ok() {
        // The id may belong to others now.
        group.0 = None;
    }
    let Ok((printed, complaint, status)) = ended else {
        return Err(format!(
            "the credential plugin `{name}` did not end within {limit:?}: run it by hand, it may wait for a login"
        ));
    };
    let status = status.map_err(|error| format!("the credential plugin `{name}`: {error}"))?;
    credentials(name, status, &printed, &complaint)
}

fn command(plugin: &ExecConfig, name: &str) -> Result<Command, String> {
    let mut spec = json!({"interactive": false});
    if plugin.provide_cluster_info {
        spec["cluster"] = serde_json::to_value(&plugin.cluster)
            .map_err(|error| format!("cannot describe the cluster to `{name}`: {error}"))?;
    }
    let info = json!({"apiVersion": plugin.api_version, "kind": "ExecCredential", "spec": spec});
    let variables = plugin.env.iter().flatten();
    let variables = variables.filter_map(|it| Some((it.get("name")?, it.get("value")?)));
    let mut command = Command::new(name);
    command
        .args(plugin.args.iter().flatten())
        .envs(variables)
        .env("KUBERNETES_EXEC_INFO", info.to_string())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true);
    Ok(command)
}

/// Process group of the command. Dropping it kills the group.
struct Group(Option<u32>);

impl Drop for Group {
    fn drop(&mut self) {
        let id = self.0.and_then(|id| i32::try_from(id).ok());
        if let Some(group) = id.and_then(rustix::process::Pid::from_raw) {
            // An error means that the group has ended.
            let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
        }
    }
}

async fn read(stream: Option<impl AsyncRead + Unpin>) -> Vec<u8> {
    let mut bytes = Vec::new();
    if let Some(stream) = stream {
        // What was read until an error is judged.
        let _ = stream.take(MAX_OUTPUT).read_to_end(&mut bytes).await;
    }
    bytes
}

fn credentials(
    name: &str,
    status: ExitStatus,
    printed: &[u8],
    complaint: &[u8],
) -> Result<Credentials, String> {
    if !status.success() {
        let message = short(&String::from_utf8_lossy(complaint));
        return Err(format!(
            "the credential plugin `{name}` failed ({status}): {message}"
        ));
    }
    // YAML includes JSON. Some plugins print YAML.
    let printed: Printed = serde_saphyr::from_slice(printed).map_err(|_secret| {
        format!("the credential plugin `{name}` printed no ExecCredential: run it by hand")
    })?;
    let credentials = printed.status.unwrap_or_default();
    let certificate =
        credentials.client_certificate_data.is_some() && credentials.client_key_data.is_some();
    if credentials.token.is_none() && !certificate {
        return Err(format!(
            "the credential plugin `{name}` printed neither a token nor a certificate with its key: run it by hand"
        ));
    }
    Ok(credentials)
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    fn shell(script: &str) -> ExecConfig {
        let json = json!({
            "apiVersion": "client.authentication.k8s.io/v1", "command": "sh", "args": ["-c", script],
            "env": [{"name": "WORD", "value": "from-env"}], "interactiveMode": "IfAvailable",
            "installHint": "install a shell"
        });
        serde_json::from_value(json).unwrap()
    }

    async fn error(plugin: &ExecConfig) -> String {
        let result = run(plugin, Duration::from_secs(20)).await;
        result.err().unwrap()
    }

    #[tokio::test]
    async fn a_token_is_read_from_json_and_yaml_with_its_expiry() {
        for (script, token, expiry) in [
            (
                r#"echo '{"kind": "ExecCredential", "status": {"token": "t1", "expirationTimestamp": "1970-01-01T00:00:07Z"}}'"#,
                "t1",
                Some(7_000),
            ),
            ("printf 'status:\\n  token: t2\\n'", "t2", None),
            (
                r#"echo '{"status": {"token": "'$WORD'", "expirationTimestamp": null}}'"#,
                "from-env",
                None,
            ),
            // The plugin learns that there is no person, and has no standard input.
            (
                r#"cat; case "$KUBERNETES_EXEC_INFO" in *'"interactive":false'*) echo '{"status": {"token": "t3"}}';; esac"#,
                "t3",
                None,
            ),
        ] {
            let credentials = run(&shell(script), Duration::from_secs(20)).await;
            let credentials = credentials.unwrap_or_else(|why| panic!("{script}: {why}"));
            assert_eq!(credentials.token.as_deref(), Some(token), "{script}");
            assert_eq!(credentials.expiration_timestamp, expiry, "{script}");
        }
    }

    #[tokio::test]
    async fn each_failure_says_what_to_do_and_shows_no_secret() {
        for (script, expected) in [
            (
                "echo 'session has expired: run aws sso login' >&2; echo hush; exit 255",
                "session has expired",
            ),
            ("echo hush", "printed no ExecCredential"),
            (
                "echo '{\"status\": {}}'",
                "neither a token nor a certificate",
            ),
            ("echo '{}'", "neither a token nor a certificate"),
            ("kill -9 $$", "signal: 9"),
        ] {
            let error = error(&shell(script)).await;
            assert!(
                error.contains(expected) && error.contains("`sh`"),
                "{script}: {error}"
            );
            assert!(!error.contains("hush"), "{error}");
        }
        let mut gone = shell("");
        gone.command = Some("/no/such/plugin".into());
        let error = error(&gone).await;
        assert!(
            error.contains("/no/such/plugin") && error.contains("install a shell"),
            "{error}"
        );
    }

    #[tokio::test]
    async fn a_plugin_that_hangs_is_killed_with_its_children() {
        let began = Instant::now();
        let folder = tempfile::tempdir().unwrap();
        let alive = folder.path().join("alive");
        let script = format!(
            "(while true; do touch {0}; sleep 0.05; done) & while [ ! -e {0} ]; do sleep 0.05; done; wait",
            alive.display()
        );
        let result = run(&shell(&script), Duration::from_secs(2)).await;
        assert!(result.err().unwrap().contains("did not end within 2s"));
        assert!(began.elapsed() < Duration::from_secs(15));
        // A child that lives would make the file again.
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            std::fs::remove_file(&alive).unwrap();
            tokio::time::sleep(Duration::from_millis(300)).await;
            if !alive.exists() {
                break;
            }
            assert!(Instant::now() < deadline, "a child of the plugin lives");
        }
    }

    #[test]
    fn a_plugin_that_needs_a_person_is_refused() {
        let mut plugin = shell("");
        assert_eq!(problem(&plugin), None);
        plugin.interactive_mode = Some(ExecInteractiveMode::Always);
        assert!(problem(&plugin).unwrap().contains("needs a person"));
        plugin.command = None;
        assert!(problem(&plugin).unwrap().contains("names no command"));
    }
}
