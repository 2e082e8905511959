//! `anomalyzer backtest`: runs the whole pipeline over recorded metrics in simulated time.

use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::Args;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::Output;
use anomalyzer_domain::{UnixMs, duration};
use anomalyzer_evaluate::backtest;
use anomalyzer_evaluate::backtest::{ReadFile, RecordedData, TrialLimits};
use anomalyzer_evaluate::csv::CsvOptions;
use anomalyzer_plot::svg;
use anomalyzer_plugin_host::Plugins;
use anomalyzer_service::config;
use anomalyzer_service::config::{Config, Environment};

/// Width and height of a panel, in pixels.
const PANEL: (u32, u32) = (1200, 240);

/// Show what this configuration would have found, decided, allowed and done on recorded metrics
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "With --most-incidents or --most-operations it exits 1 if there are more: run it before a policy or a plugin goes live. \
                  It exits 2 if a CSV file cannot be read, or if more than 1 % of its rows (at least three) are unreadable."
)]
pub struct BacktestArgs {
    /// A CSV file (named after its signal), a folder of CSV files, the address of a Prometheus, or
    /// `history`
    #[arg(long, value_name = "FILE|DIR|URL|history")]
    pub from: String,
    /// The configuration: its signals, detectors, guard and plugins
    #[arg(long, short, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Start of the range to read from a Prometheus, in RFC 3339
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub start: Option<UnixMs>,
    /// End of the range to read from a Prometheus, in RFC 3339
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub end: Option<UnixMs>,
    /// Time between two samples read from a Prometheus; by default the interval of the signal
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    pub step: Option<Duration>,
    /// The folder in which the service keeps its data; overrides the configuration
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Draw the series with the most incidents to this file, as SVG
    #[arg(long, value_name = "FILE")]
    pub plot: Option<PathBuf>,
    /// Meaning of ambiguous fields in CSV files
    #[command(flatten)]
    pub csv: CsvOptions,
    /// Limits on incidents and operations
    #[command(flatten)]
    pub limits: TrialLimits,
    /// Text for people, or JSON
    #[arg(long, value_enum, default_value_t = Output::Text)]
    pub output: Output,
    /// Program that compiles plugins: see [`anomalyzer_plugin_host::PluginConfig::compiler`]
    #[arg(skip)]
    pub compiler: Option<PathBuf>,
}

fn time(text: &str) -> Result<UnixMs, String> {
    anomalyzer_evaluate::csv::parse_time(text)
        .ok_or_else(|| format!("`{text}` is no time: write for example 2026-11-26T12:00:00Z"))
}

/// Runs the backtest and writes its report. Returns true if the report is within the limits.
///
/// # Errors
/// Returns an error if the configuration, a plugin or the data can't be used, or if the run was
/// cancelled.
pub async fn run<W: Write>(
    args: BacktestArgs,
    environment: Environment<'_>,
    out: &mut W,
    shutdown: CancellationToken,
) -> anyhow::Result<bool> {
    let began = Instant::now();
    let config = configuration(&args, environment)?;
    let RecordedData {
        series: recorded,
        files,
    } = recorded(&args, &config).await?;
    let mut plugin_config = config.plugins.clone();
    plugin_config.compiler.clone_from(&args.compiler);
    plugin_config
        .cache
        .get_or_insert_with(|| config::cache_folder().join("compiled"));
    let plugins = tokio::task::spawn_blocking(move || Plugins::load(plugin_config)).await??;
    let messages: usize = recorded.iter().map(|one| one.series.samples.len()).sum();
    let report = backtest::run(
        &config.backtest(),
        &plugins,
        &recorded,
        &shutdown,
        progress(messages),
    )
    .await?;
    let too_many = args.limits.too_many(&report);
    if let Some(file) = &args.plot {
        let panels = backtest::panels(&report, &recorded);
        let height = PANEL
            .1
            .saturating_mul(u32::try_from(panels.len()).unwrap_or(1).max(1));
        let drawn = svg(&panels, (PANEL.0, height)).map_err(anyhow::Error::msg)?;
        std::fs::write(file, drawn)
            .map_err(|error| anyhow::anyhow!("{}: {error}", file.display()))?;
    }
    let took = began.elapsed().as_secs_f64();
    match args.output {
        Output::Json => {
            writeln!(
                out,
                "{}",
                json!({ "good": too_many.is_empty(), "too_many": too_many, "took_s": took, "report": report, "files": files })
            )?;
        }
        Output::Text => {
            write!(out, "{}", report.text())?;
            for ReadFile { path, report } in &files {
                for note in report.notes() {
                    writeln!(out, "{}: {note}", path.display())?;
                }
            }
            writeln!(
                out,
                "\nin {took:.1} s; the rules decided, no model was asked, and what was done had no effect on what was recorded"
            )?;
            for why in &too_many {
                writeln!(out, "TOO MANY: {why}")?;
            }
        }
    }
    Ok(too_many.is_empty())
}

fn configuration(args: &BacktestArgs, environment: Environment<'_>) -> anyhow::Result<Config> {
    let is_address = args.from.contains("://");
    let address = args.from.clone();
    // The address on the command line overrides the one in the environment.
    let with_address = move |name: &str| match name {
        "PROMETHEUS_URL" if is_address => Some(address.clone()),
        name => environment(name),
    };
    let mut config = config::load(args.config.as_deref(), &with_address)?;
    if let Some(data_dir) = &args.data_dir {
        config.data_dir.clone_from(data_dir);
    }
    Ok(config)
}

async fn recorded(args: &BacktestArgs, config: &Config) -> anyhow::Result<RecordedData> {
    if args.from.contains("://") {
        let (Some(start), Some(end)) = (args.start, args.end) else {
            anyhow::bail!("say of when: --start 2026-11-25T00:00:00Z --end 2026-11-26T00:00:00Z");
        };
        let setup = config.backtest();
        let series = backtest::of_prometheus(&setup, start, end, args.step).await?;
        return Ok(RecordedData {
            series,
            files: vec![],
        });
    }
    Ok(backtest::recorded(&args.from, &config.backtest(), &args.csv).await?)
}

/// Shows the progress as a percentage on standard error. Prints nothing unless standard error is a
/// terminal, and clears the line at the end.
fn progress(all: usize) -> impl Fn(usize) {
    let terminal = std::io::stderr().is_terminal();
    let shown = std::cell::Cell::new(0);
    move |done| {
        if !terminal || done < shown.get() {
            return;
        }
        shown.set(done + all / 100 + 1);
        let mut stderr = std::io::stderr().lock();
        let _ = if done < all {
            write!(stderr, "\r{}%", done * 100 / all.max(1))
        } else {
            write!(stderr, "\r\x1b[K")
        };
        let _ = stderr.flush();
    }
}
