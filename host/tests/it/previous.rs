//! Data of the previous version, in `tests/data/previous`: this version reads it, decides the same
//! and goes on with it. `make.py` of that folder made it with the previous version's program.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::wait::until;

const PREVIOUS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/previous");
const BUILT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../target/plugins");
/// The plugins in the folder of the previous run.
const PLUGINS: [&str; 6] = [
    "zscore",
    "novelty",
    "scale-up",
    "restart-service",
    "rate-limit",
    "no-action",
];
const TIMEOUT: Duration = Duration::from_secs(120);

fn read(name: &str) -> String {
    let path = Path::new(PREVIOUS).join(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn json_lines(text: &str) -> Vec<Value> {
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// The program, without variables that count more than a configuration.
fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_anomalyzer"));
    command.env_clear().stdin(Stdio::null());
    for name in ["HOME", "PATH", "TMPDIR", "XDG_CACHE_HOME"] {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
    command
}

fn run(arguments: &[&str]) -> Output {
    program().args(arguments).output().unwrap()
}

/// The standard output of a command that succeeds.
fn output(arguments: &[&str]) -> String {
    let done = run(arguments);
    assert!(done.status.success(), "{arguments:?}: {done:?}");
    String::from_utf8(done.stdout).unwrap()
}

/// A copy of the data folder. Opening a database changes it.
struct Data {
    folder: TempDir,
}

impl Data {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        copy(
            &Path::new(PREVIOUS).join("data"),
            &folder.path().join("data"),
        );
        Self { folder }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn argument(&self) -> String {
        format!("--data-dir={}", self.path().display())
    }

    fn store(&self) -> PathBuf {
        self.path().join("plugin-store")
    }

    fn is_whole(&self) {
        let verified = output(&["audit", "verify", "--output=json", &self.argument()]);
        let chains = json_lines(&verified);
        // The chains of incidents and of cuts begin with this version.
        for name in ["decisions", "plugins"] {
            let chain = chains.iter().find(|chain| chain["chain"] == name).unwrap();
            assert!(chain["events"].as_i64().unwrap() > 0, "{verified}");
        }
        for chain in chains {
            assert_eq!(chain["broken"], Value::Null, "{verified}");
            assert_eq!(chain["differs"], Value::Null, "{verified}");
        }
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let to = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).unwrap();
        }
    }
}

#[test]
fn the_record_of_the_previous_version_is_whole_and_exported_byte_for_byte() {
    let data = Data::new();
    data.is_whole();
    // The chains of incidents and of cuts begin with this version, and follow.
    let exported = output(&["audit", "export", &data.argument()]);
    assert!(exported.starts_with(&read("export.jsonl")), "{exported}");
}

#[test]
fn the_decisions_of_the_previous_version_are_listed_and_shown() {
    let data = Data::new();
    let known = json_lines(&read("decisions.jsonl"));
    let states: BTreeSet<&str> = known
        .iter()
        .map(|one| one["state"].as_str().unwrap())
        .collect();
    assert!(
        states.is_superset(&BTreeSet::from(["denied", "done", "shadowed"])),
        "{states:?}"
    );
    let argument = data.argument();
    let list = |how: &str| output(&["decisions", "list", "--all", how, &argument]);
    assert_eq!(json_lines(&list("--output=json")), known);
    let text = list("--output=text");
    for decision in &known {
        let id = decision["id"].as_str().unwrap();
        assert!(text.contains(id), "{text}");
        let show = |how: &str| output(&["decisions", "show", id, how, &argument]);
        let shown: Value = serde_json::from_str(&show("--output=json")).unwrap();
        assert_eq!(shown, *decision);
        assert!(show("--output=text").contains(id));
    }
}

/// The stage and the result of each step.
fn replayed(arguments: &[&str]) -> Value {
    let done = run(arguments);
    let told = String::from_utf8_lossy(&done.stdout);
    let told: Value =
        serde_json::from_str(&told).unwrap_or_else(|error| panic!("{error}: {done:?}"));
    assert!(done.status.success() && told["same"] == true, "{told}");
    let steps = told["steps"].as_array().unwrap().iter();
    steps
        .map(|step| Value::from(vec![step["stage"].clone(), step["result"].clone()]))
        .collect()
}

#[test]
fn every_decision_of_the_previous_version_comes_out_the_same() {
    let data = Data::new();
    let nowhere = format!("--plugins={}", data.folder.path().display());
    let store = format!("--plugins={}", data.store().display());
    let export = format!("--from={PREVIOUS}/export.jsonl");
    let mut same = BTreeSet::new();
    for known in json_lines(&read("replays.jsonl")) {
        let id = known["decision"].as_str().unwrap();
        let replay = ["replay", id, "--output=json"];
        let record = replayed(&[&replay[..], &[&data.argument(), &nowhere]].concat());
        assert_eq!(record, known["steps"], "{id}");
        let exported = replayed(&[&replay[..], &[&export, &store]].concat());
        assert_eq!(exported, known["steps"], "{id}");
        let steps = record.as_array().unwrap().iter();
        same.extend(
            steps
                .filter(|step| step[1] == "same")
                .map(|step| step[0].as_str().unwrap().to_owned()),
        );
    }
    let stages = ["detect", "diagnose", "guard"].map(str::to_owned);
    assert_eq!(same, BTreeSet::from(stages));
}

/// An application of ordinary traffic and latency: just its metrics.
async fn shop() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        for scrape in 0_u32.. {
            let Ok((mut stream, _)) = listener.accept().await else {
                return;
            };
            let usual = 0.96 + 0.02 * f64::from(scrape % 5);
            let body = format!(
                "# TYPE shop_traffic gauge\nshop_traffic {}\n\
                 # TYPE shop_latency gauge\nshop_latency {}\n",
                40.0 * usual,
                0.1 * usual
            );
            let head = format!(
                "HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4\r\n\
                 Content-Length: {}\r\nConnection: close\r\n\r\n",
                body.len()
            );
            tokio::spawn(async move {
                let mut request = Vec::new();
                while !request.ends_with(b"\r\n\r\n") {
                    let mut part = [0; 1024];
                    match stream.read(&mut part).await {
                        Ok(read @ 1..) => request.extend(&part[..read]),
                        _ => return,
                    }
                }
                let _ = stream.write_all((head + &body).as_bytes()).await;
                let _ = stream.shutdown().await;
            });
        }
    });
    port
}

async fn free_port() -> u16 {
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap();
    free.local_addr().unwrap().port()
}

/// `serve` on the data, with the configuration of the previous run and the plugins of this version.
struct Served {
    process: Child,
    url: String,
}

impl Served {
    async fn start(data: &Data) -> Self {
        let plugins = data.folder.path().join("plugins");
        fs::create_dir(&plugins).unwrap();
        for name in PLUGINS {
            let file = format!("{name}.wasm");
            fs::copy(Path::new(BUILT).join(&file), plugins.join(&file))
                .unwrap_or_else(|error| panic!("{file}: {error}; run `cargo xtask plugins`"));
        }
        let port = free_port().await;
        let filled = read("config.toml")
            .replace("{data_dir}", data.path().to_str().unwrap())
            .replace("{plugins}", plugins.to_str().unwrap())
            .replace("{api_port}", &port.to_string())
            .replace("{shop_port}", &shop().await.to_string())
            .replace("{group_port}", &free_port().await.to_string());
        let config = data.folder.path().join("config.toml");
        fs::write(&config, filled).unwrap();
        let check = run(&["check", config.to_str().unwrap()]);
        assert!(check.status.success(), "{check:?}");
        let log = fs::File::create(data.folder.path().join("log")).unwrap();
        let process = program()
            .arg("serve")
            .arg("--config")
            .arg(&config)
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        Self {
            process,
            url: format!("http://127.0.0.1:{port}"),
        }
    }

    async fn get(&self, path: &str) -> Option<String> {
        let client = anomalyzer_common::http_client::client(TIMEOUT).unwrap();
        let address = format!("{}{path}", self.url);
        let answer = client.get(address).send().await.ok()?;
        if !answer.status().is_success() {
            return None;
        }
        answer.text().await.ok()
    }

    async fn json(&self, path: &str) -> Value {
        let text = self.get(path).await.unwrap_or_else(|| panic!("no {path}"));
        serde_json::from_str(&text).unwrap()
    }

    /// Asks it to end, and waits. True if it ended well.
    fn stop(&mut self) -> bool {
        let pid = self.process.id().to_string();
        let _ = Command::new("kill").args(["-TERM", &pid]).status();
        let deadline = Instant::now() + Duration::from_secs(60);
        while Instant::now() < deadline {
            if let Ok(Some(status)) = self.process.try_wait() {
                return status.success();
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = self.process.kill();
        let _ = self.process.wait();
        false
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        if let Ok(None) = self.process.try_wait() {
            self.stop();
        }
    }
}

/// `name{label,label}` of each sample, as the `metrics.names` of the previous version has them.
fn metric_names(text: &str) -> BTreeSet<String> {
    let samples = text.lines().filter(|line| line.starts_with("anomalyzer_"));
    samples
        .map(|line| {
            let end = line.find(['{', ' ']).unwrap();
            let (name, rest) = line.split_at(end);
            let labels = rest.strip_prefix('{').unwrap_or_default();
            format!("{name}{{{}}}", label_names(labels).join(","))
        })
        .collect()
}

/// The names in `a="x",b="y"} 1`. Values have no escaped quotes here.
fn label_names(labels: &str) -> Vec<&str> {
    let (mut names, mut rest) = (Vec::new(), labels);
    while let Some((name, value)) = rest.split_once("=\"") {
        names.push(name);
        rest = value.split_once('"').map_or("", |(_, rest)| rest);
        let Some(next) = rest.strip_prefix(',') else {
            break;
        };
        rest = next;
    }
    names.sort_unstable();
    names
}

fn version(plugin: &Value, digest: &Value) -> bool {
    let versions = plugin["versions"].as_array().unwrap();
    versions.iter().any(|version| version["digest"] == *digest)
}

#[tokio::test]
async fn the_service_goes_on_with_the_data_of_the_previous_version() {
    let data = Data::new();
    let mut served = Served::start(&data).await;
    let log = || fs::read_to_string(data.folder.path().join("log")).unwrap_or_default();
    until("it is ready", TIMEOUT, async || served.get("/health").await).await;

    let known: Value = serde_json::from_str(&read("plugins.json")).unwrap();
    let alarm = served.json("/api/v1/plugins/alarm").await;
    for key in ["mode", "granted", "digest", "changes"] {
        assert_eq!(alarm[key], known["alarm"][key], "{key} of {alarm}");
    }
    let approver = &alarm["versions"][0]["approved_by"]["door"];
    assert_eq!(approver, "earlier_release", "{alarm}");
    assert_eq!(alarm["mode"], "shadow");
    assert_eq!(alarm["granted"][0]["operation"], "notify");
    let zscore = served.json("/api/v1/plugins/zscore").await;
    assert!(version(&zscore, &known["zscore"]["digest"]), "{zscore}");

    let decisions = served.json("/api/v1/decisions?limit=100").await;
    assert_eq!(
        decisions["decisions"],
        Value::from(json_lines(&read("decisions.jsonl")))
    );

    let signals = until("the detectors begin", TIMEOUT, async || {
        let told = served.json("/api/v1/signals").await;
        let signals = told["signals"].as_array().unwrap();
        let seen = |signal: &Value| signal["detect"]["samples"].as_u64() > Some(0);
        signals.iter().all(seen).then(|| signals.clone())
    })
    .await;
    assert_eq!(signals.len(), 2);
    for signal in signals {
        let detect = &signal["detect"];
        assert_eq!(detect["restored"], 1, "{detect}\n{}", log());
        assert_eq!(detect["not_restored"], Value::Null, "{detect}");
        assert_eq!(detect["learning"], Value::Array(vec![]), "{detect}");
    }

    let names: BTreeSet<String> = read("metrics.names").lines().map(str::to_owned).collect();
    let mut last = BTreeSet::new();
    let deadline = Instant::now() + TIMEOUT;
    while !names.is_subset(&last) && Instant::now() < deadline {
        last = metric_names(&served.get("/metrics").await.unwrap());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let missing: Vec<&String> = names.difference(&last).collect();
    assert!(missing.is_empty(), "{missing:?}");

    assert!(served.stop(), "{}", log());
    data.is_whole();
}

#[test]
fn the_example_configuration_of_the_previous_version_is_good() {
    let file = format!("{PREVIOUS}/anomalyzer.example.toml");
    let checked = output(&["check", "--output=json", &file]);
    let checked: Value = serde_json::from_str(&checked).unwrap();
    assert_eq!(checked["good"], true, "{checked}");
}

/// An argument, an option or a command as `--help` shows it, without the wording.
#[derive(Debug, Default, PartialEq, Eq)]
struct Entry {
    /// `-c, --config <FILE>`.
    form: String,
    default: Option<String>,
    variable: Option<String>,
    values: Vec<String>,
}

/// The usage, and what stands below it.
fn entries(help: &str) -> Vec<Entry> {
    let (mut section, mut entries): (&str, Vec<Entry>) = ("", Vec::new());
    for line in help.lines() {
        let (text, indent) = (line.trim(), line.len() - line.trim_start().len());
        let form = text.split("  ").next().unwrap_or_default();
        if indent == 0 && (text.starts_with("Usage:") || text.ends_with(':')) {
            section = text;
        }
        let begins = match section {
            "Commands:" => indent == 2,
            "Arguments:" => indent == 2 && text.starts_with(['<', '[']),
            "Options:" => indent <= 6 && text.starts_with('-'),
            usage => indent == 0 && usage == text && text.starts_with("Usage:"),
        };
        if begins {
            entries.push(Entry {
                form: form.to_owned(),
                ..Entry::default()
            });
        }
        if let Some(entry) = entries.last_mut() {
            entry.take(text, indent);
        }
    }
    entries
}

impl Entry {
    fn take(&mut self, text: &str, indent: usize) {
        let within = |start: &str| {
            let (_, rest) = text.split_once(start)?;
            Some(rest.split_once(']')?.0.to_owned())
        };
        if let Some(default) = within("[default: ") {
            // The folder beside the program, if it has plugins.
            let is_folder = default.ends_with("/plugins");
            self.default = Some(if is_folder {
                "target/plugins".to_owned()
            } else {
                default
            });
        }
        if let Some(variable) = within("[env: ") {
            self.variable = Some(variable);
        }
        if let Some(values) = within("[possible values: ") {
            self.values = values.split(", ").map(str::to_owned).collect();
        }
        if let Some(value) = text.strip_prefix("- ").filter(|_| indent == 10) {
            let name = value.split(':').next().unwrap_or_default();
            self.values.push(name.to_owned());
        }
    }
}

#[test]
fn every_command_takes_what_it_took_in_the_previous_version() {
    let files = fs::read_dir(Path::new(PREVIOUS).join("help")).unwrap();
    let mut commands = 0;
    for path in files.map(|entry| entry.unwrap().path()) {
        let name = path.file_stem().unwrap().to_str().unwrap();
        // The service calls it for itself, in its own version.
        if name == "compile-plugin" {
            continue;
        }
        let words = name.split('_').filter(|word| *word != "anomalyzer");
        let arguments: Vec<&str> = words.chain(["--help"]).collect();
        let known = entries(&fs::read_to_string(&path).unwrap());
        assert!(known.len() > 1, "{name}: {known:?}");
        let current = entries(&output(&arguments));
        for entry in known {
            assert!(current.contains(&entry), "{name}: {entry:?}");
        }
        commands += 1;
    }
    assert!(commands > 30, "{commands}");
}
