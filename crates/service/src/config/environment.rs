//! Overlays a configuration with the variables of the environment.

use std::net::IpAddr;
use std::path::PathBuf;

use super::error::ConfigError;
use super::settings::Config;
use anomalyzer_collect::{HttpUrl, PrometheusConfig};
use anomalyzer_common::secret_url;
use anomalyzer_diagnose::OllamaConfig;

/// Lookup of a variable of the environment: [`process_variable`], or a test's own variables.
pub type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Port on which Ollama listens by default.
const OLLAMA_PORT: u16 = 11434;

/// Returns a variable of this process. An empty result also means that its value is not UTF-8.
pub fn process_variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// Overlays `config` with the variables of the environment. Returns a sentence for each variable
/// that is set and changes nothing.
///
/// # Errors
/// Returns an error for the first variable with an unusable value.
pub fn overlay(
    config: &mut Config,
    environment: Environment<'_>,
) -> Result<Vec<String>, ConfigError> {
    let get = |name: &str| environment(name).filter(|value| !value.trim().is_empty());
    let mut idle = Vec::new();
    if let Some(brokers) = get("KAFKA_BROKERS") {
        config.kafka.get_or_insert_default().brokers = brokers;
    }
    for name in ["KAFKA_TOPIC_METRICS", "KAFKA_TOPIC_SOLUTIONS"] {
        match (&mut config.kafka, get(name)) {
            (Some(kafka), Some(topic)) if name == "KAFKA_TOPIC_METRICS" => {
                kafka.topics.metrics = topic;
            }
            (Some(kafka), Some(topic)) => kafka.topics.solutions = topic,
            (None, Some(_)) => idle.push(format!(
                "{name} changes nothing without KAFKA_BROKERS or [kafka]"
            )),
            (_, None) => {}
        }
    }
    if let Some(url) = get("PROMETHEUS_URL") {
        let url = HttpUrl::try_from(url.trim_end_matches('/').to_owned()).map_err(|message| {
            ConfigError::Environment {
                name: "PROMETHEUS_URL".to_owned(),
                message,
            }
        })?;
        match &mut config.collect.prometheus {
            Some(prometheus) => prometheus.url = url,
            None => config.collect.prometheus = Some(PrometheusConfig::at(url)),
        }
    }
    for secret in config.collect.secrets_mut() {
        secret
            .resolve(get)
            .map_err(|name| ConfigError::Environment {
                name,
                message:
                    "a secret of a source names it, and it is not set: set it, or drop the secret"
                        .to_owned(),
            })?;
    }
    if let Some(kubernetes) = config
        .kubernetes
        .as_mut()
        .filter(|kubernetes| kubernetes.kubeconfig.is_none())
    {
        kubernetes.kubeconfig = get("KUBECONFIG")
            .map(|list| kubeconfig(&list))
            .transpose()?;
    }
    let model = get("OLLAMA_MODEL");
    if let Some(host) = get("OLLAMA_HOST") {
        let url = ollama_url(&host).map_err(|message| ConfigError::Environment {
            name: "OLLAMA_HOST".to_owned(),
            message,
        })?;
        match (&mut config.ollama, &model) {
            (Some(ollama), _) => ollama.url = url.into(),
            (None, Some(model)) => config.ollama = Some(OllamaConfig::new(url, model.clone())),
            (None, None) => {
                let message =
                    "no model is named: set OLLAMA_MODEL, or [ollama] model in the file".to_owned();
                return Err(ConfigError::Environment {
                    name: "OLLAMA_HOST".to_owned(),
                    message,
                });
            }
        }
    }
    match (&mut config.ollama, model) {
        (Some(ollama), Some(model)) => ollama.model = model,
        (None, Some(_)) => {
            idle.push("OLLAMA_MODEL changes nothing without OLLAMA_HOST or [ollama]".to_owned());
        }
        (_, None) => {}
    }
    Ok(idle)
}

/// Returns the only file of a list in the syntax of `kubectl`.
fn kubeconfig(list: &str) -> Result<PathBuf, ConfigError> {
    let mut files = std::env::split_paths(list).filter(|file| !file.as_os_str().is_empty());
    match (files.next(), files.next()) {
        (Some(file), None) => Ok(file),
        _ => Err(ConfigError::Environment {
            name: "KUBECONFIG".to_owned(),
            message: format!(
                "`{list}` lists several files, and they are not merged: name one of them in [kubernetes] kubeconfig, or merge \
                 them with `kubectl config view --flatten`"
            ),
        }),
    }
}

/// Parses an address in any form that Ollama itself accepts: `127.0.0.1`, `:11434`,
/// `0.0.0.0:11434`, `http://host`. An address to listen on on all interfaces becomes the loopback
/// address to connect to.
fn ollama_url(text: &str) -> Result<String, String> {
    let wrong = || {
        let text = secret_url::shown(text);
        format!("`{text}` is not an address: write host:port or http://host:port")
    };
    let bare = text.trim().trim_matches(['"', '\'']);
    let (scheme, rest) = bare.split_once("://").unwrap_or(("", bare));
    let (scheme, default) = match scheme {
        "" => ("http", OLLAMA_PORT),
        "http" => ("http", 80),
        "https" => ("https", 443),
        _ => return Err(wrong()),
    };
    let (place, path) = rest.split_once('/').unwrap_or((rest, ""));
    let (host, port) = match place.rsplit_once(':') {
        // A bare IPv6 address has colons and no port.
        Some((host, port)) if !host.contains(':') || host.ends_with(']') => {
            (host, port.parse::<u16>().map_err(|_| wrong())?)
        }
        _ => (place, default),
    };
    let host = match host.trim_matches(['[', ']']).parse::<IpAddr>() {
        Ok(IpAddr::V4(address)) if address.is_unspecified() => "127.0.0.1".to_owned(),
        Ok(IpAddr::V6(address)) if address.is_unspecified() => "[::1]".to_owned(),
        Ok(IpAddr::V4(address)) => address.to_string(),
        Ok(IpAddr::V6(address)) => format!("[{address}]"),
        Err(_) if host.is_empty() => "127.0.0.1".to_owned(),
        Err(_) => host.to_owned(),
    };
    let url = format!("{scheme}://{host}:{port}/{path}")
        .trim_end_matches('/')
        .to_owned();
    HttpUrl::try_from(url.clone()).map_err(|_| wrong())?;
    Ok(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(variables: &[(&str, &str)], config: &mut Config) -> Result<Vec<String>, String> {
        let get = |name: &str| {
            variables
                .iter()
                .find(|(known, _)| *known == name)
                .map(|(_, value)| (*value).to_owned())
        };
        overlay(config, &get).map_err(|error| error.to_string())
    }

    #[test]
    fn the_environment_counts_more_than_the_file() {
        let mut config = Config::default();
        let variables = [
            ("KAFKA_BROKERS", "k:9092"),
            ("KAFKA_TOPIC_METRICS", "m"),
            ("OLLAMA_HOST", "127.0.0.1:11434"),
            ("OLLAMA_MODEL", "small"),
        ];
        assert_eq!(with(&variables, &mut config).unwrap(), [] as [String; 0]);
        let kafka = config.kafka.unwrap();
        assert_eq!(
            (kafka.brokers.as_str(), kafka.topics.metrics.as_str()),
            ("k:9092", "m")
        );
        let ollama = config.ollama.unwrap();
        assert_eq!(
            (ollama.url.reveal(), ollama.model.as_str()),
            ("http://127.0.0.1:11434", "small")
        );
    }

    #[test]
    fn a_secret_of_a_source_is_taken_from_the_variable_that_it_names() {
        let text = "[collect.prometheus]\nurl = 'http://p'\nheaders = { X-Key = { env = 'KEY' } }";
        let config = || toml::from_str::<Config>(text).unwrap();
        let mut filled = config();
        with(&[("KEY", "k")], &mut filled).unwrap();
        assert_eq!(
            filled.collect.prometheus.unwrap().headers["X-Key"],
            anomalyzer_collect::Secret::Text("k".to_owned())
        );
        let error = with(&[], &mut config()).unwrap_err();
        assert!(error.starts_with("environment variable KEY: "), "{error}");
    }

    #[test]
    fn a_wrong_variable_is_named_with_the_remedy() {
        let refused = |name: &str, value: &str| {
            let mut config = Config {
                kubernetes: Some(Default::default()),
                ..Config::default()
            };
            with(&[(name, value)], &mut config).unwrap_err()
        };
        let error = refused("PROMETHEUS_URL", "here");
        assert_eq!(
            error,
            "environment variable PROMETHEUS_URL: `here` is not an address: write for example http://127.0.0.1:9090"
        );
        assert!(refused("KUBECONFIG", "/a:/b").contains("lists several files"));
        assert!(refused("OLLAMA_HOST", "127.0.0.1").contains("set OLLAMA_MODEL"));
    }

    #[test]
    fn a_variable_that_changes_nothing_is_named() {
        let idle = with(
            &[("OLLAMA_MODEL", "m"), ("KAFKA_TOPIC_SOLUTIONS", "s")],
            &mut Config::default(),
        )
        .unwrap();
        assert_eq!(
            idle,
            [
                "KAFKA_TOPIC_SOLUTIONS changes nothing without KAFKA_BROKERS or [kafka]",
                "OLLAMA_MODEL changes nothing without OLLAMA_HOST or [ollama]"
            ]
        );
    }

    #[test]
    fn a_kubeconfig_list_of_one_is_that_file() {
        let mut config = Config {
            kubernetes: Some(Default::default()),
            ..Config::default()
        };
        with(&[("KUBECONFIG", "/a:")], &mut config).unwrap();
        assert_eq!(
            config.kubernetes.unwrap().kubeconfig,
            Some(PathBuf::from("/a"))
        );
    }

    #[test]
    fn an_ollama_host_is_read_as_ollama_reads_it() {
        for (text, url) in [
            ("127.0.0.1", "http://127.0.0.1:11434"),
            ("0.0.0.0", "http://127.0.0.1:11434"),
            ("0.0.0.0:8080", "http://127.0.0.1:8080"),
            ("gpu:8080", "http://gpu:8080"),
            (":8080", "http://127.0.0.1:8080"),
            ("gpu", "http://gpu:11434"),
            ("http://gpu", "http://gpu:80"),
            ("https://gpu/ollama/", "https://gpu:443/ollama"),
            ("[::]:8080", "http://[::1]:8080"),
            ("::1", "http://[::1]:11434"),
            (" \"127.0.0.1:1\" ", "http://127.0.0.1:1"),
        ] {
            assert_eq!(ollama_url(text).unwrap(), url, "{text}");
        }
        for text in ["gpu:port", "ftp://gpu", "a b", "gpu:99999"] {
            assert!(ollama_url(text).is_err(), "{text}");
        }
    }
}
