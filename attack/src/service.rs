//! A service under attack, in a temporary folder and on a free port.

use std::fmt::Write as _;
use std::fs::File;
use std::net::TcpListener;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::Value;
use tempfile::TempDir;

use crate::Arguments;
use crate::client::Client;

/// Roles of the API, with their tokens.
pub const ROLES: [(&str, &str); 4] = [
    ("viewer", "viewer-viewer-viewer"),
    ("approver", "approver-approver-approver"),
    ("uploader", "uploader-uploader-uploader"),
    ("admin", "admin-admin-admin-admin"),
];
/// Longest time of a start.
const START_TIMEOUT: Duration = Duration::from_secs(60);

/// Settings of a service.
#[derive(Clone, Debug)]
pub struct Options {
    /// Tables that are added to the configuration.
    pub config: String,
    /// False: no tokens, so that every caller on loopback is an admin.
    pub tokens: bool,
    /// Names of the shipped plugins in the plugin folder.
    pub plugins: Vec<&'static str>,
    /// Command that runs the program, such as `prlimit --nofile=64`.
    pub wrapper: Vec<String>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            config: String::new(),
            tokens: true,
            plugins: vec!["zscore", "alarm", "no-action", "restart-service"],
            wrapper: vec![],
        }
    }
}

/// A running service.
pub struct Service {
    process: Option<Child>,
    options: Options,
    binary: PathBuf,
    folder: TempDir,
    /// Port of the API.
    pub port: u16,
}

impl Service {
    /// Starts a service, and waits until it answers.
    pub async fn start(arguments: &Arguments, options: Options) -> Result<Self> {
        let mut service = Self::new(arguments, options)?;
        service.launch().await?;
        Ok(service)
    }

    /// Prepares the folder of a service, without starting it.
    pub fn new(arguments: &Arguments, options: Options) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("attack-").tempdir()?;
        std::fs::create_dir(folder.path().join("plugins"))?;
        for name in &options.plugins {
            let file = format!("{name}.wasm");
            std::fs::copy(
                arguments.plugins.join(&file),
                folder.path().join("plugins").join(&file),
            )
            .with_context(|| format!("{file} is not built"))?;
        }
        for (role, token) in ROLES {
            std::fs::write(folder.path().join(role), token)?;
        }
        let service = Self {
            process: None,
            options,
            binary: arguments.binary.clone(),
            folder,
            port: free_port()?,
        };
        std::fs::write(service.path("config.toml"), service.config()?)?;
        Ok(service)
    }

    fn config(&self) -> Result<String> {
        let path = |name: &str| self.path(name).display().to_string();
        let mut text = format!(
            "data_dir = {:?}\n[api]\nlisten = \"127.0.0.1:{}\"\n",
            path("data"),
            self.port
        );
        if self.options.tokens {
            for (role, _) in ROLES {
                write!(
                    text,
                    "[[api.tokens]]\nname = \"{role}\"\nrole = \"{role}\"\nfile = {:?}\n",
                    path(role)
                )?;
            }
        }
        write!(
            text,
            "[plugins]\nfolder = {:?}\ncache = {:?}\n\
             [local.groups.g]\ncommand = [\"sleep\", \"600\"]\nreplicas = 3\nfirst_port = {}\n\
             stop_timeout = \"1s\"\n[guard]\ncooldown = \"0s\"\n\
             [verify]\nsettle = \"200ms\"\nobserve = \"500ms\"\n{}",
            path("plugins"),
            path("cache"),
            free_port()?,
            self.options.config
        )?;
        Ok(text)
    }

    /// Replaces a text in the configuration.
    pub fn reconfigure(&self, old: &str, new: &str) -> Result<()> {
        let path = self.path("config.toml");
        let text = std::fs::read_to_string(&path)?.replace(old, new);
        Ok(std::fs::write(path, text)?)
    }

    /// Starts the process, and waits until it answers.
    ///
    /// # Errors
    /// The process ends, or does not answer in time. The error holds the end of its log.
    pub async fn launch(&mut self) -> Result<()> {
        self.spawn()?;
        let begun = Instant::now();
        while begun.elapsed() < START_TIMEOUT {
            if let Some(status) = self.ended()? {
                bail!("serve ended with {status}: {}", self.log_end());
            }
            // The API answers before the plugins are loaded.
            let health = self.client("admin").get("/health").await;
            if health.is_ok_and(|(_, text)| !text.contains("loading")) {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        bail!("no answer after {START_TIMEOUT:?}: {}", self.log_end())
    }

    /// Starts the process.
    pub fn spawn(&mut self) -> Result<()> {
        let log = File::options()
            .append(true)
            .create(true)
            .open(self.path("log"))?;
        let mut words = self.options.wrapper.clone();
        words.push(self.binary.display().to_string());
        let mut command = Command::new(&words[0]);
        command
            .args(&words[1..])
            .args(["serve", "--config"])
            .arg(self.path("config.toml"));
        let process = command
            .env("XDG_CACHE_HOME", self.path("home-cache"))
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("{} does not start", words[0]))?;
        self.process = Some(process);
        Ok(())
    }

    /// Returns a path in the folder of the service.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Returns the folder of the service.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Returns a client with the token of a role.
    pub fn client(&self, role: &str) -> Client {
        let token = ROLES.iter().find(|(name, _)| *name == role);
        Client::new(self.port, token.map(|(_, token)| (*token).to_owned()))
    }

    /// Returns the exit status of a process that has ended.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        let Some(process) = &mut self.process else {
            return Ok(None);
        };
        Ok(process.try_wait()?)
    }

    /// Waits until the process ends. Returns none if it still runs after `timeout`.
    pub async fn wait(&mut self, timeout: Duration) -> Result<Option<ExitStatus>> {
        let begun = Instant::now();
        while begun.elapsed() < timeout {
            if let Some(status) = self.ended()? {
                return Ok(Some(status));
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok(None)
    }

    /// Returns a sentence if the process has ended or does not answer.
    pub async fn trouble(&mut self) -> Option<String> {
        match self.ended() {
            Ok(Some(status)) => {
                return Some(format!("serve ended with {status}: {}", self.log_end()));
            }
            Ok(None) => {}
            Err(error) => return Some(error.to_string()),
        }
        let answer = self.client("admin").get("/health").await;
        answer.err().map(|error| format!("no answer: {error:#}"))
    }

    /// Starts the process again if it has ended.
    pub async fn revive(&mut self) -> Result<()> {
        if self.ended()?.is_some() {
            self.launch().await?;
        }
        Ok(())
    }

    /// Sends a signal to the process.
    pub fn signal(&self, signal: rustix::process::Signal) -> Result<()> {
        let Some(process) = &self.process else {
            bail!("the service does not run");
        };
        let pid = rustix::process::Pid::from_child(process);
        Ok(rustix::process::kill_process(pid, signal)?)
    }

    /// Stops the process with SIGTERM. Returns its status.
    pub async fn stop(&mut self) -> Result<ExitStatus> {
        if let Some(status) = self.ended()? {
            return Ok(status);
        }
        self.signal(rustix::process::Signal::TERM)?;
        self.wait(Duration::from_secs(60))
            .await?
            .context("serve did not end within 60 s of SIGTERM")
    }

    /// Runs a command of the program. Returns its status, and its output.
    pub fn command(&self, arguments: &[&str]) -> Result<(ExitStatus, String)> {
        let done = Command::new(&self.binary)
            .args(arguments)
            .stdin(Stdio::null())
            .output()?;
        let text = String::from_utf8_lossy(&done.stdout).into_owned()
            + &String::from_utf8_lossy(&done.stderr);
        Ok((done.status, text))
    }

    /// Returns the resident memory of the process, in MiB.
    pub fn resident(&self) -> u64 {
        let Some(process) = &self.process else {
            return 0;
        };
        let status = std::fs::read_to_string(format!("/proc/{}/status", process.id()));
        status
            .ok()
            .and_then(|text| {
                let line = text.lines().find(|line| line.starts_with("VmRSS:"))?;
                line.split_whitespace().nth(1)?.parse::<u64>().ok()
            })
            .map_or(0, |kib| kib / 1024)
    }

    /// Returns the log.
    pub fn log(&self) -> String {
        let bytes = std::fs::read(self.path("log")).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Returns the last lines of the log.
    pub fn log_end(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(3)..].join(" / ")
    }

    /// Returns the health with its parts.
    pub async fn health(&self) -> Result<Value> {
        self.client("admin").json("/health").await
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        if let Some(process) = &mut self.process {
            if let Ok(None) = process.try_wait() {
                let pid = rustix::process::Pid::from_child(process);
                let _ = rustix::process::kill_process(pid, rustix::process::Signal::CONT);
                let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
                let begun = Instant::now();
                while begun.elapsed() < Duration::from_secs(5) {
                    if !matches!(process.try_wait(), Ok(None)) {
                        return;
                    }
                    std::thread::sleep(Duration::from_millis(20));
                }
            }
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

/// Returns true if a process was ended by a signal, and so crashed.
pub fn crashed(status: ExitStatus) -> bool {
    status.signal().is_some() || status.code() == Some(101) || status.code() == Some(134)
}

/// Returns a port that is free now.
pub fn free_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// Waits until `probe` returns true. Returns false after `timeout`.
pub async fn until(timeout: Duration, mut probe: impl AsyncFnMut() -> bool) -> bool {
    let begun = Instant::now();
    while begun.elapsed() < timeout {
        if probe().await {
            return true;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    false
}
