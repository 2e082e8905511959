//! `testbed`: starts and stops the real servers.

mod detach;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anomalyzer_testbed::{Server, State, Testbed, TestbedOptions, doctor};
use anyhow::{Context, Result, anyhow, bail};
use clap::{Parser, Subcommand, ValueEnum};
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

/// Real Kafka, Prometheus, Ollama and Kubernetes on free loopback ports.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Start the servers, print the environment variables to use, and stop them on Ctrl-C
    Up(Up),
    /// Stop the servers that `up --detach` started
    Down {
        /// The state file that `up` wrote [default: testbed.json in the cache folder]
        #[arg(long)]
        state: Option<PathBuf>,
    },
    /// Install what the servers need, and start nothing
    Install {
        /// Only these servers
        #[arg(long, value_delimiter = ',', value_name = "SERVER")]
        only: Vec<Server>,
    },
    /// List the needed programs and the servers, and a remedy for each missing one
    Doctor {
        /// Format of the list
        #[arg(long, value_enum, default_value_t = Output::Text)]
        output: Output,
    },
}

#[derive(Debug, clap::Args)]
struct Up {
    /// Only these servers
    #[arg(long, value_delimiter = ',', value_name = "SERVER")]
    only: Vec<Server>,
    /// A program that stands for an image in Kubernetes; may be given several times
    #[arg(long = "image", value_name = "NAME=PATH", value_parser = image)]
    images: Vec<(String, PathBuf)>,
    /// Milliseconds between two scrapes of Prometheus
    #[arg(long, default_value_t = 1_000)]
    scrape_interval_ms: u64,
    /// State file to write [default: testbed.json in the cache folder]
    #[arg(long)]
    state: Option<PathBuf>,
    /// Return when the servers are ready, and leave them running until `down`
    #[arg(long)]
    detach: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Output {
    Text,
    Json,
}

fn image(text: &str) -> Result<(String, PathBuf), String> {
    let (name, path) = text
        .split_once('=')
        .ok_or("write it as NAME=PATH, for example app:dev=target/debug/app")?;
    let path = std::path::absolute(path).map_err(|error| error.to_string())?;
    if path.is_file() {
        Ok((name.to_owned(), path))
    } else {
        Err(format!("there is no file {}", path.display()))
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    let filter = EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| EnvFilter::new("warn,anomalyzer_testbed=info,testbed=info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .without_time()
        .with_target(false)
        .with_level(false)
        .init();
    let outcome = match Arguments::parse().command {
        Command::Up(arguments) => up(arguments).await,
        Command::Down { state } => down(state).await,
        Command::Install { only } => install(&only).await,
        Command::Doctor { output } => examine(output),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _said = writeln!(std::io::stderr(), "testbed: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Returns the named servers, or all servers if none is named.
fn chosen(only: &[Server]) -> BTreeSet<Server> {
    if only.is_empty() {
        TestbedOptions::default().servers
    } else {
        only.iter().copied().collect()
    }
}

fn path_of(state: Option<PathBuf>) -> Result<PathBuf> {
    state.map_or_else(State::default_path, |path| Ok(std::path::absolute(path)?))
}

async fn up(arguments: Up) -> Result<()> {
    let path = path_of(arguments.state.clone())?;
    match State::read(&path)? {
        Some(state) if state.owner.lives() => {
            bail!(
                "a testbed runs already (process {}): stop it by testbed down, or give another --state",
                state.owner.pid
            )
        }
        Some(dead) => dead.clean_up(&path)?,
        None => {}
    }
    if arguments.detach {
        let stopped = stopped()?;
        let state = tokio::select! {
            state = detach::start(&path) => state?,
            () = stopped => bail!("stopped before the servers were ready"),
        };
        return print(&state, &path);
    }
    let options = TestbedOptions {
        servers: chosen(&arguments.only),
        images: arguments.images.into_iter().collect::<BTreeMap<_, _>>(),
        scrape_interval: Duration::from_millis(arguments.scrape_interval_ms),
    };
    let stopped = stopped()?;
    tokio::pin!(stopped);
    let since = Instant::now();
    let testbed = tokio::select! {
        testbed = Testbed::up(options) => testbed?,
        () = &mut stopped => bail!("stopped before the servers were ready"),
    };
    let state = testbed.state()?;
    tracing::info!("servers ready after {:.1} s", since.elapsed().as_secs_f32());
    state.write(&path)?;
    print(&state, &path)?;
    stopped.await;
    testbed.stop().await;
    std::fs::remove_file(&path)
        .with_context(|| format!("cannot remove the state file {}", path.display()))
}

/// Returns a future that ends with the first SIGINT, SIGTERM or SIGHUP. The terminal sends SIGHUP
/// when it closes.
fn stopped() -> Result<impl Future<Output = ()>> {
    let (mut interrupt, mut terminate) = (
        signal(SignalKind::interrupt())?,
        signal(SignalKind::terminate())?,
    );
    let mut hangup = signal(SignalKind::hangup())?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
    })
}

/// Prints lines for a shell to evaluate.
fn print(state: &State, path: &Path) -> Result<()> {
    let mut output = std::io::stdout().lock();
    for (name, value) in state.environment() {
        writeln!(output, "export {name}={value}")?;
    }
    writeln!(
        output,
        "export {}={}",
        anomalyzer_testbed::shared::TESTBED,
        path.display()
    )?;
    Ok(output.flush()?)
}

async fn down(state: Option<PathBuf>) -> Result<()> {
    let path = path_of(state)?;
    match State::read(&path)? {
        Some(state) => detach::stop(&state, &path).await,
        None => {
            tracing::info!(
                "no testbed is running: the state file {} does not exist",
                path.display()
            );
            Ok(())
        }
    }
}

async fn install(only: &[Server]) -> Result<()> {
    let (stopped, servers) = (stopped()?, chosen(only));
    tokio::select! {
        outcome = Testbed::install(&servers) => outcome,
        () = stopped => Err(anyhow!("stopped before everything was installed")),
    }
}

fn examine(output: Output) -> Result<()> {
    let items = doctor::examine();
    let mut to = std::io::stdout().lock();
    match output {
        Output::Json => writeln!(to, "{}", serde_json::to_string_pretty(&items)?)?,
        Output::Text => {
            for item in &items {
                let mark = if item.here { "here   " } else { "MISSING" };
                writeln!(to, "{mark}  {:<34} {}", item.name, item.detail)?;
                if !item.here {
                    writeln!(to, "         get it: {}", item.remedy)?;
                }
            }
        }
    }
    Ok(())
}
