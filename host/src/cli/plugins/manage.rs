//! `anomalyzer plugins list|show|install|grant|mode|revert|lift|remove`: manages the plugins of a
//! running server through its API.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::Subcommand;
use reqwest::Method;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::super::Output;
use super::super::api_client::{ApiClient, ApiError, ServerArgs, text_of};
use anomalyzer_api::{PluginDetail, ShownPlugin};
use anomalyzer_domain::{
    Allowance, DeclaredEffect, Origin, PluginChange, PluginKind, Version, rfc3339,
};
use anomalyzer_plugin_host::{Need, PluginStats};

/// Subcommands that manage the plugins of a server.
#[derive(Clone, Debug, Subcommand)]
pub enum Manage {
    /// List every plugin with its version, kind, health and problems.
    List(ServerArgs),
    /// Show one plugin: versions, needs, grants, calls and history.
    Show {
        /// Name of the plugin.
        name: String,
        /// Server to ask.
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Upload a component. It is live at once if you are an admin, and waits for an admin
    /// otherwise. An action can do nothing before it has a grant.
    Install {
        /// File of the component. A signature `FILE.minisig` beside it is uploaded too.
        file: PathBuf,
        /// Store the version without making it live.
        #[arg(long)]
        not_live: bool,
        /// Server to ask.
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Set the grants of an action, in place of its present ones: `grant NAME scale:Deployment
    /// restart:Deployment@shop`.
    Grant {
        /// Name of the plugin.
        name: String,
        /// `OPERATION[:SCOPE][=EFFECT][@NAMESPACE,…]`: `scale`, `scale:Deployment`,
        /// `patch:Deployment/spec/template@shop`, `http:hooks.example.com:443=none`. EFFECT says
        /// what an http request does to the target: replicas, template, environment or none.
        #[arg(required_unless_present_any = ["nothing", "as_configured"], value_parser = allowance)]
        grants: Vec<Allowance>,
        /// Remove every grant.
        #[arg(long, conflicts_with_all = ["grants", "as_configured"])]
        nothing: bool,
        /// Return to the grants of the configuration.
        #[arg(long, conflicts_with = "grants")]
        as_configured: bool,
        /// Server to ask.
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Set the mode of a plugin: shadow, approve or auto.
    Mode {
        /// Name of the plugin.
        name: String,
        /// Mode of the plugin.
        #[arg(value_parser = ["shadow", "approve", "auto"])]
        mode: String,
        /// Server to ask.
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Make the previous version live again, or another stored one.
    Revert {
        /// Name of the plugin.
        name: String,
        /// SHA-256 of the version, or its first digits (8 or more).
        #[arg(long)]
        to: Option<String>,
        /// Server to ask.
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Lift the quarantine of a plugin.
    Lift {
        /// Name of the plugin.
        name: String,
        /// Server to ask.
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Remove an uploaded plugin. The history keeps its records.
    Remove {
        /// Name of the plugin.
        name: String,
        /// Remove only this candidate: a version that nobody made live.
        #[arg(long, value_name = "DIGEST", value_parser = digest, conflicts_with = "force")]
        candidate: Option<String>,
        /// Remove the plugin even if it is in use.
        #[arg(long)]
        force: bool,
        /// Server to ask.
        #[command(flatten)]
        server: ServerArgs,
    },
}

/// Reads a digest, which may be shortened.
fn digest(text: &str) -> Result<String, String> {
    match text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        true => Ok(text.to_ascii_lowercase()),
        false => Err("a digest has the digits 0 to 9 and a to f".to_owned()),
    }
}

/// Reads `OPERATION[:SCOPE][=EFFECT][@NAMESPACE,…]`.
fn allowance(text: &str) -> Result<Allowance, String> {
    let (what, namespaces) = match text.rsplit_once('@') {
        Some((what, namespaces)) => (what, namespaces.split(',').map(str::to_owned).collect()),
        None => (text, vec!["*".to_owned()]),
    };
    let (what, effect) = match what.rsplit_once('=') {
        Some((what, effect)) => (what, Some(declared_effect(effect)?)),
        None => (what, None),
    };
    let (operation, scope) = what.split_once(':').unwrap_or((what, "*"));
    if operation.is_empty() || scope.is_empty() || namespaces.iter().any(String::is_empty) {
        return Err(
            "give OPERATION[:SCOPE][=EFFECT][@NAMESPACE,…], as `scale:Deployment@shop`".to_owned(),
        );
    }
    let allowance = Allowance {
        operation: operation.replace('-', "_"),
        scope: scope.to_owned(),
        namespaces,
        effect,
    };
    allowance.validate().map_err(|issue| issue.message)?;
    Ok(allowance)
}

fn declared_effect(text: &str) -> Result<DeclaredEffect, String> {
    let mut all = DeclaredEffect::ALL.into_iter();
    all.find(|effect| effect.as_str() == text).ok_or_else(|| {
        let names = DeclaredEffect::ALL.map(DeclaredEffect::as_str);
        format!(
            "there is no effect `{text}`: use one of {}",
            names.join(", ")
        )
    })
}

/// Runs a subcommand, and writes its result.
///
/// # Errors
/// The server does not answer or refuses, or a file or the output fails.
pub async fn run<W: Write>(what: Manage, output: Output, out: &mut W) -> Result<(), ApiError> {
    match what {
        Manage::List(server) => {
            let answer = ask(&server, Method::GET, "", None).await?;
            write_list(&answer, output, out)
        }
        Manage::Show { name, server } => {
            let answer = ask(&server, Method::GET, &name, None).await?;
            write_plugin(&answer, output, out)
        }
        Manage::Install {
            file,
            not_live,
            server,
        } => {
            let answer = install(&file, !not_live, &server).await?;
            if output == Output::Json {
                return write_plugin(&answer, output, out);
            }
            if let Some(note) = answer["note"].as_str() {
                writeln!(out, "{note}")?;
            }
            write_plugin(&answer["plugin"], output, out)
        }
        Manage::Grant {
            name,
            grants,
            nothing: _,
            as_configured,
            server,
        } => {
            let grants = (!as_configured).then_some(grants);
            let (path, body) = (format!("{name}/grants"), json!({ "grants": grants }));
            let answer = ask(&server, Method::PUT, &path, Some(body)).await?;
            write_plugin(&answer, output, out)
        }
        Manage::Mode { name, mode, server } => {
            let (path, body) = (format!("{name}/mode"), json!({ "mode": mode }));
            let answer = ask(&server, Method::PUT, &path, Some(body)).await?;
            write_plugin(&answer, output, out)
        }
        Manage::Revert { name, to, server } => {
            let (path, body) = (format!("{name}/revert"), json!({ "digest": to }));
            let answer = ask(&server, Method::POST, &path, Some(body)).await?;
            write_plugin(&answer, output, out)
        }
        Manage::Lift { name, server } => {
            let path = format!("{name}/quarantine/lift");
            let answer = ask(&server, Method::POST, &path, None).await?;
            write_plugin(&answer, output, out)
        }
        Manage::Remove {
            name,
            candidate,
            force,
            server,
        } => {
            let query = match &candidate {
                Some(digest) => format!("?version={digest}"),
                None if force => "?force=true".to_owned(),
                None => String::new(),
            };
            ask(&server, Method::DELETE, &format!("{name}{query}"), None).await?;
            match (output, candidate) {
                (Output::Text, None) => writeln!(out, "{name} is removed")?,
                (Output::Text, Some(digest)) => {
                    writeln!(out, "the candidate {digest} of {name} is removed")?;
                }
                (Output::Json, None) => writeln!(out, "{}", json!({ "removed": name }))?,
                (Output::Json, Some(digest)) => {
                    let removed = json!({ "removed": name, "candidate": digest });
                    writeln!(out, "{removed}")?;
                }
            }
            Ok(())
        }
    }
}

async fn ask(
    server: &ServerArgs,
    method: Method,
    path: &str,
    body: Option<Value>,
) -> Result<Value, ApiError> {
    ApiClient::open(server, PLUGINS)?
        .ask(method, path, body)
        .await
}

/// Path of the plugin routes.
const PLUGINS: &str = "/api/v1/plugins";

async fn install(file: &Path, live: bool, server: &ServerArgs) -> Result<Value, ApiError> {
    let unreadable = |reason: io::Error| ApiError::Unreadable {
        path: file.to_owned(),
        reason: reason.to_string(),
    };
    let bytes = tokio::fs::read(file).await.map_err(unreadable)?;
    let client = ApiClient::open(server, PLUGINS)?;
    let mut signature = file.as_os_str().to_owned();
    signature.push(".minisig");
    let signature = PathBuf::from(signature);
    let mut request = client
        .request(Method::POST, &format!("?live={live}"))
        .header("content-type", "application/wasm");
    if signature.is_file() {
        use base64::Engine;

        let text = base64::prelude::BASE64_STANDARD.encode(text_of(&signature)?);
        request = request.header("plugin-signature", text);
    }
    client.send(request.body(bytes)).await
}

/// Reads the JSON form of a plugin. Its types are those of the server.
fn read<T: DeserializeOwned>(answer: &Value) -> Result<T, ApiError> {
    T::deserialize(answer).map_err(|error| {
        ApiError::Refused(format!(
            "the answer of the server is not understood: {error}; is it of another version?"
        ))
    })
}

/// Writes the list of plugins: a table, or one JSON object a line.
fn write_list<W: Write>(answer: &Value, output: Output, out: &mut W) -> Result<(), ApiError> {
    let plugins = answer["plugins"].as_array().map_or(&[][..], Vec::as_slice);
    if output == Output::Json {
        for plugin in plugins {
            writeln!(out, "{plugin}")?;
        }
        return Ok(());
    }
    let plugins: Result<Vec<ShownPlugin>, _> = plugins.iter().map(read).collect();
    write!(out, "{}", table(&plugins?))?;
    Ok(())
}

/// Writes one plugin.
fn write_plugin<W: Write>(answer: &Value, output: Output, out: &mut W) -> Result<(), ApiError> {
    if output == Output::Json {
        let text = serde_json::to_string_pretty(answer).map_err(io::Error::from)?;
        writeln!(out, "{text}")?;
        return Ok(());
    }
    write!(out, "{}", page(&read(answer)?))?;
    Ok(())
}

/// A table with a row for each plugin.
fn table(plugins: &[ShownPlugin]) -> String {
    let mut rows = format!(
        "{:<22} {:<9} {:<10} {:<13} {:<8} {:>8} {:>6} {:>9}  {}\n",
        "NAME", "KIND", "VERSION", "DIGEST", "MODE", "CALLS", "FAULTS", "P99", "STATE"
    );
    for plugin in plugins {
        let (info, stats) = (&plugin.view.info, &plugin.view.stats);
        rows.push_str(&format!(
            "{:<22} {:<9} {:<10} {:<13} {:<8} {:>8} {:>6} {:>9}  {}\n",
            info.name,
            kind_name(info.kind),
            info.version,
            short(&info.digest),
            plugin.view.mode.as_str(),
            stats.calls,
            stats.faults,
            micros(stats.p99_us),
            state(plugin),
        ));
    }
    rows
}

/// State of a plugin in the table.
fn state(plugin: &ShownPlugin) -> String {
    let info = &plugin.view.info;
    if let Some(error) = &info.error {
        return error.clone();
    }
    if let Some(quarantine) = &plugin.view.quarantine {
        return format!("quarantined: {}", quarantine.reason);
    }
    let is_action = info.kind == Some(PluginKind::Action);
    match is_action && !info.needs.is_empty() && plugin.granted.is_empty() {
        true => "granted nothing".to_owned(),
        false => "ok".to_owned(),
    }
}

/// Everything about one plugin, for a person to read.
fn page(plugin: &PluginDetail) -> String {
    let ShownPlugin { view, granted } = &plugin.shown;
    let info = &view.info;
    let mut page = Page(format!(
        "{} {} ({})\n",
        info.name,
        info.version,
        kind_name(info.kind)
    ));
    page.line("summary", &info.summary);
    page.line("digest", &info.digest);
    page.line("file", &info.file);
    page.line("error", info.error.as_deref().unwrap_or_default());
    let quarantine = view.quarantine.as_ref();
    page.line(
        "quarantine",
        quarantine.map_or("", |quarantine| quarantine.reason.as_str()),
    );
    page.line("mode", view.mode.as_str());
    if info.kind == Some(PluginKind::Action) {
        let needs: Vec<String> = info.needs.iter().map(need_text).collect();
        page.line("needs", &or_nothing(&needs));
        let granted: Vec<String> = granted.iter().map(grant_text).collect();
        page.line("granted", &or_nothing(&granted));
    }
    page.calls(&view.stats);
    let versions = view.versions.iter().rev();
    page.list(
        "versions",
        versions.map(|version| version_text(version, &info.digest)),
    );
    page.list("history", plugin.changes.iter().take(10).map(change_text));
    page.0
}

/// The page of a plugin: its title, and a line for each of its properties.
struct Page(String);

impl Page {
    /// Adds a line, unless the value is empty.
    fn line(&mut self, name: &str, value: &str) {
        if !value.is_empty() {
            self.0.push_str(&format!("  {name:<11} {value}\n"));
        }
    }

    /// Adds a line for each value. The name stands before the first one only.
    fn list(&mut self, name: &str, values: impl Iterator<Item = String>) {
        for (index, value) in values.enumerate() {
            self.line(if index == 0 { name } else { "" }, &value);
        }
    }

    /// Adds the statistics of calls, if there were any.
    fn calls(&mut self, stats: &PluginStats) {
        if stats.calls == 0 {
            return;
        }
        self.line(
            "calls",
            &format!(
                "{}, {} faults, p50 {}, p99 {}; {} open with {} KiB",
                stats.calls,
                stats.faults,
                micros(stats.p50_us),
                micros(stats.p99_us),
                stats.instances,
                stats.memory_bytes >> 10
            ),
        );
        self.line(
            "last fault",
            stats.last_fault.as_deref().unwrap_or_default(),
        );
    }
}

fn kind_name(kind: Option<PluginKind>) -> &'static str {
    kind.map_or("", PluginKind::as_str)
}

/// Beginning of a digest, which tells the versions of a plugin apart.
fn short(digest: &str) -> &str {
    digest.get(..12).unwrap_or_default()
}

fn micros(value: Option<f64>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| format!("{value:.0} µs"))
}

fn or_nothing(all: &[String]) -> String {
    match all.is_empty() {
        true => "nothing".to_owned(),
        false => all.join("; "),
    }
}

fn need_text(need: &Need) -> String {
    format!("{} of {}", need.operation, need.scope)
}

fn grant_text(grant: &Allowance) -> String {
    let place = match grant.namespaces.as_slice() {
        [all] if all == "*" => String::new(),
        namespaces => format!(" in {}", namespaces.join(", ")),
    };
    let effect = grant.effect.map_or_else(String::new, |effect| {
        format!(" with the effect {}", effect.as_str())
    });
    format!("{} of {}{effect}{place}", grant.operation, grant.scope)
}

fn version_text(version: &Version, live: &str) -> String {
    let from = match &version.origin {
        Origin::Folder { file } => format!("from the file {file}"),
        Origin::Upload { by, address } => format!("by {by} from {address}"),
    };
    let signed_by = version.signed_by.as_ref();
    let signed = signed_by.map_or_else(String::new, |name| format!(", signed by {name}"));
    let is_upload = matches!(version.origin, Origin::Upload { .. });
    let mark = match (version.digest == live, &version.approved_by) {
        (true, _) => " (live)",
        (false, None) if is_upload => " (waits for an admin)",
        (false, _) => "",
    };
    let digest = short(&version.digest);
    format!("{digest} {} {from}{signed}{mark}", version.version)
}

fn change_text(change: &PluginChange) -> String {
    let (at, kind) = (rfc3339(change.at), change.kind.as_str());
    format!("{at} {kind} by {}", change.by)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grant_is_read_from_one_word() {
        let read = |text: &str| {
            allowance(text).map(|read| (read.operation, read.scope, read.namespaces.join(",")))
        };
        for (text, operation, scope, namespaces) in [
            ("scale", "scale", "*", "*"),
            ("roll-back:Deployment", "roll_back", "Deployment", "*"),
            (
                "patch:Deployment/spec@shop,test",
                "patch",
                "Deployment/spec",
                "shop,test",
            ),
            (
                "http:hooks.example.com:443",
                "http",
                "hooks.example.com:443",
                "*",
            ),
        ] {
            assert_eq!(
                read(text),
                Ok((
                    operation.to_owned(),
                    scope.to_owned(),
                    namespaces.to_owned()
                ))
            );
        }
        for bad in ["", ":Deployment", "scale:", "scale@", "scale@shop,"] {
            assert!(read(bad).is_err(), "{bad}");
        }
        for effect in DeclaredEffect::ALL {
            let text = format!("http:hooks.example.com:443={}@shop", effect.as_str());
            let read = allowance(&text).unwrap();
            assert_eq!(
                (read.scope.as_str(), read.effect),
                ("hooks.example.com:443", Some(effect))
            );
        }
        for (bad, why) in [
            ("http=some", "replicas, template, environment, none"),
            ("http:hooks.example.com:443=", "there is no effect"),
            ("scale=none", "declare an effect of `http` only"),
        ] {
            assert!(allowance(bad).unwrap_err().contains(why), "{bad}");
        }
    }

    #[test]
    fn a_plugin_is_shown_with_its_versions_needs_and_past() {
        let plugin = json!({
            "name": "drain", "version": "0.2.0", "kind": "action", "summary": "drains a node", "mode": "approve",
            "digest": "aa".repeat(32), "file": "", "error": null, "quarantine": null,
            "needs": [{ "operation": "patch", "scope": "Deployment/spec" }],
            "granted": [{ "operation": "patch", "scope": "Deployment/spec", "namespaces": ["shop"] }],
            "stats": { "calls": 12, "faults": 1, "last_fault": "trapped", "p50_us": 10.4, "p99_us": 99.9, "instances": 0,
                       "memory_bytes": 0 },
            "size": 1, "settings": {}, "history_ms": 0, "stateful": false, "grants": null,
            "versions": [
                { "digest": "bb".repeat(32), "version": "0.1.0", "size": 1, "at": 0,
                  "origin": { "door": "folder", "file": "drain.wasm" } },
                { "digest": "aa".repeat(32), "version": "0.2.0", "size": 1, "at": 0, "signed_by": "ada",
                  "origin": { "door": "upload", "by": "ada", "address": "127.0.0.1" } },
            ],
            "changes": [{ "plugin": "drain", "at": 1_769_860_800_000_i64, "kind": "installed", "by": "ada" }],
        });
        let mut out = Vec::new();
        write_plugin(&plugin, Output::Text, &mut out).unwrap();
        let digest = "aa".repeat(32);
        let expected = format!(
            "drain 0.2.0 (action)
  summary     drains a node
  digest      {digest}
  mode        approve
  needs       patch of Deployment/spec
  granted     patch of Deployment/spec in shop
  calls       12, 1 faults, p50 10 µs, p99 100 µs; 0 open with 0 KiB
  last fault  trapped
  versions    aaaaaaaaaaaa 0.2.0 by ada from 127.0.0.1, signed by ada (live)
              bbbbbbbbbbbb 0.1.0 from the file drain.wasm
  history     2026-01-31T12:00:00.000Z installed by ada
"
        );
        assert_eq!(String::from_utf8(out).unwrap(), expected);
        let rows = table(&[read(&plugin).unwrap()]);
        let words: Vec<Vec<&str>> = rows
            .lines()
            .map(|line| line.split_whitespace().collect())
            .collect();
        assert_eq!(
            words[0],
            [
                "NAME", "KIND", "VERSION", "DIGEST", "MODE", "CALLS", "FAULTS", "P99", "STATE"
            ]
        );
        assert_eq!(
            words[1],
            [
                "drain",
                "action",
                "0.2.0",
                "aaaaaaaaaaaa",
                "approve",
                "12",
                "1",
                "100",
                "µs",
                "ok"
            ]
        );
    }
}
