//! Runs one replica: starts its process, watches it, and restarts it with backoff after a crash,
//! until it is told to stop.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::process::Command;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::child::Child;
use super::config::Readiness;
use super::group::Group;
use super::leftovers::MARK;
use super::log::read_lines;

/// Time that the pipes of an ended process may stay open before they are abandoned.
const LAST_WORDS: Duration = Duration::from_millis(500);
/// Maximum time between two probes of a replica that is not ready yet.
const ASK_WHILE_STARTING: Duration = Duration::from_millis(200);

/// Parameters of a replica's start.
#[derive(Clone, Debug)]
pub struct Start {
    /// Number of the replica.
    pub index: u32,
    /// Environment of the replica, without the variables that differ between replicas.
    pub environment: BTreeMap<String, String>,
    /// Mark by which a later host recognises the process as ours.
    pub mark: String,
    /// HTTP client of the readiness probe.
    pub client: reqwest::Client,
}

/// Runs the replica until `stop`. Its process group is gone when this returns.
pub async fn run(group: Arc<Group>, start: Start, stop: CancellationToken) {
    let index = start.index;
    let name = group.replica_name(index);
    let mut delay = group.config.restart_delay;
    loop {
        let began = Instant::now();
        let why = match Child::start(&mut command(&group, &start)) {
            Err(error) => format!("cannot start `{}`: {error}", group.config.command.join(" ")),
            Ok(mut child) => {
                group.begin_log(index);
                let mut output = capture(&group, index, &mut child);
                group.set_status(index, |status| {
                    status.phase = "Running";
                    status.ready = group.config.readiness.is_none();
                });
                let ended = tokio::select! {
                    why = child.ended() => Some(why),
                    () = stop.cancelled() => None,
                    never = watch_readiness(&group, &start) => match never {},
                };
                if ended.is_none() {
                    group.set_status(index, |status| {
                        status.phase = "Terminating";
                        status.ready = false;
                    });
                }
                let why = match ended {
                    Some(why) => why,
                    None => child.stop(group.config.stop_timeout).await,
                };
                let _pipes_left_open = timeout(LAST_WORDS, async {
                    while output.join_next().await.is_some() {}
                })
                .await;
                why
            }
        };
        if stop.is_cancelled() {
            group.event(&format!("{name} was stopped: {why}"));
            return;
        }
        if began.elapsed() > group.config.max_restart_delay {
            delay = group.config.restart_delay;
        }
        group.event(&format!("{name} {why}; starting it again in {delay:?}"));
        group.set_status(index, |status| {
            status.phase = "Pending";
            status.ready = false;
            status.restarts = status.restarts.saturating_add(1);
            status.reason = Some(why);
        });
        tokio::select! {
            () = sleep(delay) => {}
            () = stop.cancelled() => return,
        }
        delay = delay.saturating_mul(2).min(group.config.max_restart_delay);
    }
}

fn command(group: &Group, start: &Start) -> Command {
    let address = group.address(start.index);
    let (port, host, replica) = (
        address.port().to_string(),
        address.ip().to_string(),
        start.index.to_string(),
    );
    let fill = |text: &String| {
        text.replace("{port}", &port)
            .replace("{host}", &host)
            .replace("{replica}", &replica)
    };
    let command_line: Vec<String> = group.config.command.iter().map(fill).collect();
    let (program, arguments) = command_line
        .split_first()
        .map_or((String::new(), &[][..]), |(first, rest)| {
            (first.clone(), rest)
        });
    let mut command = Command::new(program);
    command
        .args(arguments)
        .envs(&start.environment)
        .env("PORT", port)
        .env("HOST", host)
        .env(MARK, &start.mark);
    if let Some(directory) = &group.config.directory {
        command.current_dir(directory);
    }
    command
}

fn capture(group: &Arc<Group>, index: u32, child: &mut Child) -> JoinSet<()> {
    let (stdout, stderr) = child.outputs();
    let mut tasks = JoinSet::new();
    if let Some(stdout) = stdout {
        let group = Arc::clone(group);
        tasks.spawn(async move { read_lines(stdout, |line| group.log(index, line)).await });
    }
    if let Some(stderr) = stderr {
        let group = Arc::clone(group);
        tasks.spawn(async move { read_lines(stderr, |line| group.log(index, line)).await });
    }
    tasks
}

/// Probes the replica and updates the `ready` flag of its status.
async fn watch_readiness(group: &Group, start: &Start) -> std::convert::Infallible {
    let Some(readiness) = &group.config.readiness else {
        return std::future::pending().await;
    };
    let url = format!("http://{}{}", group.address(start.index), readiness.path);
    let mut failures = 0_u32;
    let mut ready = false;
    loop {
        failures = if serves(&start.client, &url, readiness).await {
            0
        } else {
            failures.saturating_add(1)
        };
        let now = failures == 0 || (ready && failures < readiness.failures);
        if now != ready {
            ready = now;
            group.set_status(start.index, |status| status.ready = ready);
        }
        sleep(if ready {
            readiness.interval
        } else {
            readiness.interval.min(ASK_WHILE_STARTING)
        })
        .await;
    }
}

async fn serves(client: &reqwest::Client, url: &str, readiness: &Readiness) -> bool {
    // A connection that stayed open would hold one of the replica's workers.
    let asked = client
        .get(url)
        .header("connection", "close")
        .timeout(readiness.timeout)
        .send()
        .await;
    asked.is_ok_and(|answer| answer.status().is_success() || answer.status().is_redirection())
}
