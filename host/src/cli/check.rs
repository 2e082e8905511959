//! `anomalyzer check`: finds what `serve` would refuse before it is started, with file, line and
//! remedy.

use std::io::Write;
use std::path::PathBuf;

use serde_json::json;

use anomalyzer_api::Access;
use anomalyzer_domain::DetectorConfig;
use anomalyzer_operator_kubernetes::Kubernetes;
use anomalyzer_plugin_host::Plugins;
use anomalyzer_service::config::{Config, ConfigError, Environment, File, Place, Step};

use super::Output;

/// The arguments of `anomalyzer check`.
#[derive(Clone, Debug, clap::Args)]
pub struct CheckArgs {
    /// The configuration
    pub file: PathBuf,
    /// How the answer looks
    #[arg(long, value_enum, default_value_t = Output::Text)]
    pub output: Output,
    /// Compiles the plugins that are looked at: see [`anomalyzer_plugin_host::PluginConfig::compiler`]
    #[arg(skip)]
    pub compiler: Option<PathBuf>,
}

/// Checks the file and prints what there is to say. True if it is good.
///
/// # Errors
/// The answer can't be written.
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

/// `notes`: what is no error, and what could not be checked.
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
    access.map_err(|error| file.wrong(&Place::Named, error.to_string()))?;
    if let Some(kubernetes) = &config.kubernetes {
        if kubernetes.kubeconfig.is_some() {
            let wrong = |error: anomalyzer_operator_kubernetes::ConnectError| {
                file.wrong(
                    &["kubernetes", "kubeconfig"].map(Step::from).into(),
                    error.to_string(),
                )
            };
            Kubernetes::connect(kubernetes).await.map_err(wrong)?;
        } else {
            notes.push(
                "no kubeconfig is named: that there is a pod's service account was not checked"
                    .to_owned(),
            );
        }
    }
    secrets(&config, notes);
    plugins(&file, &config, notes).await?;
    Ok(config)
}

/// Files that are read anew at each request: `serve` begins without them.
fn secrets(config: &Config, notes: &mut Vec<String>) {
    let prometheus = config
        .collect
        .prometheus
        .iter()
        .filter_map(|prometheus| prometheus.bearer_token_file.as_ref());
    let scrapes = config
        .collect
        .scrape
        .iter()
        .filter_map(|scrape| scrape.bearer_token_file.as_ref());
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
    for file in prometheus.chain(scrapes).chain(channels).chain(credentials) {
        if let Err(error) = std::fs::File::open(file) {
            notes.push(format!(
                "{} cannot be read ({error}): what needs it will fail until it can",
                file.display()
            ));
        }
    }
}

/// Whether every detector is there and takes its settings.
async fn plugins(file: &File, config: &Config, notes: &mut Vec<String>) -> Result<(), ConfigError> {
    let folder = config.plugins.folder.display();
    if !config.plugins.folder.is_dir() {
        notes.push(format!(
            "detectors and grants were not checked: there is no plugin folder {folder}; set plugins.folder, or build the plugins \
             with `cargo xtask plugins`"
        ));
        return Ok(());
    }
    let of_folder = |why: String| file.wrong(&["plugins", "folder"].map(Step::from).into(), why);
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
                .get_ref()
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
            file.wrong(
                &Place::At(steps),
                format!("detector `{}`: {error}", detector.name),
            )
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
