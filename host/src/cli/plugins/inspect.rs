//! `plugins inspect`: describes a file, and lists every reason why the host would refuse it.

use std::io::{self, Write};
use std::path::PathBuf;

use clap::Args;
use serde::Serialize;

use super::load::{Loaded, load};
use super::{PluginsError, schema};
use crate::cli::Output;
use anomalyzer_domain::PluginKind;
use anomalyzer_plugin_host::{PluginInfo, Surface};

/// Arguments of `plugins inspect`.
#[derive(Clone, Debug, Args)]
pub struct InspectArgs {
    /// A component, or a core module with the contract embedded
    #[arg(value_name = "FILE.wasm")]
    pub file: PathBuf,
}

/// Reason why the host would refuse the file, with the remedy.
#[derive(Debug, Serialize)]
struct Refusal {
    what: String,
    remedy: String,
}

#[derive(Serialize)]
struct Inspected<'a> {
    usable: bool,
    size: usize,
    #[serde(flatten)]
    info: &'a PluginInfo,
    #[serde(flatten)]
    surface: Option<&'a Surface>,
    refusals: &'a [Refusal],
}

pub(super) async fn run<W: Write>(
    args: &InspectArgs,
    compiler: Option<PathBuf>,
    output: Output,
    out: &mut W,
) -> Result<bool, PluginsError> {
    let Loaded { info, bytes, .. } = load(&args.file, compiler).await?;
    let surface = info.surface.as_ref();
    let refusals = refusals(&info);
    let inspected = Inspected {
        usable: refusals.is_empty(),
        size: bytes.len(),
        info: &info,
        surface,
        refusals: &refusals,
    };
    match output {
        Output::Text => text(&inspected, out)?,
        Output::Json => {
            serde_json::to_writer_pretty(&mut *out, &inspected).map_err(io::Error::from)?;
            writeln!(out)?;
        }
    }
    Ok(inspected.usable)
}

/// Lists the reasons for a refusal. The host stops at the first problem that it finds. The imports
/// are visible without running the file, so this function reports every foreign import at once.
fn refusals(info: &PluginInfo) -> Vec<Refusal> {
    let mut refusals: Vec<Refusal> = info
        .surface
        .iter()
        .flat_map(Surface::foreign_imports)
        .map(foreign)
        .collect();
    if refusals.is_empty()
        && let Some(error) = &info.error
    {
        let prefix = format!("{} is not a usable plugin: ", info.file);
        let what = error.strip_prefix(&prefix).unwrap_or(error).to_owned();
        let remedy = remedy(&what).to_owned();
        refusals.push(Refusal { what, remedy });
    }
    refusals
}

fn foreign(import: &str) -> Refusal {
    let remedy = if import.starts_with("wasi:") {
        "build it without WASI: for `wasm32-unknown-unknown` in Rust, with `--stub-wasi` in Python, with all features \
         disabled in JavaScript"
    } else {
        "leave it out: the host gives `log` and nothing else"
    };
    Refusal {
        what: format!("it imports `{import}`"),
        remedy: remedy.to_owned(),
    }
}

/// Returns the remedy for an error message of the host.
fn remedy(what: &str) -> &'static str {
    const REMEDIES: [(&str, &str); 14] = [
        ("no WebAssembly", "give the .wasm file that your build made"),
        (
            "can't be made a component",
            "build it for `wasm32-unknown-unknown`, with the SDK's `export_…!` macro or bindings of `wit/plugin.wit`",
        ),
        (
            "exports neither",
            "export a detector or an action: with the SDK, call `export_detector!` or `export_action!` once",
        ),
        (
            "a detector and an action",
            "make two crates, each with one `export_…!`",
        ),
        (
            "does not match the contract",
            "make the bindings of the `wit/plugin.wit` of this version anew",
        ),
        (
            "calls itself",
            "give it a name of lower-case letters, digits and hyphens, at most 63, without a hyphen at its ends",
        ),
        ("semantic version", "give it a version such as 0.1.0"),
        (
            "schema of its settings is larger",
            "describe the settings in fewer words",
        ),
        (
            "schema of its settings",
            "return a JSON Schema: with the SDK, derive `JsonSchema` on the settings",
        ),
        ("needs, more than", "declare scopes that cover more, as `*`"),
        (
            "did not return from",
            "do no work when it is instantiated or described",
        ),
        (
            "reached a limit in",
            "allocate less when it is instantiated or described",
        ),
        (
            "trapped in",
            "let `describe` return plain constants: run it natively to see where it panics",
        ),
        ("larger than", "leave out what it does not need"),
    ];
    REMEDIES
        .iter()
        .find(|(part, _)| what.contains(part))
        .map_or(
            "build it anew, and check that the file is whole",
            |(_, remedy)| remedy,
        )
}

fn text<W: Write>(inspected: &Inspected, out: &mut W) -> io::Result<()> {
    let info = inspected.info;
    let kind = match info.kind {
        Some(PluginKind::Detector) => "detector",
        Some(PluginKind::Action) => "action",
        None => "no plugin",
    };
    let title = [info.name.as_str(), info.version.as_str(), kind];
    writeln!(
        out,
        "{}",
        title
            .iter()
            .filter(|part| !part.is_empty())
            .copied()
            .collect::<Vec<_>>()
            .join(" ")
    )?;
    if !info.summary.is_empty() {
        writeln!(out, "{}", info.summary)?;
    }
    let made = match inspected.surface {
        Some(surface) if surface.core_module => {
            ", a core module that the host makes a component of"
        }
        Some(_) => ", a component",
        None => "",
    };
    line(
        out,
        "file",
        &format!("{}, {} KiB{made}", info.file, inspected.size.div_ceil(1024)),
    )?;
    line(out, "sha-256", &info.digest)?;
    if let Some(surface) = inspected.surface {
        line(out, "imports", &some(&surface.imports))?;
        line(out, "exports", &some(&surface.exports))?;
    }
    match info.kind {
        Some(PluginKind::Detector) => {
            line(
                out,
                "history",
                &format!(
                    "{} of the past are shown to it before its findings count",
                    span(info.history_ms)
                ),
            )?;
            let memory = if info.stateful {
                "saved and restored"
            } else {
                "rebuilt from history, as it exports no state"
            };
            line(out, "memory", memory)?;
        }
        Some(PluginKind::Action) => {
            let needs: Vec<String> = info
                .needs
                .iter()
                .map(|need| format!("{} of {}", need.operation, need.scope))
                .collect();
            line(out, "needs", &some(&needs))?;
        }
        None => {}
    }
    schema::write(&info.settings, out)?;
    if inspected.refusals.is_empty() {
        return line(out, "usable", "yes");
    }
    line(out, "usable", "no")?;
    for Refusal { what, remedy } in inspected.refusals {
        writeln!(out, "  {what}\n    remedy: {remedy}")?;
    }
    Ok(())
}

fn line<W: Write>(out: &mut W, what: &str, value: &str) -> io::Result<()> {
    writeln!(out, "{what:<9} {value}")
}

fn some(names: &[String]) -> String {
    if names.is_empty() {
        "nothing".to_owned()
    } else {
        names.join(", ")
    }
}

/// Formats a duration in milliseconds in its largest whole unit.
fn span(ms: u64) -> String {
    let (value, unit) = match ms {
        ms if ms > 0 && ms % 86_400_000 == 0 => (ms / 86_400_000, "d"),
        ms if ms > 0 && ms % 3_600_000 == 0 => (ms / 3_600_000, "h"),
        ms if ms > 0 && ms % 60_000 == 0 => (ms / 60_000, "min"),
        ms if ms % 1000 == 0 => (ms / 1000, "s"),
        ms => (ms, "ms"),
    };
    format!("{value} {unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_told_in_its_largest_whole_unit() {
        let told = [0, 1500, 2000, 900_000, 7_200_000, 604_800_000].map(span);
        assert_eq!(told, ["0 s", "1500 ms", "2 s", "15 min", "2 h", "7 d"]);
    }

    #[tokio::test]
    async fn a_file_that_is_no_plugin_is_told_with_the_remedy() {
        let file = tempfile::Builder::new()
            .prefix("broken")
            .suffix(".wasm")
            .tempfile()
            .unwrap();
        let wasi = wat::parse_str(
            r#"(component (import "wasi:sockets/tcp@0.2.0" (instance)) (import "wasi:clocks/wall-clock@0.2.0" (instance)))"#,
        );
        let mut refused = Vec::new();
        for bytes in [
            b"no wasm at all".to_vec(),
            wat::parse_str("(component)").unwrap(),
            wasi.unwrap(),
        ] {
            std::fs::write(file.path(), bytes).unwrap();
            let mut out = Vec::new();
            let good = run(
                &InspectArgs {
                    file: file.path().to_owned(),
                },
                None,
                Output::Text,
                &mut out,
            )
            .await
            .unwrap();
            assert!(!good);
            let text = String::from_utf8(out).unwrap();
            refused.push(text[text.find("usable").unwrap()..].to_owned());
        }
        insta::assert_snapshot!(refused.join("\n"), @r"
        usable    no
          it is no WebAssembly: neither a component nor a core module
            remedy: give the .wasm file that your build made

        usable    no
          it exports neither `anomalyzer:plugin/detector@0.1.0` nor `anomalyzer:plugin/action@0.1.0`, but []
            remedy: export a detector or an action: with the SDK, call `export_detector!` or `export_action!` once

        usable    no
          it imports `wasi:sockets/tcp@0.2.0`
            remedy: build it without WASI: for `wasm32-unknown-unknown` in Rust, with `--stub-wasi` in Python, with all features disabled in JavaScript
          it imports `wasi:clocks/wall-clock@0.2.0`
            remedy: build it without WASI: for `wasm32-unknown-unknown` in Rust, with `--stub-wasi` in Python, with all features disabled in JavaScript
        ");
    }

    #[tokio::test]
    async fn a_file_that_is_not_there_is_named() {
        let args = InspectArgs {
            file: "no/such/file.wasm".into(),
        };
        let error = run(&args, None, Output::Text, &mut Vec::new())
            .await
            .unwrap_err()
            .to_string();
        assert!(
            error.starts_with("cannot read no/such/file.wasm: "),
            "{error}"
        );
    }
}
