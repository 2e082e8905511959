//! `anomalyzer check`: finds everything that `serve` would refuse, before `serve` is started.
//! Reports file, line and remedy.

use std::io::Write;
use std::path::PathBuf;

use serde_json::json;

use anomalyzer_api::Access;
use anomalyzer_domain::{ConfigIssue, DetectorConfig, Step, duration};
use anomalyzer_operator_kubernetes::Kubernetes;
use anomalyzer_plugin_host::Plugins;
use anomalyzer_service::config::{Config, ConfigError, Environment, File};

use super::Output;

/// Arguments of `anomalyzer check`.
#[derive(Clone, Debug, clap::Args)]
pub struct CheckArgs {
    /// The configuration
    pub file: PathBuf,
    /// Format of the answer
    #[arg(long, value_enum, default_value_t = Output::Text)]
    pub output: Output,
    /// Program that compiles the checked plugins: see
    /// [`anomalyzer_plugin_host::PluginConfig::compiler`]
    #[arg(skip)]
    pub compiler: Option<PathBuf>,
}

/// Checks the file and prints the result. Returns true if the configuration is good.
///
/// # Errors
/// Returns an error if the answer can't be written.
pub async fn run(
    args: &CheckArgs,
    environment: Environment<'_>,
    out: &mut dyn Write,
) -> std::io::Result<bool> {
    let mut notes = Vec::new();
    let checked = check(args, environment, &mut notes).await;
    let (good, message) = match &checked {
        Ok(config) => (
            true,
            format!(
                "{} is good: {} signals",
                args.file.display(),
                config.signal.len()
            ),
        ),
        Err(error) => (false, error.to_string()),
    };
    match args.output {
        Output::Text => {
            writeln!(out, "{message}")?;
            notes
                .iter()
                .try_for_each(|note| writeln!(out, "note: {note}"))?;
        }
        Output::Json => writeln!(
            out,
            "{}",
            json!({ "good": good, "message": message, "notes": notes })
        )?,
    }
    Ok(good)
}

/// Checks the configuration and returns it. Adds to `notes` everything that is not an error, and
/// everything that could not be checked.
async fn check(
    args: &CheckArgs,
    environment: Environment<'_>,
    notes: &mut Vec<String>,
) -> Result<Config, ConfigError> {
    let file = File::read(&args.file)?;
    let (mut config, idle) = file.load(environment)?;
    config.plugins.compiler.clone_from(&args.compiler);
    notes.extend(idle);
    let access = Access::load(&config.api, config.api.listen);
    access.map_err(|issue| file.wrong(issue.within("api")))?;
    if let Some(kubernetes) = &config.kubernetes {
        if kubernetes.kubeconfig.is_some() {
            let wrong = |error: anomalyzer_operator_kubernetes::ConnectError| {
                let issue = ConfigIssue::at("kubeconfig", error.to_string());
                file.wrong(issue.within("kubernetes"))
            };
            Kubernetes::connect(kubernetes).await.map_err(wrong)?;
        } else {
            notes.push(
                "no kubeconfig is named: that there is a pod's service account was not checked"
                    .to_owned(),
            );
        }
    }
    if config.plugins.require_signature {
        notes.push(
            "plugins.require_signature takes effect at the next start: a running service keeps its policy, which \
             `anomalyzer status` shows"
                .to_owned(),
        );
    }
    secrets(&config, notes);
    verifications(&config, notes);
    plugins(&file, &config, notes).await?;
    Ok(config)
}

/// Notes secret files that can't be opened. A missing secret is no error: the service reads these
/// files anew at each request, and `serve` starts without them.
fn secrets(config: &Config, notes: &mut Vec<String>) {
    let sources = config.collect.files();
    let channels = config
        .notify
        .channels
        .values()
        .filter_map(|channel| channel.url_file.as_ref());
    let credentials = config
        .http
        .credentials
        .iter()
        .map(|credential| &credential.value_file);
    for file in sources.iter().chain(channels).chain(credentials) {
        if let Err(error) = std::fs::File::open(file) {
            notes.push(format!(
                "{} cannot be read ({error}): what needs it will fail until it can",
                file.display()
            ));
        }
    }
}

/// Notes the signals for which a verification takes longer than configured, and those that it can't
/// judge.
fn verifications(config: &Config, notes: &mut Vec<String>) {
    let (verify, timings) = (&config.verify, config.signal_timing());
    let configured = verify.settle.saturating_add(verify.observe);
    for (signal, timing) in timings {
        let needed = verify.needed(verify.settle, timing);
        if needed <= configured || timing.look_back.is_zero() || verify.observe.is_zero() {
            continue;
        }
        let observation = verify.observation(verify.settle, [(signal.as_str(), timing)]);
        notes.push(match observation.lengthened {
            Some(lengthened) => format!("the effect of an operation is {lengthened}"),
            None => format!(
                "the effect of an operation on {signal} is always `unknown`: a sample depends on the {} before it, so a \
                 verdict needs {}, and `[verify] observe_at_most` is {}",
                duration::format(timing.look_back),
                duration::format(needed),
                duration::format(verify.observe_at_most)
            ),
        });
    }
}

/// Checks that every configured detector is installed and accepts its settings. Notes granted
/// actions that are not installed.
async fn plugins(file: &File, config: &Config, notes: &mut Vec<String>) -> Result<(), ConfigError> {
    let folder = config.plugins.folder.display();
    if !config.plugins.folder.is_dir() {
        notes.push(format!(
            "detectors and grants were not checked: there is no plugin folder {folder}; set plugins.folder, or build the plugins \
             with `cargo xtask plugins`"
        ));
        return Ok(());
    }
    let of_folder = |why: String| file.wrong(ConfigIssue::at("folder", why).within("plugins"));
    let plugin_config = config.plugins.clone();
    let loading = tokio::task::spawn_blocking(move || Plugins::load(plugin_config)).await;
    let plugins = loading
        .map_err(|error| of_folder(error.to_string()))?
        .map_err(|error| of_folder(error.to_string()))?;
    notes.extend(plugins.health().broken);

    let of_signals = config
        .signal
        .iter()
        .enumerate()
        .flat_map(|(index, signal)| {
            let steps =
                move |at: usize| vec!["signal".into(), index.into(), "detectors".into(), at.into()];
            signal
                .detectors
                .iter()
                .enumerate()
                .map(move |(at, detector)| (steps(at), detector))
        });
    let fallback = config.fallback_detectors.iter().enumerate();
    let fallback =
        fallback.map(|(at, detector)| (vec!["fallback_detectors".into(), at.into()], detector));
    let all: Vec<(Vec<Step>, &DetectorConfig)> = of_signals.chain(fallback).collect();
    for (steps, detector) in all {
        let opened = plugins
            .detector(&detector.name, &detector.settings.clone().into())
            .await;
        let wrong = |error| {
            file.wrong(ConfigIssue {
                path: steps,
                message: format!("detector `{}`: {error}", detector.name),
            })
        };
        opened.map_err(wrong)?;
    }
    for grant in config.grant.iter().flatten() {
        if !plugins.has_action(&grant.plugin) {
            notes.push(format!(
                "`{}` of `{}` is granted and there is no such action in {folder} yet",
                grant.operation, grant.plugin
            ));
        }
    }
    Ok(())
}
