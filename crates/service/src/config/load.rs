//! Reads the file, overlays it with the environment, and locates mistakes by line and column.

use std::path::{Path, PathBuf};

use anomalyzer_domain::ConfigIssue;

use super::environment::{Environment, overlay};
use super::error::ConfigError;
use super::settings::Config;
use super::{location, validate};

/// A configuration file. It keeps the text to locate mistakes in it.
#[derive(Clone, Debug)]
pub struct File {
    path: PathBuf,
    text: String,
}

impl File {
    /// Reads the file.
    ///
    /// # Errors
    /// Returns an error if the file cannot be read.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let path = path.to_owned();
        match std::fs::read_to_string(&path) {
            Ok(text) => Ok(Self { path, text }),
            Err(reason) => Err(ConfigError::Unreadable { path, reason }),
        }
    }

    /// Takes `text` for the content of the file at `path`.
    pub(super) fn of_text(path: &Path, text: &str) -> Self {
        Self {
            path: path.to_owned(),
            text: text.to_owned(),
        }
    }

    /// Returns the configuration with the environment laid over it, and a sentence for each
    /// variable that is set and changes nothing.
    ///
    /// # Errors
    /// Returns the first mistake, with its position and the remedy.
    pub fn load(&self, environment: Environment<'_>) -> Result<(Config, Vec<String>), ConfigError> {
        let mut config = self.parse()?;
        let idle = overlay(&mut config, environment)?;
        validate::check_sources(&config).map_err(|issue| self.wrong(issue))?;
        Ok((config, idle))
    }

    /// Deserializes the text as a `T`.
    ///
    /// # Errors
    /// Returns the first mistake with its position.
    pub fn read_as<T: serde::de::DeserializeOwned>(&self) -> Result<T, ConfigError> {
        toml::from_str(&self.text).map_err(|error| {
            let start = error.span().unwrap_or_default().start;
            self.wrong_at(start, error.message().trim().to_owned())
        })
    }

    fn parse(&self) -> Result<Config, ConfigError> {
        let mut config: Config = self.read_as()?;
        // The defaults of `folder` and `cache` depend on the machine, so `PluginConfig` cannot know
        // them. They are filled in here if the table [plugins] lacks them.
        let given: toml::Table = self.read_as()?;
        if given
            .get("plugins")
            .is_none_or(|plugins| plugins.get("folder").is_none())
        {
            config.plugins.folder = Config::default().plugins.folder;
        }
        config.plugins.cache = config.plugins.cache.or(Config::default().plugins.cache);
        validate::check(&config).map_err(|issue| self.wrong(issue))?;
        Ok(config)
    }

    /// Locates the issue in this file. Its path must begin at the root of the document.
    pub fn wrong(&self, ConfigIssue { path, message }: ConfigIssue) -> ConfigError {
        let span = location::find(&self.text, &path);
        self.wrong_at(span.start, message)
    }

    fn wrong_at(&self, start: usize, message: String) -> ConfigError {
        let before = self.text.get(..start).unwrap_or(&self.text);
        let line = before.matches('\n').count() + 1;
        let column = before
            .rsplit('\n')
            .next()
            .map_or(0, |last| last.chars().count())
            + 1;
        ConfigError::Wrong {
            path: self.path.clone(),
            line,
            column,
            message,
        }
    }
}

/// Reads the configuration at `path`, or takes the defaults if there is none. Variables of the
/// environment take precedence over the file. Logs each variable that is set and changes nothing.
///
/// # Errors
/// Returns the first mistake, with its position and the remedy.
pub fn load(path: Option<&Path>, environment: Environment<'_>) -> Result<Config, ConfigError> {
    let (config, idle) = match path {
        Some(path) => File::read(path)?.load(environment)?,
        None => {
            let mut config = Config::default();
            let idle = overlay(&mut config, environment)?;
            validate::check_sources(&config).map_err(|issue| ConfigError::Unfit(issue.message))?;
            (config, idle)
        }
    };
    for variable in idle {
        tracing::warn!("{variable}");
    }
    Ok(config)
}

/// Parses and checks the text of a file, without the environment.
///
/// # Errors
/// Returns the first mistake, with its position and the remedy.
pub fn parse(path: &Path, text: &str) -> Result<Config, ConfigError> {
    File::of_text(path, text).parse()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn refused(text: &str, expected: &str) {
        let file = File {
            path: "a.toml".into(),
            text: text.to_owned(),
        };
        let error = file.load(&|_| None).map(|_| ()).unwrap_err().to_string();
        assert!(
            error.contains(expected),
            "{error:?} does not contain {expected:?}"
        );
    }

    const GROUPS: &str = "[local.groups.a]\ncommand = [\"a\"]\nfirst_port = 1\n";
    const LIMIT: &str =
        "[[rate_limit]]\ntarget = { kind = \"Process\", name = \"a\" }\nhttp = {}\n";

    #[test]
    fn what_is_wrong_is_named_with_its_line_and_the_remedy() {
        refused(
            "data_dir = \"d\"\nslient_after = \"3s\"\n",
            "a.toml:2:1: unknown field `slient_after`",
        );
        refused(
            "\nsilent_after = \"3 weeks\"\n",
            "a.toml:2:16: `3 weeks` is not a duration",
        );
        refused(
            "[guard]\nmax_replicas = 1\nmin_replicas = 2\n",
            "a.toml:3:1: min_replicas is larger",
        );
        refused("[guard\n", "a.toml:1:");
        let limit = "[[rate_limit]]\ntarget = { kind = \"Deployment\", name = \"web\" }\npatch = { patch = { spec = {} } }\n";
        refused(
            limit,
            "a.toml:1:1: rate limit of default//Deployment/web: what its `patch` is for cannot be read",
        );
    }

    #[test]
    fn a_table_of_plugins_leaves_what_it_does_not_name_as_it_is_without_it() {
        let usual = Config::default().plugins;
        let limits = parse(Path::new("a.toml"), "[plugins.limits]\nqueue = 7\n")
            .unwrap()
            .plugins;
        assert_eq!(
            (&limits.folder, &limits.cache, limits.limits.queue),
            (&usual.folder, &usual.cache, 7)
        );
        let folder = parse(Path::new("a.toml"), "[plugins]\nfolder = \"p\"\n")
            .unwrap()
            .plugins;
        assert_eq!((folder.folder, folder.cache), ("p".into(), usual.cache));
    }

    #[test]
    fn of_several_the_one_that_is_wrong_is_named() {
        let second = "[local.groups.b]\ncommand = [\"b\"]\nfirst_port = 100\nreplicas = 11\n";
        refused(
            &format!("{GROUPS}{second}"),
            "a.toml:7:1: local.groups.b.replicas is 11",
        );
        refused(
            &format!("{GROUPS}{LIMIT}{LIMIT}patch = {{}}\n"),
            "a.toml:7:1: rate limit of default//Process/a",
        );
        let token = |name: &str, rest: &str| {
            format!("[[api.tokens]]\nname = \"{name}\"\nrole = \"viewer\"\n{rest}\n")
        };
        let tokens = format!(
            "{}{}",
            token("a", "file = \"x\""),
            token("b", "sha256 = \"1\"")
        );
        refused(
            &tokens,
            "a.toml:5:1: api.tokens `b`: sha256 is not 64 hex digits",
        );
        refused(
            "[notify.channels.log]\ntype = \"log\"\n[notify.channels.hook]\ntype = \"webhook\"\n",
            "a.toml:3:18: notify.channels.hook needs url",
        );
        refused(
            "[http]\nallow = [\"a:1\",\n \"b\"]\n",
            "a.toml:3:2: http.allow: `b` is not host:port",
        );
    }

    #[test]
    fn what_would_fail_at_the_start_is_found_before() {
        let grant = "[[grant]]\nplugin = \"p\"\noperation = \"scale\"\n";
        refused(
            &format!("{grant}{}", grant.replace("scale", "sclae")),
            "a.toml:6:1: there is no operation `sclae`",
        );
        refused(
            "[[collect.scrape]]\njob = \"j\"\ntargets = { group = \"g\" }\n",
            "a.toml:3:1: the scrape `j` wants the process group `g`",
        );
        refused(
            "[ollama]\nmodel = \"m\"\nurl = \"127.0.0.1:11434\"\n",
            "a.toml:3:1: `127.0.0.1:11434` is not",
        );
        let signal = |name: &str| {
            format!(
                "[[signal]]\nname = \"{name}\"\nsource = {{ query = \"up\" }}\ntarget = {{ kind = \"K\", name = \"n\" }}\n\
                 detectors = [{{ name = \"zscore\" }}]\n"
            )
        };
        refused(
            &format!("\n{}", signal("s")),
            "a.toml:2:1: the signal `s` is a query and no Prometheus is configured",
        );
        refused(
            &format!("{}{}", signal("s"), signal("s")),
            "a.toml:6:1: two signals are called `s`",
        );
        let named = "detectors = [{ name = \"zscore\" }]\n";
        refused(
            &signal("s").replace(named, "detectors = []\n"),
            "a.toml:1:1: signal `s` has no detector: name one",
        );
        refused(
            &signal("s").replace(named, ""),
            "a.toml:1:1: the signal `s` is a query and no Prometheus is configured",
        );
        refused(
            "[collect]\ninterval = \"0s\"\n",
            "a.toml:2:1: `collect.interval` must not be 0",
        );
    }
}
