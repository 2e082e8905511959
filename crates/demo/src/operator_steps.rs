//! The last scene of the demo: nothing goes wrong, and a person acts over the public API.

use anyhow::Context;
use reqwest::Method;
use serde_json::{Value, json};

use super::environment::{endpoints, ready};
use super::scene_context::{SceneContext, poll};
use anomalyzer_domain::{
    Decision, DecisionId, DecisionState, OutcomeKind, Target, UnixMs, solutions,
};
use anomalyzer_history::{Filter, Order, Page};

/// A number of replicas that is above the configured bound.
const TOO_MANY: u32 = 9;

/// A rate limit that is above the requests per second of an ordinary day.
const MANY: u32 = 200;

/// Steps of a person who operates the host.
pub(super) struct OperatorSteps<'s, 'a> {
    pub context: &'s SceneContext<'a>,
    pub started: UnixMs,
}

impl OperatorSteps<'_, '_> {
    pub(super) async fn play(&self) -> anyhow::Result<String> {
        let stopped = self.kill_switch().await?;
        let refused = self.beyond_the_bounds().await?;
        let shop =
            async { Ok::<_, anyhow::Error>((self.put_back().await?, self.approval().await?)) };
        let ((undone, approved), spent) = tokio::try_join!(shop, self.beyond_the_budget())?;
        Ok(format!(
            "the kill switch stopped {stopped}; {refused} was refused; {spent} was beyond the budget; {undone} put back what was scaled \
             up; {approved} was asked about and approved"
        ))
    }

    async fn kill_switch(&self) -> anyhow::Result<String> {
        self.ask(
            Method::PUT,
            "/api/v1/kill-switch",
            Some(json!({ "why": "the demo shows it" })),
        )
        .await?;
        let decision = self.request("restart-service", json!({})).await?;
        self.ask(Method::DELETE, "/api/v1/kill-switch", None)
            .await?;
        refused_by(&decision, "kill_switch")?;
        Ok(decision.id.to_string())
    }

    async fn beyond_the_bounds(&self) -> anyhow::Result<String> {
        let decision = self
            .request("scale-up", json!({ "replicas": TOO_MANY }))
            .await?;
        refused_by(&decision, "replica_bounds")?;
        Ok(format!("{TOO_MANY} replicas ({})", decision.id))
    }

    /// Exhausts the budget of the reports, which allows one change in an hour. A person makes that
    /// change. When the reports leak afterwards, the host may only notify people.
    async fn beyond_the_budget(&self) -> anyhow::Result<String> {
        let context = self.context;
        let target = Target::new("", "Process", "reports");
        let replica = ready(&endpoints(Some(context.running), &target)?.borrow())
            .into_iter()
            .next();
        let replica = replica.context("no replica of the reports serves")?;
        self.accepted(&target, "scale-up", json!({ "replicas": 2 }))
            .await?;
        context.fault(&replica, "leak").await?;
        let ended = |solution: &'static str| {
            let filter = Filter {
                target: Some(target.clone()),
                solution: Some(solution.to_owned()),
                ..Filter::default()
            };
            let what = format!("no `{solution}` of the reports was decided and ended");
            async move {
                poll(context.within(60), &what, async || {
                    let page = Page {
                        limit: 1,
                        order: Order::Newest,
                        ..Page::default()
                    };
                    let (decisions, _) = context.reader.decisions(&filter, page).await.ok()?;
                    decisions
                        .into_iter()
                        .find(|decision| decision.state().needs_no_work())
                })
                .await
            }
        };
        let denied = ended(solutions::RESTART_SERVICE).await?;
        refused_by(&denied, "budget")?;
        let alarm = ended(solutions::ALARM).await?;
        anyhow::ensure!(
            alarm.state() == DecisionState::Done,
            "nobody was told: {}",
            alarm.state().as_str()
        );
        context
            .client
            .delete(format!("{replica}/fault"))
            .send()
            .await?;
        Ok(denied.id.to_string())
    }

    /// Waits until the host rolls back the scaling of the surge by itself, some time after the
    /// surge.
    async fn put_back(&self) -> anyhow::Result<String> {
        let context = self.context;
        context.narrator.say(
            "progress",
            "what was scaled up for the surge is to go back by itself",
            &json!({}),
        );
        let filter = Filter {
            target: Some(context.environment.target.clone()),
            solution: Some(solutions::SCALE_UP.to_owned()),
            ..Filter::default()
        };
        let page = Page {
            limit: 100,
            order: Order::Oldest,
            ..Page::default()
        };
        let undone = poll(context.within(60), "nothing was put back", async || {
            let (decisions, _) = context.reader.decisions(&filter, page).await.ok()?;
            decisions
                .into_iter()
                .find(|decision| decision.state() == DecisionState::Undone)
        });
        let undone = undone.await?;
        let reason = undone
            .undo
            .as_ref()
            .map(|undo| undo.reason.clone())
            .unwrap_or_default();
        context.narrator.say(
            "undo",
            &format!("decision {} is undone: {reason}", undone.id),
            &json!(undone.undo),
        );
        Ok(undone.id.to_string())
    }

    async fn approval(&self) -> anyhow::Result<String> {
        let decision = self
            .request("rate-limit", json!({ "requests_per_second": MANY }))
            .await?;
        let held = decision.question.clone().context("nobody was asked")?;
        anyhow::ensure!(
            decision.state() == DecisionState::Held,
            "{} was not held: {}",
            decision.id,
            decision.state().as_str()
        );
        let yes = json!({ "question": held.id, "reason": "the demo says yes" });
        self.ask(
            Method::POST,
            &format!("/api/v1/decisions/{}/approve", decision.id),
            Some(yes),
        )
        .await?;
        let done = |decision: &Decision| {
            let outcomes = decision
                .operations
                .iter()
                .filter_map(|record| record.outcome.as_ref());
            outcomes
                .clone()
                .any(|outcome| outcome.kind == OutcomeKind::Done)
        };
        let context = self.context;
        poll(
            context.within(60),
            "what was approved was not done",
            async || {
                let decision = context.reader.decision(&decision.id).await.ok().flatten()?;
                done(&decision).then_some(())
            },
        )
        .await?;
        Ok(decision.id.to_string())
    }

    /// Requests an action, and waits until its decision is over or held.
    async fn request(&self, action: &str, parameters: Value) -> anyhow::Result<Decision> {
        let context = self.context;
        let id = self
            .accepted(&context.environment.target, action, parameters)
            .await?;
        poll(
            context.within(60),
            "what was asked for is neither over nor held",
            async || {
                let decision = context.reader.decision(&id).await.ok().flatten()?;
                (decision.decided_at >= self.started && decision.state().needs_no_work())
                    .then_some(decision)
            },
        )
        .await
    }

    /// Requests an action and returns the id of its decision.
    async fn accepted(
        &self,
        target: &Target,
        action: &str,
        parameters: Value,
    ) -> anyhow::Result<DecisionId> {
        let body = json!({ "target": target.to_string(), "parameters": parameters });
        let accepted = self
            .ask(Method::POST, &format!("/action/{action}"), Some(body))
            .await?;
        let url = accepted["url"]
            .as_str()
            .context("the answer names no decision")?;
        Ok(url.rsplit('/').next().unwrap_or_default().into())
    }

    async fn ask(&self, method: Method, path: &str, body: Option<Value>) -> anyhow::Result<Value> {
        let context = self.context;
        let url = format!("http://{}{path}", context.running.address());
        let shown = body
            .as_ref()
            .map(|body| format!(" {body}"))
            .unwrap_or_default();
        context.narrator.say(
            "hands",
            &format!("{method} {path}{shown}"),
            &json!({ "method": method.as_str(), "path": path }),
        );
        let mut request = context.client.request(method, &url);
        if let Some(body) = body {
            request = request.json(&body);
        }
        let answer = request.send().await.with_context(|| url.clone())?;
        let status = answer.status();
        let text = answer.text().await?;
        anyhow::ensure!(status.is_success(), "{url} answered {status}: {text}");
        Ok(serde_json::from_str(&text).unwrap_or(Value::Null))
    }
}

fn refused_by(decision: &Decision, rule: &str) -> anyhow::Result<()> {
    let guard = decision.guard.as_ref().context("the guard was not asked")?;
    anyhow::ensure!(
        decision.state() == DecisionState::Denied && guard.rule == rule,
        "{} is {} by rule {}, and was to be denied by {rule}",
        decision.id,
        decision.state().as_str(),
        guard.rule
    );
    Ok(())
}
