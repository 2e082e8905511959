//! `anomalyzer plugins`: for those who write plugins (`new`, `inspect`, `test`), sign them, and run
//! them.

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
use anomalyzer_plugin_host::PluginError;

pub use inspect::InspectArgs;
pub(super) use manage::Door;
pub use manage::{Manage, ManageError, ServerArgs};
pub use new::{Kind, Language, NewArgs};
pub use sign::{Sign, SignError};
pub use test::TestArgs;

/// Write plugins, look at them, and say what a server does with them.
#[derive(Clone, Debug, Args)]
pub struct PluginsCommand {
    /// What to do.
    #[command(subcommand)]
    pub what: What,
    /// Text to read, or JSON.
    #[arg(long, global = true, value_enum, default_value_t = Output::Text)]
    pub output: Output,
    /// Compiles the file that is looked at: see [`anomalyzer_plugin_host::PluginConfig::compiler`].
    #[arg(skip)]
    pub compiler: Option<PathBuf>,
}

/// What to do.
#[derive(Clone, Debug, Subcommand)]
pub enum What {
    /// Make a project that builds and passes its tests.
    New(NewArgs),
    /// What a file is, asks for and gives, and whether the host would take it.
    Inspect(InspectArgs),
    /// Try a plugin as every plugin is tried: determinism, bounds, odd input, leaks; and measure
    /// it.
    Test(TestArgs),
    /// What is done to the plugins of a running server.
    #[command(flatten)]
    Manage(Manage),
    /// Signatures.
    #[command(flatten)]
    Sign(Sign),
}

/// Why the subcommand failed.
#[derive(Debug, thiserror::Error)]
pub enum PluginsError {
    /// The file can't be read.
    #[error("cannot read {path}: {reason}", path = .path.display())]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// The project can't be made.
    #[error("cannot make {path}: {reason}", path = .path.display())]
    NotMade {
        /// What was to be made.
        path: PathBuf,
        /// Why, with the remedy.
        reason: String,
    },
    /// The host would not take the file.
    #[error("{0}; `anomalyzer plugins inspect` says more")]
    Unusable(String),
    /// The plugin host itself does not start.
    #[error(transparent)]
    Plugin(#[from] PluginError),
    /// The server could not be asked, or said no.
    #[error(transparent)]
    Manage(#[from] ManageError),
    /// It could not be signed or checked.
    #[error(transparent)]
    Sign(#[from] SignError),
    /// It was interrupted.
    #[error("interrupted")]
    Interrupted,
    /// The output can't be written.
    #[error("cannot write the output: {0}")]
    Output(#[from] io::Error),
}

/// Runs the subcommand, and says whether what it looked at is good. Who stops reading the output
/// ends it without an error.
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
        What::New(args) => new::run(&args, output, out),
        What::Inspect(args) => inspect::run(&args, compiler, output, out).await,
        What::Test(args) => tokio::select! {
            done = test::run(&args, compiler, output, out) => done,
            () = shutdown.cancelled() => Err(PluginsError::Interrupted),
        },
        What::Manage(what) => tokio::select! {
            done = manage::run(what, output, out) => done.map(|()| true).map_err(PluginsError::from),
            () = shutdown.cancelled() => Err(PluginsError::Interrupted),
        },
        What::Sign(what) => sign::run(what, output, out).map_err(PluginsError::from),
    };
    match done.and_then(|good| Ok(out.flush().map(|()| good)?)) {
        Err(
            PluginsError::Output(error)
            | PluginsError::Manage(ManageError::Output(error))
            | PluginsError::Sign(SignError::Output(error)),
        ) if error.kind() == io::ErrorKind::BrokenPipe => Ok(true),
        result => result,
    }
}
