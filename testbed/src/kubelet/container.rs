//! Runs one container of a pod, watches it, and restarts it until its pod stops.

use std::net::Ipv4Addr;
use std::ops::ControlFlow;
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, ContainerStateTerminated, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use tokio::sync::watch;

use super::back_off::BackOff;
use super::environment::{self, Launch};
use super::log_file::{self, LogFile};
use super::probe::{Probes, Verdict};
use super::registry::{Cell, Fate};
use super::run::{Run, exit_code};
use super::{Node, quantity, status};

/// Time for which `ErrImagePull` is shown before it becomes `ImagePullBackOff`.
const PULL_ERROR_SHOWN: Duration = Duration::from_secs(1);

/// A container, with everything that running it needs.
pub(super) struct Keeper<'a> {
    pub node: &'a Node,
    pub uid: &'a str,
    pub pod: &'a Pod,
    pub container: &'a Container,
    pub cell: &'a Cell,
    pub address: Ipv4Addr,
    pub fate: watch::Receiver<Fate>,
}

/// Launch and probes of a run.
struct Plan {
    launch: Launch,
    probes: Probes,
    memory_limit: Option<u64>,
}

/// Reason for the end of a run.
enum End {
    ByItself(std::io::Result<ExitStatus>),
    Stopped(Duration),
    Unhealthy(String),
    OutOfMemory { resident: u64, limit: u64 },
}

impl Keeper<'_> {
    /// Runs the container until its pod stops, or until it has ended and must not restart.
    pub(super) async fn keep(mut self) {
        let mut back_off = BackOff::default();
        for run in 0.. {
            let Some(plan) = self.plan().await else {
                return;
            };
            let since = Instant::now();
            let (ended, stopped) = self.run(run, &plan).await;
            let code = ended.exit_code;
            self.cell.update(|status| {
                (status.ready, status.started) = (false, Some(false));
                status.state = Some(status::terminated(ended));
            });
            if stopped || !status::restarts(self.pod, code) {
                return;
            }
            let delay = back_off.after(since.elapsed());
            if !delay.is_zero() {
                self.hold_back(delay);
            }
            if self.stopped_within(delay).await {
                return;
            }
        }
    }

    /// Returns the plan of the runs once the image is available. Returns `None` if the pod stops
    /// before.
    async fn plan(&mut self) -> Option<Plan> {
        if *self.fate.borrow() != Fate::Run {
            return None;
        }
        let image = self.container.image.as_deref().unwrap_or_default();
        let mut back_off = BackOff::from_the_start();
        loop {
            let refusal = match self.node.images.pull(image) {
                Ok(entry_point) => match self.plan_for(entry_point) {
                    Ok(plan) => return Some(plan),
                    Err(refusal) => {
                        self.wait_because("CreateContainerConfigError", &refusal);
                        self.warn("Failed", format!("Error: {refusal}"));
                        // The pod's specification does not change, so a retry would fail too.
                        let _stopped = self.fate.wait_for(|fate| *fate != Fate::Run).await;
                        return None;
                    }
                },
                Err(refusal) => refusal,
            };
            self.wait_because("ErrImagePull", &refusal);
            self.warn(
                "Failed",
                format!("Failed to pull image {image:?}: {refusal}"),
            );
            if self.stopped_within(PULL_ERROR_SHOWN).await {
                return None;
            }
            self.wait_because(
                "ImagePullBackOff",
                &format!("Back-off pulling image {image:?}: {refusal}"),
            );
            self.node.events.normal(
                self.pod,
                &self.container.name,
                "BackOff",
                format!("Back-off pulling image {image:?}"),
            );
            if self.stopped_within(back_off.after(Duration::ZERO)).await {
                return None;
            }
        }
    }

    fn plan_for(&self, entry_point: &std::path::Path) -> Result<Plan, String> {
        let limit = self
            .container
            .resources
            .as_ref()
            .and_then(|resources| resources.limits.as_ref()?.get("memory"));
        Ok(Plan {
            launch: environment::launch(self.pod, self.container, entry_point, self.address)?,
            probes: Probes::new(self.container, self.address)?,
            memory_limit: limit
                .map(|limit| quantity::bytes(&limit.0))
                .transpose()
                .map_err(|error| format!("{error:#}"))?,
        })
    }

    /// Runs the container once, from start to end. The second value is true if the run ended
    /// because the pod stops.
    async fn run(&mut self, number: i32, plan: &Plan) -> (ContainerStateTerminated, bool) {
        let started_at = Timestamp::now();
        let id = format!("testbed://{}/{}/{number}", self.uid, self.container.name);
        let ended =
            |exit_code: i32, reason: &str, message: Option<String>| ContainerStateTerminated {
                container_id: Some(id.clone()),
                exit_code,
                reason: Some(reason.to_owned()),
                message,
                started_at: Some(Time(started_at)),
                finished_at: Some(Time(Timestamp::now())),
                ..ContainerStateTerminated::default()
            };
        let mut run = match self.start(&id, number, &plan.launch) {
            Ok(run) => run,
            Err(error) => {
                self.warn("Failed", format!("Error: {error}"));
                self.cell.update(|status| status.restart_count = number);
                return (ended(128, "StartError", Some(error.to_string())), false);
            }
        };
        self.cell.update(|status| {
            status::enter(status, status::running(started_at));
            status.container_id = Some(id.clone());
            status.restart_count = number;
        });
        self.tell(
            "Started",
            format!("Container {} started", self.container.name),
        );

        let end = self.watch_over(&mut run, plan).await;
        self.cell.update(|status| status.ready = false);
        let stopped = matches!(end, End::Stopped(_));
        let (exit, out_of_memory) = match end {
            End::ByItself(exit) => (exit, None),
            End::Stopped(grace) => {
                self.tell(
                    "Killing",
                    format!("Stopping container {}", self.container.name),
                );
                (run.terminate(grace).await, None)
            }
            End::Unhealthy(why) => {
                self.tell(
                    "Killing",
                    format!("Container {} {why}, will be restarted", self.container.name),
                );
                (run.terminate(self.grace()).await, None)
            }
            End::OutOfMemory { resident, limit } => {
                let (used, limit) = (resident / 1_048_576, limit / 1_048_576);
                let message = format!(
                    "Container {} held {used} MiB, its limit is {limit} MiB",
                    self.container.name
                );
                let exit = run.kill().await;
                self.warn("OOMKilling", message.clone());
                (exit, Some(message))
            }
        };
        run.finish().await;
        let ended = match (exit, out_of_memory) {
            (_, Some(message)) => ended(137, "OOMKilled", Some(message)),
            (Ok(exit), None) if exit.success() => ended(0, "Completed", None),
            (Ok(exit), None) => ended(exit_code(exit), "Error", None),
            (Err(error), None) => ended(255, "ContainerStatusUnknown", Some(error.to_string())),
        };
        (ended, stopped)
    }

    fn start(&self, id: &str, number: i32, launch: &Launch) -> std::io::Result<Run> {
        let log = self.node.log_of(id);
        let folder = log.with_file_name("work");
        std::fs::create_dir_all(&folder)?;
        // Logs can be requested only for the current run and the one before.
        log_file::remove(&log.with_file_name(format!("{}.log", number - 2)));
        let host_name = self.pod.metadata.name.as_deref().unwrap_or_default();
        Run::start(launch, host_name, &folder, &LogFile::create(log)?)
    }

    /// Waits until the run ends or must be ended.
    async fn watch_over(&mut self, run: &mut Run, plan: &Plan) -> End {
        let group = run.group();
        let (node, cell) = (self.node, self.cell);
        let mut fate = self.fate.clone();
        let over_limit = async {
            match plan.memory_limit {
                Some(limit) => End::OutOfMemory {
                    resident: node.memory.clone().exceeds(group, limit).await,
                    limit,
                },
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            exit = run.ended() => End::ByItself(exit),
            grace = stop_asked(&mut fate) => End::Stopped(grace),
            end = over_limit => end,
            why = self.probed(&plan.probes, cell) => End::Unhealthy(why),
        }
    }

    /// Updates the container's `started` and `ready` from its probes. Returns the reason for a
    /// restart when one is due.
    async fn probed(&self, probes: &Probes, cell: &Cell) -> String {
        let unhealthy = |probe: &str, reason: &str| {
            self.warn("Unhealthy", format!("{probe} probe failed: {reason}"));
        };
        if let Some(startup) = &probes.startup {
            let failure = startup.run(|verdict| match verdict {
                Verdict::Healthy => ControlFlow::Break(None),
                Verdict::Failed { reason, conclusive } => {
                    unhealthy("Startup", &reason);
                    if conclusive {
                        ControlFlow::Break(Some("failed startup probe".to_owned()))
                    } else {
                        ControlFlow::Continue(())
                    }
                }
            });
            if let Some(why) = failure.await {
                return why;
            }
        }
        cell.update(|status| {
            (status.started, status.ready) = (Some(true), probes.readiness.is_none());
        });
        let readiness = async {
            let Some(readiness) = &probes.readiness else {
                return std::future::pending().await;
            };
            readiness
                .run(|verdict| {
                    match verdict {
                        Verdict::Healthy => cell.update(|status| status.ready = true),
                        Verdict::Failed { reason, conclusive } => {
                            unhealthy("Readiness", &reason);
                            cell.update(|status| status.ready &= !conclusive);
                        }
                    }
                    ControlFlow::Continue(())
                })
                .await
        };
        let liveness = async {
            let Some(liveness) = &probes.liveness else {
                return std::future::pending().await;
            };
            liveness
                .run(|verdict| match verdict {
                    Verdict::Healthy => ControlFlow::Continue(()),
                    Verdict::Failed { reason, conclusive } => {
                        unhealthy("Liveness", &reason);
                        if conclusive {
                            ControlFlow::Break("failed liveness probe".to_owned())
                        } else {
                            ControlFlow::Continue(())
                        }
                    }
                })
                .await
        };
        tokio::select! {
            why = liveness => why,
            never = readiness => never,
        }
    }

    /// Sets the state of a container that waits for its restart.
    fn hold_back(&self, delay: Duration) {
        let name = &self.container.name;
        let message = format!(
            "back-off {}s restarting failed container {name}",
            delay.as_secs()
        );
        self.cell.update(|status| {
            status.last_state = status.state.take();
            status.state = Some(status::waiting("CrashLoopBackOff", message));
        });
        self.warn(
            "BackOff",
            format!("Back-off restarting failed container {name}"),
        );
    }

    fn wait_because(&self, reason: &str, message: &str) {
        self.cell.update(|status| {
            status::enter(status, status::waiting(reason, message));
        });
    }

    async fn stopped_within(&mut self, delay: Duration) -> bool {
        tokio::time::timeout(delay, stop_asked(&mut self.fate))
            .await
            .is_ok()
    }

    fn grace(&self) -> Duration {
        let seconds = self
            .pod
            .spec
            .as_ref()
            .and_then(|spec| spec.termination_grace_period_seconds)
            .unwrap_or(30);
        Duration::from_secs(u64::try_from(seconds).unwrap_or_default())
    }

    fn tell(&self, reason: &str, message: String) {
        self.node
            .events
            .normal(self.pod, &self.container.name, reason, message);
    }

    fn warn(&self, reason: &str, message: String) {
        self.node
            .events
            .warning(self.pod, &self.container.name, reason, message);
    }
}

/// Waits until the pod must stop. Returns the time that it has for that.
async fn stop_asked(fate: &mut watch::Receiver<Fate>) -> Duration {
    match fate
        .wait_for(|fate| *fate != Fate::Run)
        .await
        .map(|fate| *fate)
    {
        Ok(Fate::Stop { grace, .. }) => grace,
        // The pod's entry is gone, so nobody waits for a graceful end.
        Ok(Fate::Run) | Err(_) => Duration::ZERO,
    }
}
