//! What the types alone cannot tell: whether the parts of a configuration fit together.

use std::collections::HashSet;

use crate::act::http::HttpSender;
use crate::collect::{CollectError, ScrapeTargets};
use crate::config::Config;
use crate::domain::Target;

use super::place::{Place, Step};

/// What is wrong, with the remedy, and what that is about.
pub(super) struct Unfit {
    pub place: Place,
    pub message: String,
}

/// Operations that the host can perform.
const OPERATIONS: [&str; 9] = [
    "scale",
    "restart",
    "roll_back",
    "patch",
    "http",
    "notify",
    "inspect",
    "read_logs",
    "query",
];

fn at<const N: usize>(steps: [Step; N], message: impl Into<String>) -> Unfit {
    Unfit {
        place: steps.into(),
        message: message.into(),
    }
}

fn named(message: String) -> Unfit {
    Unfit {
        place: Place::Named,
        message,
    }
}

/// All that does not depend on the environment.
pub(super) fn check(config: &Config) -> Result<(), Unfit> {
    signals(config)?;
    rate_limits(config)?;
    grants(config)?;
    scrapes(config)?;
    for (index, window) in config.guard.maintenance.iter().enumerate() {
        let place = ["guard".into(), "maintenance".into(), index.into()];
        window.validate().map_err(|error| at(place, error))?;
    }
    for (index, rule) in config.guard.policy.iter().enumerate() {
        let place = ["guard".into(), "policy".into(), index.into()];
        if config.guard.policy[..index]
            .iter()
            .any(|other| other.name == rule.name)
        {
            return Err(at(
                place,
                format!(
                    "two rules are called `{}`: give each a name of its own",
                    rule.name
                ),
            ));
        }
        rule.validate().map_err(|error| at(place, error))?;
    }
    if !(0.0..=1.0).contains(&config.guard.most_share) {
        return Err(at(
            ["guard".into(), "most_share".into()],
            "most_share is a share: write a number from 0 to 1",
        ));
    }
    if config.guard.min_replicas > config.guard.max_replicas {
        return Err(at(
            ["guard".into(), "min_replicas".into()],
            "min_replicas is larger than max_replicas",
        ));
    }
    if let Some(ollama) = &config.ollama {
        let url = reqwest::Url::parse(&ollama.url);
        if !url.is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host()) {
            let message = format!(
                "`{}` is not an address: write for example http://127.0.0.1:11434",
                ollama.url
            );
            return Err(at(["ollama".into(), "url".into()], message));
        }
        if ollama.model.trim().is_empty() {
            let message = "no model is named: write for example llama3.1:8b";
            return Err(at(["ollama".into(), "model".into()], message));
        }
    }
    if let Some(trial) = &config.trial {
        trial
            .validate()
            .map_err(|error| at(["trial".into()], error))?;
    }
    config.local.validate().map_err(named)?;
    config.notify.validate().map_err(named)?;
    HttpSender::new(&config.http).map(drop).map_err(named)?;
    config
        .api
        .validate()
        .map_err(|error| named(error.to_string()))
}

/// Whether there is someone to ask for each signal: the address of Prometheus may come from the
/// environment.
pub(super) fn check_sources(config: &Config) -> Result<(), Unfit> {
    let error = match config.collect.check(&config.signals()) {
        Ok(()) => return Ok(()),
        Err(error) => error,
    };
    let signal = |name: &str| {
        let index = config
            .signal
            .iter()
            .rposition(|signal| signal.get_ref().name == *name)
            .unwrap_or_default();
        vec![Step::from("signal"), index.into()]
    };
    let place = match &error {
        CollectError::SameSignal(name)
        | CollectError::NoPrometheus(name)
        | CollectError::NoScrape(name)
        | CollectError::ShortWindow { signal: name, .. }
        | CollectError::ShortInterval(name) => signal(name),
        CollectError::SameJob(job) | CollectError::NoGroup { job, .. } => {
            let index = config
                .collect
                .scrape
                .iter()
                .rposition(|scrape| scrape.job == *job)
                .unwrap_or_default();
            vec!["collect".into(), "scrape".into(), index.into()]
        }
        CollectError::Zero(key) => key.split('.').map(Step::from).collect(),
        CollectError::Client(_) => vec!["collect".into()],
    };
    Err(Unfit {
        place: Place::At(place),
        message: error.to_string(),
    })
}

fn signals(config: &Config) -> Result<(), Unfit> {
    let mut names = HashSet::new();
    for (index, signal) in config.signal.iter().enumerate() {
        let name = &signal.get_ref().name;
        let wrong = |message: String| Err(at(["signal".into(), index.into()], message));
        if !names.insert(name) {
            return wrong(format!(
                "two signals are called `{name}`: give each a name of its own"
            ));
        }
        if signal.get_ref().detectors.is_empty() {
            return wrong(format!(
                "signal `{name}` has no detector: name one, or leave `detectors` out for `novelty`"
            ));
        }
    }
    Ok(())
}

fn rate_limits(config: &Config) -> Result<(), Unfit> {
    let known = |target: &Target| {
        target.kind != "Process" || config.local.groups.contains_key(&target.name)
    };
    for (index, limit) in config.rate_limit.iter().enumerate() {
        let wrong = |why: &str| {
            Err(at(
                ["rate_limit".into(), index.into()],
                format!("rate limit of {}: {why}", limit.target),
            ))
        };
        if limit.patch.is_some() == limit.http.is_some() {
            return wrong("give either `patch` or `http`");
        }
        if let Some(patch) = &limit.patch
            && let Err(error) = serde_json::from_value::<Target>(patch["target"].clone())
        {
            return wrong(&format!(
                "what its `patch` is for cannot be read ({error}): write `patch = {{ target = {{ kind, name }}, patch = {{ … }} }}`"
            ));
        }
        if !known(&limit.target) {
            return wrong("there is no group of that name in [local.groups]");
        }
    }
    Ok(())
}

fn grants(config: &Config) -> Result<(), Unfit> {
    for (index, grant) in config.grant.iter().flatten().enumerate() {
        let operation = grant.operation.replace('-', "_");
        if !OPERATIONS.contains(&operation.as_str()) {
            let message = format!(
                "there is no operation `{}` to grant to `{}`: use one of {}",
                grant.operation,
                grant.plugin,
                OPERATIONS.join(", ")
            );
            return Err(at(
                ["grant".into(), index.into(), "operation".into()],
                message,
            ));
        }
    }
    Ok(())
}

fn scrapes(config: &Config) -> Result<(), Unfit> {
    for (index, scrape) in config.collect.scrape.iter().enumerate() {
        if let ScrapeTargets::Group(group) = &scrape.targets
            && !config.local.groups.contains_key(group)
        {
            let error = CollectError::NoGroup {
                job: scrape.job.clone(),
                group: group.clone(),
            };
            let message = format!("{error}, or add [local.groups.{group}]");
            return Err(at(
                [
                    "collect".into(),
                    "scrape".into(),
                    index.into(),
                    "targets".into(),
                ],
                message,
            ));
        }
    }
    Ok(())
}
