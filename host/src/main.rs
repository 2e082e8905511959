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
use anomalyzer::cli::rca::RcaArgs;
use anomalyzer::cli::replay::ReplayArgs;
use anomalyzer::cli::score::ScoreArgs;
use anomalyzer::cli::silences::SilencesCommand;
use anomalyzer::cli::status::StatusArgs;
use anomalyzer::cli::{
    Output, audit, backtest, check, decisions, exit_code, feedback, history, kill_switch, nab,
    plot, plugins, policy, rca, replay, score, silences, status,
};
use anomalyzer_common::{error_chain, log};
use anomalyzer_demo::DemoArgs;
use anomalyzer_demo::app::DemoAppArgs;
use anomalyzer_demo::load::DemoLoadArgs;
use anomalyzer_domain::Mode;
use anomalyzer_plugin_host::CompileArgs;
use anomalyzer_service::config::Config;
use anomalyzer_service::{Role, Service, config};
use clap::{Args, Parser, Subcommand};
use tokio_util::sync::CancellationToken;

/// Exit code after a second signal, as in a shell: 128 + SIGINT.
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
    /// Run the service: all of it in one process, or one role
    Serve(ServeArgs),
    /// Show an application that fails and is repaired
    Demo {
        #[command(flatten)]
        args: DemoArgs,
        /// Format of the output: text for people, or one JSON event per line
        #[arg(long, value_enum, default_value_t = Output::Text)]
        output: Output,
    },
    /// Run the application of the demo: a small HTTP service with faults to inject
    DemoApp(DemoAppArgs),
    /// Run the traffic of the demo
    DemoLoad(DemoLoadArgs),
    /// Check a configuration, and print file, line and remedy of each problem
    Check(CheckArgs),
    Status(StatusArgs),
    /// Show decisions with their reasons and outcomes
    Decisions(DecisionsCommand),
    /// Verify that the history is unchanged since it was recorded
    Audit(AuditCommand),
    /// Back up the history, and restore a backup
    History(HistoryCommand),
    Feedback(FeedbackArgs),
    Replay(ReplayArgs),
    Backtest(BacktestArgs),
    /// Test the verdicts of the configured policy
    Policy(PolicyCommand),
    /// Create, inspect and manage plugins
    Plugins(PluginsCommand),
    // The arguments of these four document the subcommands.
    Nab(NabArgs),
    Rca(RcaArgs),
    Score(ScoreArgs),
    Plot(PlotArgs),
    /// Stop all operations that change something, or allow them again
    KillSwitch(KillSwitchCommand),
    /// Exempt targets from operations for a while
    Silences(SilencesCommand),
    /// Compile a plugin, in a process of its own
    #[command(hide = true)]
    CompilePlugin(CompileArgs),
}

#[derive(Args)]
struct ServeArgs {
    /// Configuration file. Without it, the defaults and the environment apply
    #[arg(long, short, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Role to run. Kafka joins the roles; without this option both run in one process
    #[arg(long, value_enum)]
    role: Option<Role>,
    /// Folder of the history; overrides the configuration
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Decide and record everything, but change nothing
    #[arg(long)]
    dry_run: bool,
    /// Format of the log: text for people, or JSON lines
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
    // The shutdown drops every remaining task, and with it the processes that the task supervises.
    // They end also when the service ends in a hurry.
    runtime.shutdown_timeout(std::time::Duration::from_secs(5));
    match result {
        Ok(code) => code,
        Err(error) => failed(&error),
    }
}

fn failed(error: &anyhow::Error) -> ExitCode {
    let error_line = error_chain::describe(error.as_ref());
    let _ = writeln!(std::io::stderr().lock(), "error: {error_line}");
    ExitCode::from(exit_code(error))
}

/// Runs a subcommand.
async fn run(command: Command, shutdown: CancellationToken) -> anyhow::Result<ExitCode> {
    let (out, env) = (&mut std::io::stdout(), &config::process_variable);
    let compiler = Some(anomalyzer_plugin_host::this_program());
    Ok(match command {
        Command::Serve(args) => serve(args, shutdown).await?.exit_code(),
        Command::Demo { args, output } => demo(args, output, shutdown).await?.exit_code(),
        Command::DemoApp(args) => anomalyzer_demo::app::run(args, shutdown).await?.exit_code(),
        Command::DemoLoad(args) => anomalyzer_demo::load::run(args, shutdown)
            .await?
            .exit_code(),
        Command::Check(mut args) => {
            args.compiler = compiler;
            check::run(&args, env, out).await?.exit_code()
        }
        Command::Decisions(command) => decisions::run(command, out, shutdown).await?.exit_code(),
        Command::Audit(command) => audit::run(command, out).await?.exit_code(),
        Command::Feedback(args) => feedback::run(args, out).await?.exit_code(),
        Command::History(command) => history::run(command, out).await?.exit_code(),
        Command::Backtest(mut args) => {
            args.compiler = compiler;
            backtest::run(args, env, out, shutdown).await?.exit_code()
        }
        Command::Replay(mut args) => {
            args.compiler = compiler;
            replay::run(args, env, out).await?.exit_code()
        }
        Command::Policy(command) => policy::run(&command, env, out)?.exit_code(),
        Command::Plugins(mut command) => {
            command.compiler = compiler;
            plugins::run(command, out, shutdown).await?.exit_code()
        }
        Command::Nab(mut args) => {
            args.detectors.compiler = compiler;
            nab::run(args, out, shutdown).await?.exit_code()
        }
        Command::Rca(args) => rca::run(args, out).await?.exit_code(),
        Command::Score(mut args) => {
            args.detectors.compiler = compiler;
            score::run(args, out, shutdown).await?.exit_code()
        }
        Command::Plot(mut args) => {
            args.detectors.compiler = compiler;
            plot::run(args, out, shutdown).await?.exit_code()
        }
        Command::Status(args) => status::run(args, out).await?.exit_code(),
        Command::KillSwitch(command) => kill_switch::run(command, out).await?.exit_code(),
        Command::Silences(command) => silences::run(command, out).await?.exit_code(),
        // `main` has run it before the runtime started.
        Command::CompilePlugin(_) => ExitCode::SUCCESS,
    })
}

/// Result of a subcommand, as an exit code.
trait Outcome {
    fn exit_code(self) -> ExitCode;
}

/// A subcommand that ends without an error succeeded.
impl Outcome for () {
    fn exit_code(self) -> ExitCode {
        ExitCode::SUCCESS
    }
}

/// A subcommand that checks something returns false if the check failed.
impl Outcome for bool {
    fn exit_code(self) -> ExitCode {
        match self {
            true => ExitCode::SUCCESS,
            false => ExitCode::FAILURE,
        }
    }
}

/// Runs the service until the shutdown.
async fn serve(args: ServeArgs, shutdown: CancellationToken) -> anyhow::Result<()> {
    let role = args.role.unwrap_or(Role::Both);
    let builder = Service::builder(configuration(&args)?).role(role);
    if let Some(service) = builder.start(shutdown.clone()).await? {
        shutdown.cancelled().await;
        tracing::info!("stopping");
        service.ended().await;
    }
    Ok(())
}

/// Runs the demo. Returns false if it was to end by itself and something went wrong.
async fn demo(args: DemoArgs, output: Output, shutdown: CancellationToken) -> anyhow::Result<bool> {
    let exit_when_done = args.exit_when_done;
    let good = anomalyzer_demo::run(args, output == Output::Json, shutdown).await?;
    Ok(good || !exit_when_done)
}

/// Reads the configuration, and applies the arguments to it.
fn configuration(args: &ServeArgs) -> anyhow::Result<Config> {
    let mut config = config::load(args.config.as_deref(), &config::process_variable)?;
    config.plugins.compiler = Some(anomalyzer_plugin_host::this_program());
    if let Some(data_dir) = &args.data_dir {
        config.data_dir.clone_from(data_dir);
    }
    if args.dry_run {
        config.guard.mode = Mode::Shadow;
    }
    Ok(config)
}

/// Cancels `shutdown` on Ctrl-C, SIGTERM or SIGHUP (the terminal was closed), and `at_once` on a
/// second signal.
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

/// Returns true if the process was started to outlive its terminal, as by `nohup`.
fn ignores_hangup() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    // Bit 0 is signal 1, SIGHUP.
    ignored
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .is_some_and(|mask| mask & 1 == 1)
}
