//! Trouble with a target on Kubernetes: an echo, a deployment tool, a deletion.

use anomalyzer_domain::testing::web;
use anomalyzer_domain::{Decision, DecisionState, VerificationOutcome, solutions};

use crate::cluster::{Cluster, kubeconfig};
use crate::receiver::Receiver;
use crate::scale::{SLACK, minutes, seconds};
use crate::service::{Feed, Running, channel, guard, no_scrape, sent_signal};
use crate::wait::until;

/// A service, its cluster, the people that it tells, and the samples of the Deployment.
struct Scene {
    running: Running,
    cluster: Cluster,
    people: Receiver,
    feed: Feed,
}

impl Scene {
    async fn start(mode: &str, signals: &[(&'static str, f64)]) -> Self {
        let (cluster, people) = (Cluster::start().await, Receiver::start([]).await);
        let folder = tempfile::tempdir().unwrap();
        let kubeconfig = kubeconfig(folder.path(), cluster.address);
        let more = format!(
            "{}{}{}[kubernetes]\nkubeconfig = '{}'\n{}",
            guard(mode),
            no_scrape(),
            channel("people", &people),
            kubeconfig.display(),
            signals
                .iter()
                .map(|(name, _)| sent_signal(name))
                .collect::<String>()
        );
        let running = Running::start(folder, &more).await;
        let feed = Feed::start(running.service.bus(), web(), signals.to_vec()).await;
        running.seen(60).await;
        Self {
            running,
            cluster,
            people,
            feed,
        }
    }

    /// Starts with latency and traffic, and makes both six times as high.
    async fn surge(mode: &str) -> Self {
        let scene = Self::start(mode, &[("latency", 0.1), ("traffic", 40.0)]).await;
        scene.feed.set("latency", 0.6);
        scene.feed.set("traffic", 240.0);
        scene
    }

    /// Waits until the scaling is verified, and returns the reason why its effect is unknown.
    async fn unknown_effect(&self) -> String {
        let scaled = self
            .running
            .decision("the scaling is verified", verified(solutions::SCALE_UP))
            .await;
        let verification = scaled.verification.unwrap();
        assert_eq!(verification.outcome, VerificationOutcome::Unknown);
        verification.reason
    }

    async fn patched(&self) {
        until(
            "the Deployment is patched",
            seconds(300) + SLACK,
            async || (!self.cluster.patches().is_empty()).then_some(()),
        )
        .await;
    }

    /// Waits until people got a notice that contains `text`.
    async fn told(&self, text: &str) {
        until("people are told", minutes(10) + SLACK, async || {
            let told = self.people.received();
            let found = told.iter().any(|notice| {
                let notice = String::from_utf8_lossy(&notice.body).into_owned();
                notice.contains(text)
            });
            found.then_some(())
        })
        .await;
    }
}

fn verified(solution: &str) -> impl Fn(&Decision) -> bool {
    move |decision| decision.solution == solution && decision.verification.is_some()
}

pub async fn an_echo_of_a_dead_container_leads_to_no_further_restart() {
    let scene = Scene::start("auto", &[("memory", 1e8)]).await;
    scene.feed.set("memory", 3e8);
    scene.patched().await;
    // The dead container is repeated beside the new one for five minutes.
    scene.feed.set("memory", 4e8);
    tokio::time::sleep(minutes(5)).await;
    scene.feed.set("memory", 1e8);
    let restarted = scene
        .running
        .decision(
            "the restart is verified",
            verified(solutions::RESTART_SERVICE),
        )
        .await;
    let verification = restarted.verification.unwrap();
    assert_eq!(
        verification.outcome,
        VerificationOutcome::Improved,
        "{}",
        verification.reason
    );
    tokio::time::sleep(minutes(2)).await;
    let all = scene.running.decisions().await;
    assert_eq!(all.len(), 1, "{all:#?}");
    assert_eq!(scene.cluster.patches().len(), 1);
}

pub async fn a_change_that_a_deployment_tool_puts_back_is_not_repeated() {
    let scene = Scene::surge("auto").await;
    scene.patched().await;
    assert!(scene.cluster.replicas() > 2);
    scene.cluster.revert("argocd-controller");
    let reason = scene.unknown_effect().await;
    assert!(
        reason.starts_with("argocd-controller put the scale of default/shop/Deployment/web back"),
        "{reason}"
    );
    scene.told("default/shop/Deployment/web").await;
    tokio::time::sleep(minutes(2)).await;
    assert_eq!(scene.cluster.patches().len(), 1);
    assert_eq!(scene.cluster.replicas(), 2);
}

pub async fn a_question_about_a_deleted_target_ends() {
    let scene = Scene::surge("approve").await;
    let held = |decision: &Decision| decision.question.is_some();
    let asked = scene.running.decision("a person is asked", held).await;
    scene.cluster.delete();
    let over = |decision: &Decision| decision.id == asked.id && decision.state().is_terminal();
    let over = scene.running.decision("the question ends", over).await;
    let guard = over.guard.as_ref().unwrap();
    assert_eq!(
        (over.state(), guard.rule.as_str(), guard.reason.as_str()),
        (
            DecisionState::Denied,
            "target_gone",
            "default/shop/Deployment/web was deleted before anybody approved it"
        )
    );
    assert!(scene.cluster.patches().is_empty());
}

pub async fn the_effect_on_a_deleted_target_is_unknown() {
    let scene = Scene::surge("auto").await;
    scene.patched().await;
    scene.cluster.delete();
    // The samples would show a success.
    scene.feed.set("latency", 0.1);
    let reason = scene.unknown_effect().await;
    assert!(
        reason.starts_with("default/shop/Deployment/web was deleted after the scale"),
        "{reason}"
    );
    assert_eq!(scene.cluster.patches().len(), 1);
}
