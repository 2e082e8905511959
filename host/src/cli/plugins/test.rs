//! `plugins test`: runs the conformance suite on one file.

use std::io::{self, Write};
use std::path::PathBuf;

use clap::Args;
use serde::Serialize;
use serde_json::Value;

use super::PluginsError;
use super::load::{Loaded, load};
use crate::cli::Output;
use anomalyzer_conformance::{Check, Figure, Report, Trial};
use anomalyzer_domain::PluginKind;

/// Arguments of `plugins test`.
#[derive(Clone, Debug, Args)]
pub struct TestArgs {
    /// A component, or a core module with the contract embedded
    #[arg(value_name = "FILE.wasm")]
    pub file: PathBuf,
    /// The settings of a detector or the parameters of an action, as an operator would configure
    /// them
    #[arg(long, value_name = "JSON", default_value = "{}", value_parser = object)]
    pub settings: Value,
    /// Leave out the checks that series are independent: the detector's series share knowledge by
    /// design
    #[arg(long)]
    pub series_share: bool,
}

fn object(text: &str) -> Result<Value, String> {
    let value: Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
    if value.is_object() {
        Ok(value)
    } else {
        Err("give a JSON object, as {\"window\": 60}".to_owned())
    }
}

#[derive(Serialize)]
struct Tested<'a> {
    passed: bool,
    #[serde(flatten)]
    report: &'a Report,
}

pub(super) async fn run<W: Write>(
    args: &TestArgs,
    compiler: Option<PathBuf>,
    output: Output,
    out: &mut W,
) -> Result<bool, PluginsError> {
    let Loaded { plugins, info, .. } = load(&args.file, compiler).await?;
    if let Some(error) = info.error {
        return Err(PluginsError::Unusable(error));
    }
    let trial = Trial {
        settings: args.settings.clone(),
        series_share: args.series_share,
    };
    let report = anomalyzer_conformance::examine(&plugins, &info, &trial).await;
    let passed = report.passed();
    match output {
        Output::Text => text(&report, out)?,
        Output::Json => {
            serde_json::to_writer_pretty(
                &mut *out,
                &Tested {
                    passed,
                    report: &report,
                },
            )
            .map_err(io::Error::from)?;
            writeln!(out)?;
        }
    }
    Ok(passed)
}

fn text<W: Write>(report: &Report, out: &mut W) -> io::Result<()> {
    let Report {
        plugin,
        version,
        kind,
        digest,
        checks,
        figures,
        notes,
    } = report;
    let kind = if *kind == Some(PluginKind::Action) {
        "action"
    } else {
        "detector"
    };
    writeln!(
        out,
        "{plugin} {version}, {kind}, sha-256 {}",
        &digest[..digest.len().min(12)]
    )?;
    for Check {
        name,
        about,
        ok,
        failure,
    } in checks
    {
        writeln!(
            out,
            "{:<7} {name:<19} {about}",
            if *ok { "ok" } else { "FAILED" }
        )?;
        if let Some(failure) = failure {
            writeln!(out, "        found:  {}", failure.found)?;
            writeln!(out, "        where:  {}", failure.place)?;
            writeln!(out, "        remedy: {}", failure.remedy)?;
        }
    }
    if !figures.is_empty() {
        writeln!(out, "figures on this machine")?;
    }
    for Figure { name, value, unit } in figures {
        writeln!(out, "  {:<50} {:>9} {unit}", name, short(*value))?;
    }
    for note in notes {
        writeln!(out, "note: {note}")?;
    }
    let failed = checks.iter().filter(|check| !check.ok).count();
    match failed {
        0 => writeln!(out, "all {} checks passed", checks.len()),
        failed => writeln!(out, "{failed} of {} checks failed", checks.len()),
    }
}

/// Formats a figure with about three significant digits.
fn short(value: f64) -> String {
    let decimals = if value >= 100.0 || value.fract() == 0.0 {
        0
    } else if value >= 10.0 {
        1
    } else {
        2
    };
    format!("{value:.decimals$}")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use anomalyzer_conformance::Failure;

    #[test]
    fn settings_are_an_object() {
        assert_eq!(object(r#"{"window": 5}"#), Ok(json!({"window": 5})));
        assert!(object("[]").unwrap_err().contains("object"));
        assert!(object("{").is_err());
    }

    #[test]
    fn a_report_tells_what_failed_where_and_what_to_do() {
        let report = Report {
            plugin: "jump".to_owned(),
            version: "0.1.0".to_owned(),
            kind: Some(PluginKind::Detector),
            digest: "0123456789abcdef".repeat(4),
            checks: vec![
                Check {
                    name: "opens",
                    about: "it opens",
                    ok: true,
                    failure: None,
                },
                Check {
                    name: "frame-ends",
                    about: "where a frame ends changes nothing",
                    ok: false,
                    failure: Some(Failure {
                        found: "the scores 1 and 2".to_owned(),
                        place: "series `calm`, sample 3".to_owned(),
                        remedy: "keep all memory per series".to_owned(),
                    }),
                },
            ],
            figures: vec![
                Figure {
                    name: "a sample, one a call",
                    value: 212.4,
                    unit: "ns",
                },
                Figure {
                    name: "opening an instance",
                    value: 0.0432,
                    unit: "ms",
                },
            ],
            notes: vec!["it is hot today".to_owned()],
        };
        let mut out = Vec::new();
        text(&report, &mut out).unwrap();
        insta::assert_snapshot!(String::from_utf8(out).unwrap(), @r"
        jump 0.1.0, detector, sha-256 0123456789ab
        ok      opens               it opens
        FAILED  frame-ends          where a frame ends changes nothing
                found:  the scores 1 and 2
                where:  series `calm`, sample 3
                remedy: keep all memory per series
        figures on this machine
          a sample, one a call                                     212 ns
          opening an instance                                     0.04 ms
        note: it is hot today
        1 of 2 checks failed
        ");
        let json = serde_json::to_value(Tested {
            passed: report.passed(),
            report: &report,
        })
        .unwrap();
        assert_eq!(json["passed"], json!(false));
        assert_eq!(json["checks"][1]["where"], json!("series `calm`, sample 3"));
        assert_eq!(
            json["checks"][0],
            json!({"name": "opens", "about": "it opens", "ok": true})
        );
    }
}
