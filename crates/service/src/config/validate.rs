//! Checks that the parts of a configuration fit together, and asks each part to check itself.

use std::collections::HashSet;

use anomalyzer_collect::{CollectError, ScrapeTargets};
use anomalyzer_domain::{ConfigIssue, Target};

use super::settings::Config;

/// Checks everything that does not depend on the environment.
pub(super) fn check(config: &Config) -> Result<(), ConfigIssue> {
    signals(config)?;
    rate_limits(config)?;
    for (index, grant) in config.grant.iter().flatten().enumerate() {
        within(
            "grant",
            grant.validate().map_err(|issue| issue.within(index)),
        )?;
    }
    scrapes(config)?;
    within("guard", config.guard.validate())?;
    if let Some(ollama) = &config.ollama {
        within("ollama", ollama.validate())?;
    }
    if let Some(trial) = &config.trial {
        within("trial", trial.validate())?;
    }
    within("local", config.local.validate())?;
    within("notify", config.notify.validate())?;
    within("http", config.http.validate())?;
    within("api", config.api.validate())
}

/// Checks that each signal has a source. The address of Prometheus may come from the environment,
/// so this runs after [`overlay`](super::overlay).
pub(super) fn check_sources(config: &Config) -> Result<(), ConfigIssue> {
    within("collect", config.collect.validate())?;
    within("signal", config.collect.validate_signals(&config.signal))
}

fn within(table: &str, checked: Result<(), ConfigIssue>) -> Result<(), ConfigIssue> {
    checked.map_err(|issue| issue.within(table))
}

fn signals(config: &Config) -> Result<(), ConfigIssue> {
    let mut names = HashSet::new();
    for (index, signal) in config.signal.iter().enumerate() {
        let of_signal = |issue: ConfigIssue| issue.within(index).within("signal");
        let name = &signal.name;
        if !names.insert(name) {
            let message = format!("two signals are called `{name}`: give each a name of its own");
            return Err(of_signal(ConfigIssue::new(message)));
        }
        signal.validate().map_err(of_signal)?;
    }
    Ok(())
}

fn rate_limits(config: &Config) -> Result<(), ConfigIssue> {
    let known = |target: &Target| {
        target.kind != "Process" || config.local.groups.contains_key(&target.name)
    };
    for (index, limit) in config.rate_limit.iter().enumerate() {
        let of_limit = |issue: ConfigIssue| issue.within(index).within("rate_limit");
        limit.validate().map_err(of_limit)?;
        if !known(&limit.target) {
            let why = "there is no group of that name in [local.groups]";
            return Err(of_limit(limit.issue(why)));
        }
    }
    Ok(())
}

fn scrapes(config: &Config) -> Result<(), ConfigIssue> {
    for (index, scrape) in config.collect.scrape.iter().enumerate() {
        if let ScrapeTargets::Group(group) = &scrape.targets
            && !config.local.groups.contains_key(group)
        {
            let error = CollectError::NoGroup {
                job: scrape.job.clone(),
                group: group.clone(),
            };
            let message = format!("{error}, or add [local.groups.{group}]");
            let issue = ConfigIssue::at("targets", message).within(index);
            return Err(issue.within("scrape").within("collect"));
        }
    }
    Ok(())
}
