//! `anomalyzer plugins`: subcommands for authors of plugins (`new`, `inspect`, `test`), for
//! signers, and for operators of a server.

mod inspect;
mod load;
mod manage;
mod new;
mod schema;
mod sign;
mod test;

use std::io::{self, Write};
use std::path::PathBuf;

use clap::{Args, Subcommand};
use tokio_util::sync::CancellationToken;

use super::Output;
use super::api_client::ApiError;
use anomalyzer_plugin_host::PluginError;

pub use inspect::InspectArgs;
pub use manage::Manage;
pub use new::{Kind, Language, NewArgs};
pub use sign::{Sign, SignError};
pub use test::TestArgs;

/// Write plugins, inspect them, and manage the plugins of a server.
#[derive(Clone, Debug, Args)]
pub struct PluginsCommand {
    /// Subcommand to run.
    #[command(subcommand)]
    pub what: PluginsSubcommand,
    /// Text for people, or JSON.
    #[arg(long, global = true, value_enum, default_value_t = Output::Text)]
    pub output: Output,
    /// Program that compiles the inspected file: see
    /// [`anomalyzer_plugin_host::PluginConfig::compiler`].
    #[arg(skip)]
    pub compiler: Option<PathBuf>,
}

/// Subcommands of `anomalyzer plugins`.
#[derive(Clone, Debug, Subcommand)]
pub enum PluginsSubcommand {
    /// Make a project that builds and passes its tests.
    New(NewArgs),
    /// Describe a file: its kind, imports and exports, and whether the host would accept it.
    Inspect(InspectArgs),
    /// Test a plugin against the contract (determinism, bounds, odd input, leaks), and measure it.
    Test(TestArgs),
    /// Subcommands that manage the plugins of a running server.
    #[command(flatten)]
    Manage(Manage),
    /// Subcommands for signatures.
    #[command(flatten)]
    Sign(Sign),
}

/// Error of `anomalyzer plugins`.
#[derive(Debug, thiserror::Error)]
pub enum PluginsError {
    /// The file can't be read.
    #[error("cannot read {path}: {reason}", path = .path.display())]
    Unreadable {
        /// Path of the file.
        path: PathBuf,
        /// Reason that the file can't be read.
        reason: String,
    },
    /// The project can't be made.
    #[error("cannot make {path}: {reason}", path = .path.display())]
    NotMade {
        /// Folder of the project.
        path: PathBuf,
        /// Reason that the project can't be made, with the remedy.
        reason: String,
    },
    /// The host would refuse the file.
    #[error("{0}; `anomalyzer plugins inspect` says more")]
    Unusable(String),
    /// The plugin host itself does not start.
    #[error(transparent)]
    Plugin(#[from] PluginError),
    /// The server can't be reached, or refuses the request.
    #[error(transparent)]
    Manage(#[from] ApiError),
    /// A file can't be signed or verified.
    #[error(transparent)]
    Sign(#[from] SignError),
    /// The run was interrupted.
    #[error("interrupted")]
    Interrupted,
    /// The output can't be written.
    #[error("cannot write the output: {0}")]
    Output(#[from] io::Error),
}

/// Runs the subcommand. Returns true if the inspected, tested or verified file is good. A reader
/// that closes the output early is not an error.
pub async fn run<W: Write>(
    command: PluginsCommand,
    out: &mut W,
    shutdown: CancellationToken,
) -> Result<bool, PluginsError> {
    let PluginsCommand {
        what,
        output,
        compiler,
    } = command;
    let done = match what {
        PluginsSubcommand::New(args) => new::run(&args, output, out),
        PluginsSubcommand::Inspect(args) => inspect::run(&args, compiler, output, out).await,
        PluginsSubcommand::Test(args) => tokio::select! {
            done = test::run(&args, compiler, output, out) => done,
            () = shutdown.cancelled() => Err(PluginsError::Interrupted),
        },
        PluginsSubcommand::Manage(what) => tokio::select! {
            done = manage::run(what, output, out) => done.map(|()| true).map_err(PluginsError::from),
            () = shutdown.cancelled() => Err(PluginsError::Interrupted),
        },
        PluginsSubcommand::Sign(what) => sign::run(what, output, out).map_err(PluginsError::from),
    };
    match done.and_then(|good| Ok(out.flush().map(|()| good)?)) {
        Err(
            PluginsError::Output(error)
            | PluginsError::Manage(ApiError::Output(error))
            | PluginsError::Sign(SignError::Output(error)),
        ) if error.kind() == io::ErrorKind::BrokenPipe => Ok(true),
        result => result,
    }
}
