//! Secrets of the configuration in log, API, health and record.

use std::path::Path;
use std::time::Duration;

use anyhow::Result;

use crate::Arguments;
use crate::service::{Options, ROLES, Service, free_port, until};
use crate::tally::Tally;

pub async fn run(arguments: &Arguments) -> Result<Tally> {
    let mut tally = Tally::default();
    let dead = free_port()?;
    let file = tempfile::NamedTempFile::new()?;
    std::fs::write(file.path(), "SECRETfile")?;
    let config = config(dead, file.path());
    let options = Options {
        config,
        ..Options::default()
    };
    let service = match Service::start(arguments, options).await {
        Ok(service) => service,
        Err(error) => {
            // A refused setting must not show its secret either.
            let text = format!("{error:#}");
            tally.attempt(!text.contains("SECRET"), || {
                format!("a refusal shows a secret: {text}")
            });
            tally.check(false, || {
                "the configuration with secrets is refused".to_owned()
            });
            return Ok(tally);
        }
    };
    let _ = service.client("admin").act("alarm", "a test").await;
    let settled = until(Duration::from_secs(30), async || {
        let log = service.log();
        log.matches("can't be").count() + log.matches("WARN").count() >= 5
    })
    .await;
    tally.note("failures are logged", &settled);
    let viewer = service.client("viewer");
    let mut texts = vec![("the log".to_owned(), service.log())];
    for page in [
        "/health",
        "/metrics",
        "/api/v1/signals",
        "/api/v1/decisions",
        "/api/v1/incidents",
        "/api/v1/plugins",
        "/api/v1/silences",
        "/api/v1/feedback",
        "/api/v1/kill-switch",
    ] {
        texts.push((page.to_owned(), viewer.get(page).await?.1));
    }
    let flag = format!("--data-dir={}", service.path("data").display());
    texts.push((
        "the export".to_owned(),
        service.command(&["audit", "export", &flag])?.1,
    ));
    let config = service.path("config.toml").display().to_string();
    texts.push((
        "`check`".to_owned(),
        service.command(&["check", &config])?.1,
    ));
    for entry in std::fs::read_dir(service.path("data"))? {
        let path = entry?.path();
        if path.is_file() {
            let bytes = std::fs::read(&path)?;
            texts.push((
                path.display().to_string(),
                String::from_utf8_lossy(&bytes).into_owned(),
            ));
        }
    }
    for (place, text) in texts {
        for (name, secret) in secrets() {
            tally.attempt(!text.contains(&secret), || {
                format!("{place} shows the {name}")
            });
        }
    }
    Ok(tally)
}

/// Returns a configuration with a secret in every setting that may hold one. Nobody listens on the
/// port `dead`.
fn config(dead: u16, file: &Path) -> String {
    let path = file.display();
    let url = |name: &str| {
        format!(
            "http://user{name}:SECRET{name}pw@127.0.0.1:{dead}/SECRET{name}path?key=SECRET{name}query"
        )
    };
    let bare = |name: &str| format!("http://user:SECRET{name}pw@127.0.0.1:{dead}");
    format!(
        "[collect]\ninterval = \"1s\"\n[collect.prometheus]\nurl = \"{}\"\ntimeout = \"1s\"\n\
         bearer_token_file = \"{path}\"\n\
         [[collect.scrape]]\njob = \"t\"\ntimeout = \"1s\"\nbearer_token_file = \"{path}\"\n\
         targets = {{ urls = [\"{}\"] }}\n\
         [[signal]]\nname = \"m\"\ntarget = {{ kind = \"Process\", name = \"g\" }}\n\
         source = {{ gauge = {{ of = \"m\" }} }}\ndetectors = [{{ name = \"zscore\" }}]\n\
         [[signal]]\nname = \"q\"\ntarget = {{ kind = \"Process\", name = \"g\" }}\n\
         source = {{ query = \"m\" }}\ndetectors = [{{ name = \"zscore\" }}]\n\
         [ollama]\nurl = \"{}\"\nmodel = \"m\"\n\
         [anchor]\nevery = \"1s\"\nwebhook = \"{}\"\n\
         [notify]\nattempts = 1\ntimeout = \"1s\"\n\
         [notify.channels.hook]\ntype = \"webhook\"\ndefault = true\nurl = \"{}\"\n\
         [notify.channels.chat]\ntype = \"slack\"\ndefault = true\nurl = \"{}\"\n\
         [notify.channels.alerts]\ntype = \"alertmanager\"\ndefault = true\nurl = \"{}\"\n\
         [[http.credentials]]\nurl = \"http://127.0.0.1:{dead}/\"\nheader = \"authorization\"\n\
         value_file = \"{path}\"\n",
        bare("prometheus"),
        url("scrape"),
        bare("ollama"),
        url("anchor"),
        url("webhook"),
        url("slack"),
        bare("alertmanager"),
    )
}

/// Returns each secret with its name.
fn secrets() -> Vec<(String, String)> {
    let mut secrets = vec![("credential of a file".to_owned(), "SECRETfile".to_owned())];
    for name in [
        "prometheus",
        "scrape",
        "ollama",
        "anchor",
        "webhook",
        "slack",
        "alertmanager",
    ] {
        for part in ["pw", "query"] {
            secrets.push((format!("{part} of {name}"), format!("SECRET{name}{part}")));
        }
    }
    // The path of a webhook is its secret.
    secrets.push(("path of slack".to_owned(), "SECRETslackpath".to_owned()));
    for (role, token) in ROLES {
        secrets.push((format!("token of {role}"), token.to_owned()));
    }
    secrets
}
