//! `anomalyzer policy test`: compares the guard's verdicts on described situations with the
//! expected ones.

use std::io::Write;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde::Deserialize;
use serde_json::{Value, json};

use super::Output;
use anomalyzer_diagnose::serde_name;
use anomalyzer_domain::GuardVerdict;
use anomalyzer_policy::{Case, Policy};
use anomalyzer_service::config;
use anomalyzer_service::config::{Environment, File};

/// Try what the configuration allows and refuses.
#[derive(Clone, Debug, Args)]
pub struct PolicyCommand {
    /// Subcommand to run.
    #[command(subcommand)]
    pub what: PolicySubcommand,
    /// Text for people, or JSON.
    #[arg(long, global = true, value_enum, default_value_t = Output::Text)]
    pub output: Output,
}

/// Subcommands of `anomalyzer policy`.
#[derive(Clone, Debug, Subcommand)]
pub enum PolicySubcommand {
    /// Ask the guard in each situation of a file, and compare its verdict with the expected one.
    /// The exit code is 1 if a verdict differs
    Test {
        /// The situations: `[[case]]` tables, see docs/how-to/policy.md
        cases: PathBuf,
        /// The configuration with the `[guard]` to test
        #[arg(long, short, value_name = "FILE")]
        config: PathBuf,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Cases {
    case: Vec<Case>,
}

/// Runs the test. Returns true if every verdict is as expected.
///
/// # Errors
/// Returns an error if a file can't be read or is not valid, or if the answer can't be written.
pub fn run<W: Write>(
    command: &PolicyCommand,
    environment: Environment<'_>,
    out: &mut W,
) -> anyhow::Result<bool> {
    let PolicySubcommand::Test { cases, config } = &command.what;
    let policy = config::load(Some(config), environment)?.guard;
    let Cases { case: cases } = File::read(cases)?.read_as()?;
    let mut wrong = 0_usize;
    let mut all = Vec::new();
    for case in &cases {
        let verdict = judge(case, &policy)?;
        let good = case.expect == verdict.verdict
            && case.rule.as_ref().is_none_or(|rule| *rule == verdict.rule);
        wrong += usize::from(!good);
        match command.output {
            Output::Text => writeln!(out, "{}", line(case, &verdict, good))?,
            Output::Json => {
                all.push(json!({ "name": case.name, "good": good, "expected": expected(case), "said": verdict }));
            }
        }
    }
    let whole = cases.len();
    match command.output {
        Output::Text => writeln!(out, "{} of {whole} as expected", whole - wrong)?,
        Output::Json => writeln!(out, "{}", json!({ "good": wrong == 0, "cases": all }))?,
    }
    Ok(wrong == 0)
}

fn judge(case: &Case, policy: &Policy) -> anyhow::Result<GuardVerdict> {
    let facts = case
        .facts()
        .map_err(|error| anyhow::anyhow!("case {:?}: {error}", case.name))?;
    Ok(anomalyzer_policy::judge(&facts, policy))
}

fn expected(case: &Case) -> Value {
    json!({ "verdict": case.expect, "rule": case.rule })
}

fn line(case: &Case, verdict: &GuardVerdict, good: bool) -> String {
    let shown = format!(
        "{} by {} ({})",
        serde_name(&verdict.verdict),
        verdict.rule,
        verdict.reason
    );
    if good {
        return format!("ok     {}: {shown}", case.name);
    }
    let by = case
        .rule
        .as_ref()
        .map(|rule| format!(" by {rule}"))
        .unwrap_or_default();
    format!(
        "WRONG  {}: expected {}{by}, but it is {shown}",
        case.name,
        serde_name(&case.expect)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: &str = r#"
        [[guard.policy]]
        name = "databases"
        when = "target.kind == 'StatefulSet' && operation.kind == 'restart'"
        verdict = "deny"
        reason = "databases are restarted by their operators"

        [[guard.policy]]
        name = "nights"
        when = "time.hour < 6 || time.hour >= 22"
        timezone = "Europe/Berlin"
        verdict = "hold"
        reason = "whoever is on call decides at night"

        [[guard.policy]]
        name = "sure"
        when = "diagnosis.confidence >= 0.9"
        verdict = "allow"
        reason = "the analyst is sure"
    "#;

    const CASES: &str = r#"
        [[case]]
        name = "a database is not restarted"
        solution = "restart_service"
        target = { namespace = "shop", kind = "StatefulSet", name = "db" }
        expect = "deny"
        rule = "policy:databases"

        [[case]]
        name = "at night somebody is asked"
        solution = "scale_up"
        target = { namespace = "shop", kind = "Deployment", name = "web" }
        at = "2026-11-26T21:30:00Z"
        expect = "hold"
        rule = "policy:nights"

        [[case]]
        name = "and says yes"
        solution = "scale_up"
        target = { namespace = "shop", kind = "Deployment", name = "web" }
        at = "2026-11-26T21:30:00Z"
        approved = true
        expect = "allow"

        [[case]]
        name = "an analyst who is sure may, within the bounds"
        solution = "scale_up"
        target = { namespace = "shop", kind = "Deployment", name = "web" }
        diagnosis = { confidence = 0.95 }
        operation = { kind = "scale", replicas = 11 }
        expect = "deny"
        rule = "replica_bounds"

        [[case]]
        name = "the record says why it was allowed"
        solution = "scale_up"
        target = { namespace = "shop", kind = "Deployment", name = "web" }
        diagnosis = { confidence = 0.95 }
        expect = "allow"
        rule = "policy:sure"
    "#;

    fn test(policy: &str, cases: &str, output: Output) -> anyhow::Result<(bool, String)> {
        let folder = tempfile::tempdir()?;
        let (config, file) = (
            folder.path().join("a.toml"),
            folder.path().join("cases.toml"),
        );
        std::fs::write(&config, policy)?;
        std::fs::write(&file, cases)?;
        let mut out = Vec::new();
        let good = run(
            &PolicyCommand {
                what: PolicySubcommand::Test {
                    cases: file,
                    config,
                },
                output,
            },
            &|_| None,
            &mut out,
        )?;
        Ok((good, String::from_utf8(out)?))
    }

    #[test]
    fn every_case_is_judged_and_the_rule_named() {
        let (good, text) = test(POLICY, CASES, Output::Text).unwrap();
        assert!(good, "{text}");
        insta::assert_snapshot!(text);
    }

    #[test]
    fn what_is_judged_otherwise_is_shown() {
        let (good, text) = test(
            POLICY,
            &CASES.replacen("\"deny\"", "\"allow\"", 1),
            Output::Text,
        )
        .unwrap();
        assert!(!good);
        assert!(
            text.starts_with(
                "WRONG  a database is not restarted: expected allow by policy:databases, but"
            ),
            "{text}"
        );
        assert!(text.ends_with("4 of 5 as expected\n"), "{text}");
        let (_, json) = test(POLICY, CASES, Output::Json).unwrap();
        let json: Value = serde_json::from_str(&json).unwrap();
        assert_eq!(json["cases"][0]["said"]["rule"], "policy:databases");
    }

    #[test]
    fn what_is_wrong_in_either_file_is_said_with_its_line() {
        let typo = POLICY.replace("target.kind", "target.knid");
        let error = test(&typo, CASES, Output::Text).unwrap_err().to_string();
        assert!(
            error.contains("a.toml:4:") && error.contains("there is no `target.knid`"),
            "{error}"
        );
        let error = test(POLICY, &CASES.replacen("expect", "expct", 1), Output::Text)
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("cases.toml:") && error.contains("expct"),
            "{error}"
        );
        let unknown = CASES.replacen("restart_service", "defragment", 1);
        let error = test(POLICY, &unknown, Output::Text)
            .unwrap_err()
            .to_string();
        assert!(error.contains("add `operation"), "{error}");
        let twice = POLICY.replace("\"nights\"", "\"databases\"");
        let error = test(&twice, CASES, Output::Text).unwrap_err().to_string();
        assert!(
            error.contains("two rules are called `databases`"),
            "{error}"
        );
        let zone = POLICY.replace("Europe/Berlin", "Europe/Nowhere");
        let error = test(&zone, CASES, Output::Text).unwrap_err().to_string();
        assert!(error.contains("there is no time zone"), "{error}");
    }
}
