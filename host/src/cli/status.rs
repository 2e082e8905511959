//! `anomalyzer status`: shows the signals that a running server watches, their problems, the
//! detectors that are still learning, and the parts that have a problem.

use std::io::{self, Write};

use clap::Args;
use reqwest::Method;
use serde_json::Value;

use super::Output;
use super::api_client::{ApiClient, ApiError, ServerArgs};

/// Show the signals that a running server watches, their problems, and the detectors that are still
/// learning
#[derive(Clone, Debug, Args)]
pub struct StatusArgs {
    /// Server to ask.
    #[command(flatten)]
    pub server: ServerArgs,
    /// Text for people, or JSON
    #[arg(long, value_enum, default_value_t = Output::Text)]
    pub output: Output,
}

/// Asks the server for its signals, and writes them.
///
/// # Errors
/// Returns an error if the server can't be reached or refuses the request, or if the output can't
/// be written.
pub async fn run<W: Write>(args: StatusArgs, out: &mut W) -> Result<(), ApiError> {
    let client = ApiClient::open(&args.server, "/api/v1/signals")?;
    let mut watched = client.ask(Method::GET, "", None).await?;
    let health = client.health().await?;
    match args.output {
        Output::Json => {
            watched["health"] = health;
            writeln!(out, "{watched}")?;
        }
        Output::Text => {
            text(&watched, out)?;
            parts(&health, out)?;
        }
    }
    Ok(())
}

/// Writes one line for each signal, with its learning detectors and problems below.
fn text<W: Write>(watched: &Value, out: &mut W) -> io::Result<()> {
    let none = Vec::new();
    let signals = watched["signals"].as_array().unwrap_or(&none);
    if signals.is_empty() {
        return writeln!(out, "no signal is watched");
    }
    for spot in watched["blind_spots"].as_array().unwrap_or(&none) {
        let [kind, subject, detail, remedy] =
            ["kind", "subject", "detail", "remedy"].map(|key| spot[key].as_str().unwrap_or("?"));
        writeln!(out, "blind spot {kind} of {subject}: {detail}; {remedy}")?;
    }
    for signal in signals {
        let (name, detect) = (signal["name"].as_str().unwrap_or("?"), &signal["detect"]);
        if detect.is_null() {
            // This server knows nothing about an engine that runs as a separate process.
            writeln!(out, "{name}: no sample was examined here yet")?;
        } else {
            let detectors = list(&detect["detectors"]).join(", ");
            let [series, samples, findings] =
                ["series", "samples", "findings"].map(|key| number(&detect[key]));
            writeln!(
                out,
                "{name}: {series} series, {samples} samples, {findings} findings, by {detectors}"
            )?;
        }
        for learning in detect["learning"].as_array().unwrap_or(&none) {
            writeln!(out, "  {}", learns(learning))?;
        }
        for quarantined in list(&detect["quarantined"]) {
            writeln!(out, "  {quarantined}")?;
        }
        let collect = &signal["collect"];
        let failure = if collect["failing"] == true {
            &collect["last_failure"]["message"]
        } else {
            &Value::Null
        };
        for note in list(&collect["notes"]) {
            writeln!(out, "  note: {note}")?;
        }
        for (what, why) in [
            ("the source fails", failure),
            ("a detector failed", &detect["problem"]),
            ("not restored", &detect["not_restored"]),
            ("not saved", &detect["not_saved"]),
        ] {
            if let Some(why) = why.as_str() {
                writeln!(out, "  {what}: {why}")?;
            }
        }
    }
    Ok(())
}

/// Writes one line for each part that does not work as it should, and for the plugins, the record
/// and the files.
fn parts<W: Write>(health: &Value, out: &mut W) -> io::Result<()> {
    for (name, part) in health["parts"].as_object().into_iter().flatten() {
        let status = part["status"].as_str().unwrap_or("?");
        if status != "ok" || matches!(name.as_str(), "plugins" | "record" | "storage") {
            let detail = part["detail"].as_str().unwrap_or("");
            writeln!(out, "{name}: {status}: {detail}")?;
        }
    }
    Ok(())
}

fn learns(learning: &Value) -> String {
    let detector = learning["detector"].as_str().unwrap_or("?");
    let [series, least, wanted] =
        ["series", "least", "min_samples"].map(|key| number(&learning[key]));
    let of = if series == 1 {
        format!("1 series, of which it has {least}")
    } else {
        format!("{series} series, of which it has {least} or more")
    };
    let when = match learning["ready_at"].as_str() {
        Some(at) => format!("ready about {at}"),
        None => "when it is ready can't be told yet".to_owned(),
    };
    format!("{detector} is learning {of} of {wanted} samples: {when}")
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or(0)
}

fn list(value: &Value) -> Vec<&str> {
    value
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_plugins_the_record_the_files_and_each_part_with_a_problem_are_shown() {
        let health = json!({ "status": "broken", "parts": {
            "act": { "status": "ok", "detail": "running" },
            "bus": { "status": "degraded", "detail": "full" },
            "plugins": { "status": "ok", "detail": "signatures are required since the start" },
            "record": { "status": "ok", "detail": "7 events verified" },
            "storage": { "status": "ok", "detail": "history 1 of 32768 MiB" },
        } });
        let mut out = Vec::new();
        parts(&health, &mut out).unwrap();
        insta::assert_snapshot!(String::from_utf8(out).unwrap(), @r"
        bus: degraded: full
        plugins: ok: signatures are required since the start
        record: ok: 7 events verified
        storage: ok: history 1 of 32768 MiB
        ");
    }

    #[test]
    fn each_signal_says_what_watches_it_what_is_still_learnt_and_what_is_wrong() {
        let watched = json!({ "signals": [
            { "name": "traffic", "collect": { "failing": false, "last_failure": { "message": "long ago" }, "notes": ["half"] }, "detect": {
                "series": 3, "samples": 210, "findings": 0, "detectors": ["novelty@0.1.0", "peers@0.1.0"],
                "learning": [{ "detector": "novelty", "series": 3, "min_samples": 200, "least": 60, "ready_at": "2026-11-26T12:35:00Z" }],
                "quarantined": [], "problem": null, "not_restored": null, "not_saved": null,
            } },
            { "name": "latency", "collect": { "failing": true, "last_failure": { "message": "it timed out" } }, "detect": {
                "series": 1, "samples": 1, "findings": 0, "detectors": ["zscore@0.1.0"],
                "learning": [{ "detector": "zscore", "series": 1, "min_samples": 20, "least": 1, "ready_at": null }],
                "quarantined": ["jump trapped; zscore watches in its place"], "problem": "jump trapped",
            } },
            { "name": "memory", "collect": null, "detect": null },
        ], "blind_spots": [
            { "kind": "no_data", "subject": "memory", "detail": "no sample", "remedy": "check the query" },
        ] });
        let mut out = Vec::new();
        text(&watched, &mut out).unwrap();
        insta::assert_snapshot!(String::from_utf8(out).unwrap(), @r"
        blind spot no_data of memory: no sample; check the query
        traffic: 3 series, 210 samples, 0 findings, by novelty@0.1.0, peers@0.1.0
          novelty is learning 3 series, of which it has 60 or more of 200 samples: ready about 2026-11-26T12:35:00Z
          note: half
        latency: 1 series, 1 samples, 0 findings, by zscore@0.1.0
          zscore is learning 1 series, of which it has 1 of 20 samples: when it is ready can't be told yet
          jump trapped; zscore watches in its place
          the source fails: it timed out
          a detector failed: jump trapped
        memory: no sample was examined here yet
        ");
    }
}
