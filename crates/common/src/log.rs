//! Setup of the structured log on standard error.

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::fmt;

/// Starts logging. If `quiet` is true, logs only errors, for commands whose output is for a person.
/// `RUST_LOG` takes precedence.
pub fn start(quiet: bool, json: bool) {
    // kube logs every failed request. The host logs the consequence where it handles the failure.
    let default = if quiet {
        "error,kube_client=off"
    } else {
        "info,kube_client=off"
    };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(default));
    let person = std::io::IsTerminal::is_terminal(&std::io::stderr());
    let log = fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(person)
        .with_target(false);
    if json {
        log.json().init();
    } else {
        log.init();
    }
}
