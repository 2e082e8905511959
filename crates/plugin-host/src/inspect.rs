//! Inspects the bytes of a plugin before any of them is used: has them compiled, linked, and asked
//! to describe themselves.

use std::io::ErrorKind;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;

use serde_json::Value;
use wasmtime::component::{Component, Linker};

use super::action::Action;
use super::bindings::action::ActionPluginPre;
use super::bindings::types::About;
use super::compile::{Compiled, Foreign, Turn};
use super::component::Surface;
use super::detector::Detector;
use super::error::PluginError;
use super::exports::DetectorPre;
use super::plugin_info::{Need, PluginInfo, digest, is_name};
use super::runtime::{OPENING_BYTES, Runtime};
use super::sandbox::State;
use super::text::one_line;
use super::{component, linker, regular_file};
use anomalyzer_domain::PluginKind;

const DETECTOR: &str = "anomalyzer:plugin/detector@0.1.0";
const ACTION: &str = "anomalyzer:plugin/action@0.1.0";

/// Maximum size of a declared schema, in bytes. [`NEEDS`] is the maximum number of declared needs.
const SCHEMA_BYTES: usize = 64 << 10;
/// Setting for the minimum number of samples of a series before a detector reports on that series.
pub(super) const MIN_SAMPLES: &str = "min_samples";
const NOTED: &str = "x-min-samples";
const NEEDS: usize = 64;
/// Maximum history that a detector may ask for, in milliseconds: 90 days. The store of the samples
/// is asked for all of it.
const HISTORY_MS: u64 = 90 * 86_400_000;

/// Plugin that passed every check.
pub(super) enum Code {
    Detector(Arc<Detector>),
    Action(Arc<Action>),
}

/// Foreign bytes that passed every check. Nothing of them is kept before [`Prepared::open`].
pub(super) enum Prepared {
    /// Code that this process compiled.
    Here(Code),
    /// Code that a child process compiled.
    Outside(Compiled),
}

/// Inspects a plugin's bytes. Fills in `info` on the way, so that a refused plugin is described as
/// well. The error is one line. Takes as long as the compilation.
///
/// A child process does all of the work. Without a program for it, this process does.
pub(super) fn examine(
    runtime: &Arc<Runtime>,
    linker: &Linker<State>,
    bytes: &[u8],
    turn: &Turn<'_>,
    info: &mut PluginInfo,
) -> Result<Prepared, String> {
    info.digest = digest(bytes);
    info.size = bytes.len() as u64;
    let examined = match runtime.compiler.child() {
        Some(child) => {
            let foreign = Foreign {
                bytes,
                digest: &info.digest,
                name: &info.name,
            };
            match child.examine(&runtime.engine, &foreign, turn) {
                Ok((compiled, description)) => description
                    .describe(info)
                    .map(|()| Prepared::Outside(compiled)),
                Err(refusal) => {
                    // An unusable description leaves the file without one.
                    let _ = refusal.description.map(|found| found.describe(info));
                    Err(refusal.reason)
                }
            }
        }
        None => catch_unwind(AssertUnwindSafe(|| {
            examine_here(runtime, linker, bytes, info).map(Prepared::Here)
        }))
        .unwrap_or_else(|_| Err("the runtime panicked over it".to_owned())),
    };
    examined.map_err(|reason| one_line(&reason, 1024))
}

fn examine_here(
    runtime: &Arc<Runtime>,
    linker: &Linker<State>,
    bytes: &[u8],
    info: &mut PluginInfo,
) -> Result<Code, String> {
    let encoded = component::component(bytes)?;
    info.surface = Surface::of(bytes, &encoded).ok();
    let component = runtime.compiler.compile_here(&runtime.engine, &encoded)?;
    let linked = link(runtime, linker, &component, info)?;
    describe(runtime, &linked, info)?;
    Ok(linked.code(runtime, info))
}

impl Prepared {
    /// Returns true if the compiled code is not in the cache.
    pub(super) fn is_fresh(&self) -> bool {
        matches!(self, Self::Outside(Compiled::Fresh(_)))
    }

    /// Takes the compiled code over, and makes it ready to be opened. Runs nothing of it.
    pub(super) fn open(
        self,
        runtime: &Arc<Runtime>,
        linker: &Linker<State>,
        bytes: &[u8],
        info: &PluginInfo,
    ) -> Result<Code, String> {
        let compiled = match self {
            Self::Here(code) => return Ok(code),
            Self::Outside(compiled) => compiled,
        };
        let load = || {
            let component =
                runtime
                    .compiler
                    .load(&runtime.engine, bytes, &info.digest, compiled)?;
            let linked = link(runtime, linker, &component, &mut info.clone())?;
            Ok(linked.code(runtime, info))
        };
        load().map_err(|reason: String| one_line(&reason, 1024))
    }
}

/// Reads the file of a plugin, of at most `max` bytes.
pub(super) fn read(path: &Path, max: u64) -> Result<Vec<u8>, String> {
    regular_file::read(path, max).map_err(|error| match error.kind() {
        ErrorKind::FileTooLarge => {
            format!("it is larger than {max} bytes; see `max_component_bytes`")
        }
        _ => format!("it can't be read: {error}"),
    })
}

/// Component whose imports and exports fit the contract.
pub(super) enum Linked {
    Detector(DetectorPre),
    Action(ActionPluginPre<State>),
}

/// Determines the kind of a component, and links it. Runs nothing of it.
pub(super) fn link(
    runtime: &Runtime,
    linker: &Linker<State>,
    component: &Component,
    info: &mut PluginInfo,
) -> Result<Linked, String> {
    linker::refuse_foreign_imports(&runtime.engine, component)?;
    let kind = kind_of(&runtime.engine, component)?;
    info.kind = Some(kind);
    let mismatch = |error: wasmtime::Error| format!("it does not match the contract: {error:#}");
    let pre = linker.instantiate_pre(component).map_err(mismatch)?;
    match kind {
        PluginKind::Detector => DetectorPre::new(pre).map(Linked::Detector),
        PluginKind::Action => ActionPluginPre::new(pre).map(Linked::Action),
    }
    .map_err(mismatch)
}

/// Asks a plugin to describe itself, within the limits of a call.
pub(super) fn describe(
    runtime: &Runtime,
    linked: &Linked,
    info: &mut PluginInfo,
) -> Result<(), String> {
    let as_text = |error: PluginError| error.to_string();
    let deadline = runtime.limits.describe_deadline;
    let mut sandbox = runtime.sandbox_of_nobody(info.name.as_str().into());
    let bytes = OPENING_BYTES + SCHEMA_BYTES;
    match linked {
        Linked::Detector(pre) => {
            let exports = sandbox
                .call("instantiate", deadline, bytes, |store| {
                    pre.instantiate(store)
                })
                .map_err(as_text)?;
            let description = sandbox
                .call("describe", deadline, bytes, |store| {
                    exports.detector.call_describe(store)
                })
                .map_err(as_text)?;
            introduce(info, description.about)?;
            info.stateful = pre.is_stateful();
            info.history_ms = description.history_ms;
            if info.history_ms > HISTORY_MS {
                return Err(format!(
                    "it wants to see {} ms of the past, more than {HISTORY_MS}",
                    info.history_ms
                ));
            }
        }
        Linked::Action(pre) => {
            let guest = sandbox
                .call("instantiate", deadline, bytes, |store| {
                    pre.instantiate(store)
                })
                .map_err(as_text)?;
            let description = sandbox
                .call("describe", deadline, bytes, |store| {
                    guest.anomalyzer_plugin_action().call_describe(store)
                })
                .map_err(as_text)?;
            introduce(info, description.about)?;
            if description.needs.len() > NEEDS {
                return Err(format!(
                    "it declares {} needs, more than {NEEDS}",
                    description.needs.len()
                ));
            }
            info.needs = description
                .needs
                .into_iter()
                .map(|need| Need {
                    operation: one_line(&need.operation, 64),
                    scope: one_line(&need.scope, 512),
                })
                .collect();
        }
    }
    Ok(())
}

impl Linked {
    /// Returns the plugin that `info` describes, ready to be opened.
    fn code(self, runtime: &Arc<Runtime>, info: &PluginInfo) -> Code {
        let (name, runtime) = (Arc::from(info.name.as_str()), Arc::clone(runtime));
        let (version, digest) = (info.version.clone(), info.digest.clone());
        match self {
            Self::Detector(pre) => Code::Detector(Arc::new(Detector {
                name,
                version,
                digest,
                history_ms: info.history_ms,
                min_samples: min_samples(&info.settings),
                pre,
                runtime,
            })),
            Self::Action(pre) => Code::Action(Arc::new(Action {
                name,
                version,
                digest,
                pre,
                runtime,
            })),
        }
    }
}

/// Determines the kind of a component by its exports.
fn kind_of(engine: &wasmtime::Engine, component: &Component) -> Result<PluginKind, String> {
    let exports = component.component_type();
    let has = |name| exports.get_export(engine, name).is_some();
    match (has(DETECTOR), has(ACTION)) {
        (true, false) => Ok(PluginKind::Detector),
        (false, true) => Ok(PluginKind::Action),
        (true, true) => {
            Err("it exports a detector and an action; make two plugins of it".to_owned())
        }
        (false, false) => {
            let found: Vec<&str> = exports
                .exports(engine)
                .map(|(name, _)| name)
                .take(8)
                .collect();
            Err(format!(
                "it exports neither `{DETECTOR}` nor `{ACTION}`, but [{}]",
                found.join(", ")
            ))
        }
    }
}

/// Returns the minimum number of samples of a series before a detector reports on it, from the
/// schema of its settings. This is the default of the setting [`MIN_SAMPLES`], or the value of
/// [`NOTED`] in the schema of a detector without that setting.
fn min_samples(schema: &Value) -> Option<u32> {
    whole(&schema["properties"][MIN_SAMPLES]["default"]).or_else(|| whole(&schema[NOTED]))
}

/// Returns the value as a number of samples, if it can be one.
pub(super) fn whole(value: &Value) -> Option<u32> {
    value.as_u64().and_then(|value| u32::try_from(value).ok())
}

/// Copies a plugin's description of itself to `info`. Returns an error if it is not valid.
fn introduce(info: &mut PluginInfo, about: About) -> Result<(), String> {
    let About {
        name,
        version,
        summary,
        settings,
    } = about;
    if !is_name(&name) {
        return Err(format!(
            "it calls itself `{}`; a name has lower-case letters, digits and hyphens, at most 63, and no hyphen at \
             its ends",
            one_line(&name, 80)
        ));
    }
    if !is_semantic(&version) {
        return Err(format!(
            "`{}` is not a semantic version such as 1.2.3",
            one_line(&version, 80)
        ));
    }
    if settings.len() > SCHEMA_BYTES {
        return Err(format!(
            "the schema of its settings is larger than {SCHEMA_BYTES} bytes"
        ));
    }
    info.settings = serde_json::from_str(&settings)
        .map_err(|error| format!("the schema of its settings is not JSON: {error}"))?;
    if !info.settings.is_object() && !info.settings.is_boolean() {
        return Err(
            "the schema of its settings is not a JSON Schema: neither an object nor a boolean"
                .to_owned(),
        );
    }
    info.name = name;
    info.version = version;
    info.summary = one_line(&summary, 1024);
    Ok(())
}

/// Returns true if `version` is `major.minor.patch`, optionally with `-pre-release` and `+build`.
fn is_semantic(version: &str) -> bool {
    let end = version.find(['-', '+']).unwrap_or(version.len());
    let (core, rest) = version.split_at(end);
    let numbers: Vec<&str> = core.split('.').collect();
    version.len() <= 64
        && numbers.len() == 3
        && numbers
            .iter()
            .all(|n| n.bytes().all(|b| b.is_ascii_digit()) && n.parse::<u64>().is_ok())
        && rest
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "-+.".contains(c))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn versions_are_semantic() {
        for good in ["0.1.0", "1.2.3-rc.1+build.5", "10.20.30"] {
            assert!(is_semantic(good), "{good}");
        }
        for bad in [
            "", "1", "1.2", "1.2.3.4", "v1.2.3", "1.2.x", "1..3", "1.2.3 ", "+1.2.3", "1.2.3-\n",
        ] {
            assert!(!is_semantic(bad), "{bad:?}");
        }
    }

    #[test]
    fn how_many_samples_it_wants_stands_in_its_schema() {
        let schemas = [
            (
                json!({ "properties": { "min_samples": { "type": "integer", "default": 200 } } }),
                Some(200),
            ),
            (
                json!({ "properties": { "window": { "default": 60 } }, "x-min-samples": 20 }),
                Some(20),
            ),
            (
                json!({ "properties": { "min_samples": { "default": null } } }),
                None,
            ),
            (
                json!({ "properties": { "min_samples": { "default": -1 } } }),
                None,
            ),
            (json!(true), None),
        ];
        for (schema, wanted) in schemas {
            assert_eq!(min_samples(&schema), wanted, "{schema}");
        }
    }
}
