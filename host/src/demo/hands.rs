//! The last act: nothing goes wrong, and people use their hands, over the API as anybody would.

use anyhow::Context;
use reqwest::Method;
use serde_json::{Value, json};

use super::scenario::{Scenario, poll};
use crate::domain::{Decision, DecisionState, OutcomeKind, UnixMs, solutions};
use crate::history::{Filter, Order, Page};

/// Further out than the configuration allows.
const TOO_MANY: u32 = 9;

/// More requests a second than there are on an ordinary day.
const MANY: u32 = 200;

pub(super) struct Hands<'s, 'a> {
    pub scenario: &'s Scenario<'a>,
    pub started: UnixMs,
}

impl Hands<'_, '_> {
    pub(super) async fn play(&self) -> anyhow::Result<String> {
        let stopped = self.kill_switch().await?;
        let refused = self.beyond_the_bounds().await?;
        let undone = self.put_back().await?;
        let approved = self.approval().await?;
        Ok(format!(
            "the kill switch stopped {stopped}; {refused} was refused; {undone} put back what was scaled up; {approved} was asked about and approved"
        ))
    }

    async fn kill_switch(&self) -> anyhow::Result<String> {
        self.ask(Method::PUT, "/api/v1/kill-switch", Some(json!({ "why": "the demo shows it" }))).await?;
        let decision = self.request("restart-service", json!({})).await?;
        self.ask(Method::DELETE, "/api/v1/kill-switch", None).await?;
        refused_by(&decision, "kill_switch")?;
        Ok(decision.id.to_string())
    }

    async fn beyond_the_bounds(&self) -> anyhow::Result<String> {
        let decision = self.request("scale-up", json!({ "replicas": TOO_MANY })).await?;
        refused_by(&decision, "replica_bounds")?;
        Ok(format!("{TOO_MANY} replicas ({})", decision.id))
    }

    /// What was scaled up for the surge goes back by itself, some time after it.
    async fn put_back(&self) -> anyhow::Result<String> {
        let scenario = self.scenario;
        scenario.narrator.say("progress", "what was scaled up for the surge is to go back by itself", &json!({}));
        let filter = Filter {
            target: Some(scenario.stage.target.clone()),
            solution: Some(solutions::SCALE_UP.to_owned()),
            ..Filter::default()
        };
        let page = Page { limit: 100, order: Order::Oldest, ..Page::default() };
        let undone = poll(scenario.within(60), "nothing was put back", async || {
            let (decisions, _) = scenario.reader.decisions(&filter, page).await.ok()?;
            decisions.into_iter().find(|decision| decision.state == DecisionState::Undone)
        });
        let undone = undone.await?;
        let reason = undone.undo.as_ref().map(|undo| undo.reason.clone()).unwrap_or_default();
        scenario.narrator.say("undo", &format!("decision {} is undone: {reason}", undone.id), &json!(undone.undo));
        Ok(undone.id.to_string())
    }

    async fn approval(&self) -> anyhow::Result<String> {
        let decision = self.request("rate-limit", json!({ "requests_per_second": MANY })).await?;
        let held = decision.question.clone().context("nobody was asked")?;
        anyhow::ensure!(
            decision.state == DecisionState::Held,
            "{} was not held: {}",
            decision.id,
            decision.state.as_str()
        );
        let yes = json!({ "question": held.id, "reason": "the demo says yes" });
        self.ask(Method::POST, &format!("/api/v1/decisions/{}/approve", decision.id), Some(yes)).await?;
        let done = |decision: &Decision| {
            let outcomes = decision.operations.iter().filter_map(|record| record.outcome.as_ref());
            outcomes.clone().any(|outcome| outcome.kind == OutcomeKind::Done)
        };
        let scenario = self.scenario;
        poll(scenario.within(60), "what was approved was not done", async || {
            let decision = scenario.reader.decision(&decision.id).await.ok().flatten()?;
            done(&decision).then_some(())
        })
        .await?;
        Ok(decision.id.to_string())
    }

    /// Asks for an action, and waits until it is over or held.
    async fn request(&self, action: &str, parameters: Value) -> anyhow::Result<Decision> {
        let scenario = self.scenario;
        let body = json!({ "target": scenario.stage.target.to_string(), "parameters": parameters });
        let accepted = self.ask(Method::POST, &format!("/action/{action}"), Some(body)).await?;
        let url = accepted["url"].as_str().context("the answer names no decision")?.to_owned();
        let id = url.rsplit('/').next().unwrap_or_default();
        poll(scenario.within(60), "what was asked for is neither over nor held", async || {
            let decision = scenario.reader.decision(&id.into()).await.ok().flatten()?;
            (decision.decided_at >= self.started && decision.state.is_final()).then_some(decision)
        })
        .await
    }

    async fn ask(&self, method: Method, path: &str, body: Option<Value>) -> anyhow::Result<Value> {
        let scenario = self.scenario;
        let url = format!("http://{}{path}", scenario.running.address());
        let shown = body.as_ref().map(|body| format!(" {body}")).unwrap_or_default();
        scenario.narrator.say(
            "hands",
            &format!("{method} {path}{shown}"),
            &json!({ "method": method.as_str(), "path": path }),
        );
        let mut request = scenario.client.request(method, &url);
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
        decision.state == DecisionState::Denied && guard.rule == rule,
        "{} is {} by rule {}, and was to be denied by {rule}",
        decision.id,
        decision.state.as_str(),
        guard.rule
    );
    Ok(())
}
