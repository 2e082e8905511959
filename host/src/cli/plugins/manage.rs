//! `anomalyzer plugins list|show|install|grant|mode|revert|lift|remove`: what is done to the
//! plugins of a running server, over its API.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, Subcommand};
use reqwest::{Client, Method, RequestBuilder, StatusCode};
use serde_json::{Value, json};

use super::super::Output;
use anomalyzer_common::http_client;
use anomalyzer_domain::Allowance;

/// Longer than the server takes to look at a plugin.
const TIMEOUT: Duration = Duration::from_secs(200);

/// Which server, and who asks.
#[derive(Clone, Debug, Args)]
pub struct ServerArgs {
    /// Where the server answers
    #[arg(
        long,
        value_name = "URL",
        env = "ANOMALYZER_URL",
        default_value = "http://127.0.0.1:9000"
    )]
    pub server: String,
    /// A file that holds the token, where the server asks for one
    #[arg(long, value_name = "FILE", env = "ANOMALYZER_TOKEN_FILE")]
    pub token_file: Option<PathBuf>,
}

/// What is done to the plugins of a server.
#[derive(Clone, Debug, Subcommand)]
pub enum Manage {
    /// Every plugin: version, what it is, how it does, what is wrong with it.
    List(ServerArgs),
    /// All about one: versions, needs, grants, calls, and what happened to it.
    Show {
        /// Its name.
        name: String,
        /// Which server.
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Upload a component. It is live at once, if you may say so; an action can do nothing before
    /// it is granted something.
    Install {
        /// The component. `FILE.minisig` beside it goes with it.
        file: PathBuf,
        /// Store it, and leave what runs as it is.
        #[arg(long)]
        not_live: bool,
        /// Which server.
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Say what an action may do, instead of all that was said before: `grant NAME scale:Deployment
    /// restart:Deployment@shop`.
    Grant {
        /// Its name.
        name: String,
        /// `OPERATION[:SCOPE][@NAMESPACE,…]`: `scale`, `scale:Deployment`,
        /// `patch:Deployment/spec/template@shop`, `http:hooks.example.com:443`.
        #[arg(required_unless_present_any = ["nothing", "as_configured"], value_parser = allowance)]
        grants: Vec<Allowance>,
        /// It may do nothing.
        #[arg(long, conflicts_with_all = ["grants", "as_configured"])]
        nothing: bool,
        /// What the configuration says counts again.
        #[arg(long, conflicts_with = "grants")]
        as_configured: bool,
        /// Which server.
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Say how far a plugin may go by itself: shadow, approve or auto.
    Mode {
        /// Its name.
        name: String,
        /// How far.
        #[arg(value_parser = ["shadow", "approve", "auto"])]
        mode: String,
        /// Which server.
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Make the version before live again, or another one that is kept.
    Revert {
        /// Its name.
        name: String,
        /// SHA-256 of the version, or how it begins (8 digits or more).
        #[arg(long)]
        to: Option<String>,
        /// Which server.
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Let a plugin out of quarantine.
    Lift {
        /// Its name.
        name: String,
        /// Which server.
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Take an uploaded plugin out. The history keeps what it did.
    Remove {
        /// Its name.
        name: String,
        /// Also while it is in use.
        #[arg(long)]
        force: bool,
        /// Which server.
        #[command(flatten)]
        server: ServerArgs,
    },
}

/// Reads `OPERATION[:SCOPE][@NAMESPACE,…]`.
fn allowance(text: &str) -> Result<Allowance, String> {
    let (what, namespaces) = match text.rsplit_once('@') {
        Some((what, namespaces)) => (what, namespaces.split(',').map(str::to_owned).collect()),
        None => (text, vec!["*".to_owned()]),
    };
    let (operation, scope) = what.split_once(':').unwrap_or((what, "*"));
    if operation.is_empty() || scope.is_empty() || namespaces.iter().any(String::is_empty) {
        return Err("give OPERATION[:SCOPE][@NAMESPACE,…], as `scale:Deployment@shop`".to_owned());
    }
    Ok(Allowance {
        operation: operation.replace('-', "_"),
        scope: scope.to_owned(),
        namespaces,
    })
}

/// Why a server could not be asked to do it.
#[derive(Debug, thiserror::Error)]
pub enum ManageError {
    /// No answer.
    #[error(
        "no answer from {server}: {reason}; is `serve` running there? --server says where it is"
    )]
    NoAnswer {
        /// Where.
        server: String,
        /// Why.
        reason: String,
    },
    /// It said no.
    #[error("{0}")]
    Refused(String),
    /// A file can't be read.
    #[error("cannot read {path}: {reason}", path = .path.display())]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// The output can't be written.
    #[error("cannot write the output: {0}")]
    Output(#[from] io::Error),
}

/// Does it, and writes what came of it.
pub async fn run<W: Write>(what: Manage, output: Output, out: &mut W) -> Result<(), ManageError> {
    match what {
        Manage::List(server) => {
            let answer = Door::open(&server, PLUGINS)?
                .ask(Method::GET, "", None)
                .await?;
            let plugins = answer["plugins"].as_array().cloned().unwrap_or_default();
            match output {
                Output::Text => write!(out, "{}", table(&plugins))?,
                Output::Json => {
                    for plugin in plugins {
                        writeln!(out, "{plugin}")?;
                    }
                }
            }
        }
        Manage::Show { name, server } => {
            tell(
                &Door::open(&server, PLUGINS)?
                    .ask(Method::GET, &name, None)
                    .await?,
                output,
                out,
            )?;
        }
        Manage::Install {
            file,
            not_live,
            server,
        } => {
            let answer = install(&file, !not_live, &server).await?;
            if let (Output::Text, Some(note)) = (output, answer["note"].as_str()) {
                writeln!(out, "{note}")?;
            }
            let shown = if output == Output::Json {
                &answer
            } else {
                &answer["plugin"]
            };
            tell(shown, output, out)?;
        }
        Manage::Grant {
            name,
            grants,
            nothing: _,
            as_configured,
            server,
        } => {
            let grants = if as_configured {
                Value::Null
            } else {
                json!(grants)
            };
            let body = json!({ "grants": grants });
            tell(
                &Door::open(&server, PLUGINS)?
                    .ask(Method::PUT, &format!("{name}/grants"), Some(body))
                    .await?,
                output,
                out,
            )?;
        }
        Manage::Mode { name, mode, server } => {
            let body = json!({ "mode": mode });
            tell(
                &Door::open(&server, PLUGINS)?
                    .ask(Method::PUT, &format!("{name}/mode"), Some(body))
                    .await?,
                output,
                out,
            )?;
        }
        Manage::Revert { name, to, server } => {
            let body = json!({ "digest": to });
            tell(
                &Door::open(&server, PLUGINS)?
                    .ask(Method::POST, &format!("{name}/revert"), Some(body))
                    .await?,
                output,
                out,
            )?;
        }
        Manage::Lift { name, server } => {
            let path = format!("{name}/quarantine/lift");
            tell(
                &Door::open(&server, PLUGINS)?
                    .ask(Method::POST, &path, None)
                    .await?,
                output,
                out,
            )?;
        }
        Manage::Remove {
            name,
            force,
            server,
        } => {
            let path = if force {
                format!("{name}?force=true")
            } else {
                name.clone()
            };
            Door::open(&server, PLUGINS)?
                .ask(Method::DELETE, &path, None)
                .await?;
            match output {
                Output::Text => writeln!(out, "{name} is removed")?,
                Output::Json => writeln!(out, "{}", json!({ "removed": name }))?,
            }
        }
    }
    Ok(())
}

const PLUGINS: &str = "/api/v1/plugins";

/// A door of a server.
pub(in crate::cli) struct Door {
    client: Client,
    server: String,
    at: &'static str,
    token: Option<String>,
}

impl Door {
    pub(in crate::cli) fn open(args: &ServerArgs, at: &'static str) -> Result<Self, ManageError> {
        let server = args.server.trim_end_matches('/').to_owned();
        let client = http_client::client(TIMEOUT).map_err(|error| ManageError::NoAnswer {
            server: server.clone(),
            reason: http_client::reason(error),
        })?;
        let token = match &args.token_file {
            Some(path) => Some(text_of(path)?.trim().to_owned()),
            None => None,
        };
        Ok(Self {
            client,
            server,
            at,
            token,
        })
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let slash = if path.is_empty() || path.starts_with('?') {
            ""
        } else {
            "/"
        };
        let request = self
            .client
            .request(method, format!("{}{}{slash}{path}", self.server, self.at));
        match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
    }

    pub(in crate::cli) async fn ask(
        &self,
        method: Method,
        path: &str,
        body: Option<Value>,
    ) -> Result<Value, ManageError> {
        let request = self.request(method, path);
        self.send(match body {
            Some(body) => request.json(&body),
            None => request,
        })
        .await
    }

    async fn send(&self, request: RequestBuilder) -> Result<Value, ManageError> {
        let no_answer = |error| ManageError::NoAnswer {
            server: self.server.clone(),
            reason: http_client::reason(error),
        };
        let answer = request.send().await.map_err(no_answer)?;
        let status = answer.status();
        let text = answer.text().await.map_err(no_answer)?;
        if status == StatusCode::NO_CONTENT {
            return Ok(Value::Null);
        }
        let value: Value = serde_json::from_str(&text).unwrap_or(Value::Null);
        if status.is_success() {
            return Ok(value);
        }
        let part = |name: &str| value[name].as_str().unwrap_or_default().to_owned();
        Err(ManageError::Refused(match part("detail").as_str() {
            "" => format!("{} answered {status}", self.server),
            detail => format!("{detail}; {}", part("remedy")),
        }))
    }
}

async fn install(file: &Path, live: bool, server: &ServerArgs) -> Result<Value, ManageError> {
    let told = |reason: io::Error| ManageError::Unreadable {
        path: file.to_owned(),
        reason: reason.to_string(),
    };
    let bytes = tokio::fs::read(file).await.map_err(told)?;
    let door = Door::open(server, PLUGINS)?;
    let mut signature = file.as_os_str().to_owned();
    signature.push(".minisig");
    let signature = PathBuf::from(signature);
    let mut request = door
        .request(Method::POST, &format!("?live={live}"))
        .header("content-type", "application/wasm");
    if signature.is_file() {
        use base64::Engine;

        let text = base64::prelude::BASE64_STANDARD.encode(text_of(&signature)?);
        request = request.header("plugin-signature", text);
    }
    door.send(request.body(bytes)).await
}

fn text_of(path: &Path) -> Result<String, ManageError> {
    std::fs::read_to_string(path).map_err(|error| ManageError::Unreadable {
        path: path.to_owned(),
        reason: error.to_string(),
    })
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap_or_default()
}

/// A row for each plugin.
fn table(plugins: &[Value]) -> String {
    let mut rows = format!(
        "{:<22} {:<9} {:<10} {:<13} {:<8} {:>8} {:>6} {:>9}  {}\n",
        "NAME", "KIND", "VERSION", "DIGEST", "MODE", "CALLS", "FAULTS", "P99", "STATE"
    );
    for plugin in plugins {
        let stats = &plugin["stats"];
        let state = match (
            plugin["error"].as_str(),
            plugin["quarantine"]["reason"].as_str(),
        ) {
            (Some(error), _) => error.to_owned(),
            (None, Some(reason)) => format!("quarantined: {reason}"),
            (None, None) if text(plugin, "kind") == "action" && !is_granted(plugin) => {
                "granted nothing".to_owned()
            }
            (None, None) => "ok".to_owned(),
        };
        let p99 = stats["p99_us"]
            .as_f64()
            .map_or_else(|| "-".to_owned(), |p99| format!("{p99:.0} µs"));
        rows.push_str(&format!(
            "{:<22} {:<9} {:<10} {:<13} {:<8} {:>8} {:>6} {:>9}  {state}\n",
            text(plugin, "name"),
            text(plugin, "kind"),
            text(plugin, "version"),
            text(plugin, "digest").get(..12).unwrap_or_default(),
            text(plugin, "mode"),
            stats["calls"].to_string(),
            stats["faults"].to_string(),
            p99,
        ));
    }
    rows
}

fn is_granted(plugin: &Value) -> bool {
    plugin["needs"].as_array().is_none_or(Vec::is_empty)
        || plugin["granted"].as_array().is_some_and(|g| !g.is_empty())
}

/// All about one.
fn tell<W: Write>(plugin: &Value, output: Output, out: &mut W) -> io::Result<()> {
    if output == Output::Json {
        return writeln!(
            out,
            "{}",
            serde_json::to_string_pretty(plugin).map_err(io::Error::from)?
        );
    }
    let kind = text(plugin, "kind");
    writeln!(
        out,
        "{} {} ({kind})",
        text(plugin, "name"),
        text(plugin, "version")
    )?;
    let mut line = |name: &str, value: &str| {
        if value.is_empty() {
            Ok(())
        } else {
            writeln!(out, "  {name:<11} {value}")
        }
    };
    line("summary", text(plugin, "summary"))?;
    line("digest", text(plugin, "digest"))?;
    line("file", text(plugin, "file"))?;
    line("error", text(plugin, "error"))?;
    line(
        "quarantine",
        plugin["quarantine"]["reason"].as_str().unwrap_or_default(),
    )?;
    line("mode", text(plugin, "mode"))?;
    let list = |name: &str, show: &dyn Fn(&Value) -> String| -> Vec<String> {
        plugin[name]
            .as_array()
            .map(|all| all.iter().map(show).collect())
            .unwrap_or_default()
    };
    let need = |need: &Value| format!("{} of {}", text(need, "operation"), text(need, "scope"));
    let granted = |grant: &Value| {
        let namespaces: Vec<&str> = grant["namespaces"]
            .as_array()
            .map(|all| all.iter().filter_map(Value::as_str).collect())
            .unwrap_or_default();
        let place = if namespaces == ["*"] {
            String::new()
        } else {
            format!(" in {}", namespaces.join(", "))
        };
        format!("{}{place}", need(grant))
    };
    if kind == "action" {
        let or_nothing = |all: Vec<String>| {
            if all.is_empty() {
                "nothing".to_owned()
            } else {
                all.join("; ")
            }
        };
        line("needs", &or_nothing(list("needs", &need)))?;
        line("granted", &or_nothing(list("granted", &granted)))?;
    }
    let stats = &plugin["stats"];
    if stats["calls"].as_u64().unwrap_or_default() > 0 {
        let micros = |name: &str| {
            stats[name]
                .as_f64()
                .map_or_else(|| "-".to_owned(), |value| format!("{value:.0} µs"))
        };
        let kib = stats["memory_bytes"].as_u64().unwrap_or_default() >> 10;
        line(
            "calls",
            &format!(
                "{}, {} faults, p50 {}, p99 {}; {} open with {kib} KiB",
                stats["calls"],
                stats["faults"],
                micros("p50_us"),
                micros("p99_us"),
                stats["instances"]
            ),
        )?;
        line("last fault", text(stats, "last_fault"))?;
    }
    let active = text(plugin, "digest");
    let version = |version: &Value| {
        let mark = if text(version, "digest") == active {
            " (live)"
        } else {
            ""
        };
        let origin = &version["origin"];
        let from = match text(origin, "door") {
            "folder" => format!("from the file {}", text(origin, "file")),
            _ => format!("by {} from {}", text(origin, "by"), text(origin, "address")),
        };
        let signed = version["signed_by"]
            .as_str()
            .map(|name| format!(", signed by {name}"))
            .unwrap_or_default();
        let digest = text(version, "digest").get(..12).unwrap_or_default();
        format!("{digest} {} {from}{signed}{mark}", text(version, "version"))
    };
    for (index, version) in list("versions", &version).iter().rev().enumerate() {
        line(if index == 0 { "versions" } else { "" }, version)?;
    }
    let change = |change: &Value| {
        let at = change["at"]
            .as_i64()
            .map(anomalyzer_domain::rfc3339)
            .unwrap_or_default();
        format!("{at} {} by {}", text(change, "kind"), text(change, "by"))
    };
    for (index, change) in list("changes", &change).iter().take(10).enumerate() {
        line(if index == 0 { "history" } else { "" }, change)?;
    }
    Ok(())
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
            "versions": [
                { "digest": "bb".repeat(32), "version": "0.1.0", "origin": { "door": "folder", "file": "drain.wasm" } },
                { "digest": "aa".repeat(32), "version": "0.2.0", "signed_by": "ada",
                  "origin": { "door": "upload", "by": "ada", "address": "127.0.0.1" } },
            ],
            "changes": [{ "at": 1_769_860_800_000_i64, "kind": "installed", "by": "ada" }],
        });
        let mut out = Vec::new();
        tell(&plugin, Output::Text, &mut out).unwrap();
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
        let rows = table(&[plugin]);
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
