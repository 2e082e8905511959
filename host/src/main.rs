//! The binary `anomalyzer`.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use anomalyzer::cli::audit::AuditCommand;
use anomalyzer::cli::backtest::BacktestArgs;
use anomalyzer::cli::check::CheckArgs;
use anomalyzer::cli::decisions::DecisionsCommand;
use anomalyzer::cli::feedback::FeedbackArgs;
use anomalyzer::cli::history::HistoryCommand;
use anomalyzer::cli::kill_switch::KillSwitchCommand;
use anomalyzer::cli::nab::NabArgs;
use anomalyzer::cli::plot::PlotArgs;
use anomalyzer::cli::plugins::PluginsCommand;
use anomalyzer::cli::policy::PolicyCommand;
use anomalyzer::cli::replay::ReplayArgs;
use anomalyzer::cli::score::ScoreArgs;
use anomalyzer::cli::silences::SilencesCommand;
use anomalyzer::cli::status::StatusArgs;
use anomalyzer::cli::{
    Output, audit, backtest, check, decisions, feedback, history, kill_switch, nab, plot, plugins,
    policy, replay, score, silences, status,
};
use anomalyzer_common::log;
use anomalyzer_demo::DemoArgs;
use anomalyzer_demo::app::DemoAppArgs;
use anomalyzer_demo::load::DemoLoadArgs;
use anomalyzer_domain::Mode;
use anomalyzer_plugin_host::CompileArgs;
use anomalyzer_service::config::Config;
use anomalyzer_service::{Role, config};
use clap::{Args, Parser, Subcommand};
use tokio_util::sync::CancellationToken;

/// As a shell has it: 128 + SIGINT.
const INTERRUPTED: u8 = 130;

/// Watches metrics, detects what is wrong, decides, acts, checks that it helped, and keeps the
/// record.
#[derive(Parser)]
#[command(name = "anomalyzer", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the service: everything in one process, or one half of it
    Serve(ServeArgs),
    /// See an application go wrong and be healed
    Demo {
        #[command(flatten)]
        args: DemoArgs,
        /// Lines for people, or one JSON event a line
        #[arg(long, value_enum, default_value_t = Output::Text)]
        output: Output,
    },
    /// The application of the demo: a small HTTP service that can be broken
    DemoApp(DemoAppArgs),
    /// The traffic of the demo
    DemoLoad(DemoLoadArgs),
    /// Check a configuration: file, line, remedy
    Check(CheckArgs),
    Status(StatusArgs),
    /// Look at what was decided, why, and what came of it
    Decisions(DecisionsCommand),
    /// Check that the history is what was recorded
    Audit(AuditCommand),
    /// Copy the history, and put a copy in its place
    History(HistoryCommand),
    Feedback(FeedbackArgs),
    Replay(ReplayArgs),
    Backtest(BacktestArgs),
    /// Try what the configuration allows and refuses
    Policy(PolicyCommand),
    /// Write plugins, and look at them
    Plugins(PluginsCommand),
    // What these three do and mean is said at length, and where their arguments are.
    Nab(NabArgs),
    Score(ScoreArgs),
    Plot(PlotArgs),
    /// Stop whatever changes anything, or let it go on
    KillSwitch(KillSwitchCommand),
    /// Leave some targets alone for a while
    Silences(SilencesCommand),
    /// The process in which plugins are compiled
    #[command(hide = true)]
    CompilePlugin(CompileArgs),
}

#[derive(Args)]
struct ServeArgs {
    /// The configuration; without it, the defaults and the environment
    #[arg(long, short, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Run one half by itself, joined to the other by Kafka
    #[arg(long, value_enum)]
    role: Option<Role>,
    /// Where the history is kept; counts more than the configuration
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Decide and record everything, do nothing
    #[arg(long)]
    dry_run: bool,
    /// Lines for people, or JSON log lines
    #[arg(long, value_enum, default_value_t = Output::Text)]
    output: Output,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if let Command::CompilePlugin(args) = &arguments.command {
        return anomalyzer_plugin_host::compile_and_exit(args);
    }
    let quiet = !matches!(arguments.command, Command::Serve(_));
    let json = matches!(&arguments.command, Command::Serve(args) if args.output == Output::Json);
    log::start(quiet, json);
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => return failed(&anyhow::anyhow!("cannot start the runtime: {error}")),
    };
    let result = runtime.block_on(async {
        let (shutdown, at_once) = (CancellationToken::new(), CancellationToken::new());
        tokio::spawn(signals(shutdown.clone(), at_once.clone()));
        tokio::select! {
            biased;
            () = at_once.cancelled() => Ok(ExitCode::from(INTERRUPTED)),
            result = run(arguments.command, shutdown) => result,
        }
    });
    // Drops every task that is left, and with it the processes that it supervises: nothing survives
    // an end in a hurry either.
    runtime.shutdown_timeout(std::time::Duration::from_secs(5));
    match result {
        Ok(code) => code,
        Err(error) => failed(&error),
    }
}

fn failed(error: &anyhow::Error) -> ExitCode {
    let _ = writeln!(std::io::stderr().lock(), "error: {error:#}");
    ExitCode::FAILURE
}

async fn run(command: Command, shutdown: CancellationToken) -> anyhow::Result<ExitCode> {
    match command {
        Command::Serve(args) => {
            let role = args.role.unwrap_or(Role::Both);
            let config = configuration(&args)?;
            if let Some(running) = serve::start(config, role, shutdown.clone()).await? {
                shutdown.cancelled().await;
                tracing::info!("stopping");
                running.ended().await;
            }
        }
        Command::Demo { args, output } => {
            let exit_when_done = args.exit_when_done;
            let good = anomalyzer_demo::run(args, output == Output::Json, shutdown).await?;
            return Ok(if exit_when_done && !good {
                ExitCode::FAILURE
            } else {
                ExitCode::SUCCESS
            });
        }
        Command::DemoApp(args) => anomalyzer_demo::app::run(args, shutdown).await?,
        Command::DemoLoad(args) => anomalyzer_demo::load::run(args, shutdown).await?,
        Command::Check(args) => {
            let args = CheckArgs {
                compiler: Some(anomalyzer_plugin_host::this_program()),
                ..args
            };
            let good = check::run(
                &args,
                &|name| std::env::var(name).ok(),
                &mut std::io::stdout(),
            )
            .await?;
            return Ok(if good {
                ExitCode::SUCCESS
            } else {
                ExitCode::FAILURE
            });
        }
        Command::Decisions(command) => {
            decisions::run(command, &mut std::io::stdout().lock(), shutdown).await?;
        }
        Command::Audit(command) => {
            let good = audit::run(command, &mut std::io::stdout().lock()).await?;
            return Ok(if good {
                ExitCode::SUCCESS
            } else {
                ExitCode::FAILURE
            });
        }
        Command::Feedback(args) => feedback::run(args, &mut std::io::stdout().lock()).await?,
        Command::History(command) => {
            let good = history::run(command, &mut std::io::stdout().lock()).await?;
            return Ok(if good {
                ExitCode::SUCCESS
            } else {
                ExitCode::FAILURE
            });
        }
        Command::Backtest(args) => {
            let args = BacktestArgs {
                compiler: Some(anomalyzer_plugin_host::this_program()),
                ..args
            };
            let out = &mut std::io::stdout();
            let good = backtest::run(args, &|name| std::env::var(name).ok(), out, shutdown).await?;
            return Ok(if good {
                ExitCode::SUCCESS
            } else {
                ExitCode::FAILURE
            });
        }
        Command::Replay(args) => {
            let args = ReplayArgs {
                compiler: Some(anomalyzer_plugin_host::this_program()),
                ..args
            };
            let same = replay::run(
                args,
                &|name| std::env::var(name).ok(),
                &mut std::io::stdout().lock(),
            )
            .await?;
            return Ok(if same {
                ExitCode::SUCCESS
            } else {
                ExitCode::FAILURE
            });
        }
        Command::Policy(command) => {
            let good = policy::run(
                &command,
                &|name| std::env::var(name).ok(),
                &mut std::io::stdout().lock(),
            )?;
            return Ok(if good {
                ExitCode::SUCCESS
            } else {
                ExitCode::FAILURE
            });
        }
        Command::Plugins(command) => {
            let command = PluginsCommand {
                compiler: Some(anomalyzer_plugin_host::this_program()),
                ..command
            };
            let good = plugins::run(command, &mut std::io::stdout().lock(), shutdown).await?;
            return Ok(if good {
                ExitCode::SUCCESS
            } else {
                ExitCode::FAILURE
            });
        }
        Command::Nab(mut args) => {
            args.detectors.compiler = Some(anomalyzer_plugin_host::this_program());
            nab::run(args, &mut std::io::stdout().lock(), shutdown).await?;
        }
        Command::Score(mut args) => {
            args.detectors.compiler = Some(anomalyzer_plugin_host::this_program());
            score::run(args, &mut std::io::stdout().lock(), shutdown).await?;
        }
        Command::Plot(mut args) => {
            args.detectors.compiler = Some(anomalyzer_plugin_host::this_program());
            plot::run(args, &mut std::io::stdout().lock(), shutdown).await?;
        }
        Command::Status(args) => status::run(args, &mut std::io::stdout().lock()).await?,
        Command::KillSwitch(command) => {
            kill_switch::run(command, &mut std::io::stdout().lock()).await?
        }
        Command::Silences(command) => silences::run(command, &mut std::io::stdout().lock()).await?,
        // It has come and gone, before the runtime.
        Command::CompilePlugin(_) => {}
    }
    Ok(ExitCode::SUCCESS)
}

fn configuration(args: &ServeArgs) -> anyhow::Result<Config> {
    let mut config = config::load(args.config.as_deref(), &|name| std::env::var(name).ok())?;
    config.plugins.compiler = Some(anomalyzer_plugin_host::this_program());
    if let Some(data_dir) = &args.data_dir {
        config.data_dir.clone_from(data_dir);
    }
    if args.dry_run {
        config.guard.mode = Mode::Shadow;
    }
    Ok(config)
}

/// Ctrl-C, SIGTERM or SIGHUP (the terminal was closed) stops cleanly; a second one at once.
async fn signals(shutdown: CancellationToken, at_once: CancellationToken) {
    use tokio::signal::unix::{Signal, SignalKind, signal};
    let (Ok(mut interrupt), Ok(mut terminate)) = (
        signal(SignalKind::interrupt()),
        signal(SignalKind::terminate()),
    ) else {
        return;
    };
    let mut hangup: Option<Signal> = if ignores_hangup() {
        None
    } else {
        signal(SignalKind::hangup()).ok()
    };
    loop {
        let hung_up = async {
            match &mut hangup {
                Some(hangup) => hangup.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hung_up => {}
        }
        if shutdown.is_cancelled() {
            return at_once.cancel();
        }
        shutdown.cancel();
    }
}

/// Whether it was started to outlive its terminal, as by `nohup`.
fn ignores_hangup() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    // Bit 0 is signal 1, SIGHUP.
    ignored
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .is_some_and(|mask| mask & 1 == 1)
}
