//! Attacks a running Anomalyzer from outside: its API, its plugins, its sources and its files.
//!
//! Each row starts services of its own, on free ports and in temporary folders. A row prints the
//! number of its attempts and each fault. `cargo xtask attack` builds the program and runs all
//! rows.

mod approvals;
mod browser;
mod calls;
mod client;
mod clients;
mod components;
mod folder;
mod kills;
mod limits;
mod raw;
mod record;
mod roles;
mod secrets;
mod service;
mod sources;
mod storage;
mod storm;
mod tally;
mod uploads;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use clap::Parser;
use futures::future::LocalBoxFuture;

use tally::Tally;

/// Longest time of one row.
const ROW_TIMEOUT: Duration = Duration::from_secs(240);
/// Most faults of one row that are printed.
const MAX_SHOWN: usize = 20;

/// Arguments of the program.
#[derive(Clone, Debug, Parser)]
#[command(
    name = "attack",
    about = "Attack a running Anomalyzer from outside, and count attempts and faults"
)]
pub struct Arguments {
    /// Program to attack
    #[arg(long)]
    binary: PathBuf,
    /// Folder with the shipped plugins
    #[arg(long)]
    plugins: PathBuf,
    /// Folder with plugins as core modules
    #[arg(long)]
    cores: PathBuf,
    /// Folder for the inputs that show a fault
    #[arg(long)]
    out: PathBuf,
    /// Seed of all random inputs
    #[arg(long, default_value_t = 30)]
    seed: u64,
    /// Rows to run [default: all]
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Attack a program that does everything wrong, and fail if a row reports no fault
    #[arg(long)]
    rehearse: bool,
}

type Run = for<'a> fn(&'a Arguments) -> LocalBoxFuture<'a, Result<Tally>>;

/// A group of attacks.
struct Row {
    name: &'static str,
    about: &'static str,
    run: Run,
}

const ROWS: [Row; 20] = [
    Row {
        name: "roles",
        about: "each role at each endpoint",
        run: |arguments| Box::pin(roles::run(arguments)),
    },
    Row {
        name: "raw",
        about: "variants of tokens, and raw HTTP",
        run: |arguments| Box::pin(raw::run(arguments)),
    },
    Row {
        name: "browser",
        about: "requests of foreign web pages",
        run: |arguments| Box::pin(browser::run(arguments)),
    },
    Row {
        name: "calls",
        about: "malformed and mutated calls of the API",
        run: |arguments| Box::pin(calls::run(arguments)),
    },
    Row {
        name: "uploads",
        about: "headers of uploads, slow bodies, memory of bodies",
        run: |arguments| Box::pin(uploads::run(arguments)),
    },
    Row {
        name: "components",
        about: "components made by hand",
        run: |arguments| Box::pin(components::made(arguments)),
    },
    Row {
        name: "mutants",
        about: "mutated components",
        run: |arguments| Box::pin(components::mutated(arguments)),
    },
    Row {
        name: "cores",
        about: "mutated core modules",
        run: |arguments| Box::pin(components::cores(arguments)),
    },
    Row {
        name: "approvals",
        about: "versions that nobody approved",
        run: |arguments| Box::pin(approvals::run(arguments)),
    },
    Row {
        name: "disk",
        about: "refused and numerous uploads",
        run: |arguments| Box::pin(uploads::disk(arguments)),
    },
    Row {
        name: "sources",
        about: "hostile answers of scraped targets",
        run: |arguments| Box::pin(sources::run(arguments)),
    },
    Row {
        name: "record",
        about: "edits of the record",
        run: |arguments| Box::pin(record::run(arguments)),
    },
    Row {
        name: "storage",
        about: "damaged files of the data folder",
        run: |arguments| Box::pin(storage::run(arguments)),
    },
    Row {
        name: "kills",
        about: "SIGKILL under twelve clients",
        run: |arguments| Box::pin(kills::run(arguments)),
    },
    Row {
        name: "limits",
        about: "few descriptors, little disk, SIGSTOP, two services on one folder",
        run: |arguments| Box::pin(limits::run(arguments)),
    },
    Row {
        name: "storm",
        about: "10,000 targets wrong at once",
        run: |arguments| Box::pin(storm::run(arguments)),
    },
    Row {
        name: "series",
        about: "new label values in each scrape",
        run: |arguments| Box::pin(storm::series(arguments)),
    },
    Row {
        name: "clients",
        about: "slow heads, slow readers, searches of a viewer",
        run: |arguments| Box::pin(clients::run(arguments)),
    },
    Row {
        name: "folder",
        about: "links, devices and odd names in the plugin folder",
        run: |arguments| Box::pin(folder::run(arguments)),
    },
    Row {
        name: "secrets",
        about: "secrets of the configuration in log, API, health and record",
        run: |arguments| Box::pin(secrets::run(arguments)),
    },
];

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let rows = tokio::task::LocalSet::new();
    match rows.run_until(run(&arguments)).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            println!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Runs the rows. Returns true if no row found a fault.
async fn run(arguments: &Arguments) -> Result<bool> {
    let names: Vec<&str> = ROWS.iter().map(|row| row.name).collect();
    for name in &arguments.only {
        ensure!(
            names.contains(&name.as_str()),
            "there is no row {name}: there are {}",
            names.join(", ")
        );
    }
    rustls::crypto::ring::default_provider()
        .install_default()
        .ok()
        .context("a TLS provider is already installed")?;
    std::fs::create_dir_all(&arguments.out)?;
    println!("seed {}", arguments.seed);
    println!(
        "{:<12} {:>9} {:>7} {:>8}  attacks",
        "row", "attempts", "faults", "seconds"
    );
    let rows: Vec<&Row> = ROWS
        .iter()
        .filter(|row| {
            arguments.only.is_empty() || arguments.only.iter().any(|name| name == row.name)
        })
        .collect();
    if arguments.rehearse {
        return Ok(rehearse(&rows, arguments).await);
    }
    let (mut attempts, mut faults, begun) = (0, 0, Instant::now());
    for row in rows {
        let tally = one(row, arguments).await;
        attempts += tally.attempts;
        faults += tally.faults.len();
    }
    println!(
        "{:<12} {attempts:>9} {faults:>7} {:>8.1}",
        "all",
        begun.elapsed().as_secs_f32()
    );
    Ok(faults == 0)
}

/// Runs all rows at once against a program that does everything wrong. Returns true if every row
/// ran to its end and found a fault.
async fn rehearse(rows: &[&Row], arguments: &Arguments) -> bool {
    let tallies = rows.iter().map(|row| one(row, arguments));
    let tallies = futures::future::join_all(tallies).await;
    let mut blind = Vec::new();
    for (row, tally) in rows.iter().zip(tallies) {
        if tally.broken || tally.faults.is_empty() {
            blind.push(row.name);
        }
    }
    println!(
        "{} of {} rows find a fault",
        rows.len() - blind.len(),
        rows.len()
    );
    if !blind.is_empty() {
        println!("rows that find none: {}", blind.join(", "));
    }
    blind.is_empty()
}

/// Runs one row with a line of progress each two seconds, and prints its result.
async fn one(row: &Row, arguments: &Arguments) -> Tally {
    let begun = Instant::now();
    let mut run = tokio::task::spawn_local({
        let arguments = arguments.clone();
        let run = row.run;
        async move { tokio::time::timeout(ROW_TIMEOUT, run(&arguments)).await }
    });
    let done = loop {
        tokio::select! {
            done = &mut run => break done,
            () = tokio::time::sleep(Duration::from_secs(2)) => {
                println!("{:<12} … {} s", row.name, begun.elapsed().as_secs());
            }
        }
    };
    let tally = match done {
        Ok(Ok(Ok(tally))) => tally,
        Ok(Ok(Err(error))) => Tally::broken(&format!("{error:#}")),
        Ok(Err(_)) => Tally::broken(&format!("not over after {} s", ROW_TIMEOUT.as_secs())),
        Err(error) => Tally::broken(&error.to_string()),
    };
    println!(
        "{:<12} {:>9} {:>7} {:>8.1}  {}",
        row.name,
        tally.attempts,
        tally.faults.len(),
        begun.elapsed().as_secs_f32(),
        row.about
    );
    for (name, count) in &tally.notes {
        println!("{:<12}   {name}: {count}", "");
    }
    for fault in tally.faults.iter().take(MAX_SHOWN) {
        println!("{:<12}   FAULT {fault}", "");
    }
    if tally.faults.len() > MAX_SHOWN {
        println!("{:<12}   … {} faults in all", "", tally.faults.len());
    }
    tally
}
