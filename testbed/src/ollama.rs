//! An Ollama server with one small model.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::json;

use crate::folder::Folder;
use crate::process::Process;
use crate::{http, install, ports, spawner};

const READY_WITHIN: Duration = Duration::from_secs(60);
/// Maximum time to copy the weights into the store and to load them.
const MODEL_WITHIN: Duration = Duration::from_secs(180);
const STOP_GRACE: Duration = Duration::from_secs(5);

/// A running server. Dropping it removes its store.
#[derive(Debug)]
pub struct Ollama {
    process: Process,
    port: u16,
    folder: Folder,
}

impl Ollama {
    /// Installs Ollama and the model if they are missing, starts the server on a free port, and
    /// loads the model.
    pub async fn start() -> Result<Self> {
        let (program, weights) = tokio::try_join!(install::ollama(), install::model())?;
        let folder = Folder::new("ollama")?;
        let log = folder.path().join("ollama.log");
        let port = ports::free()?;
        let url = format!("http://127.0.0.1:{port}");
        let command = |arguments: &[&str]| {
            let mut command = spawner::command(&program);
            // Ollama keeps keys in the home folder, and must not use the user's own.
            command
                .args(arguments)
                .env("HOME", folder.path())
                .env("OLLAMA_HOST", &url)
                .env("OLLAMA_MODELS", folder.path().join("models"));
            command
                .env("OLLAMA_KEEP_ALIVE", "24h")
                .env("OLLAMA_NUM_PARALLEL", "1")
                .env("OLLAMA_CONTEXT_LENGTH", "4096");
            command
        };
        let mut process = Process::start("Ollama", command(&["serve"]), &log)?;
        let tags = format!("{url}/api/tags");
        process.ready(READY_WITHIN, || http::ok(&tags)).await?;

        let recipe = folder.path().join("Modelfile");
        std::fs::write(&recipe, format!("FROM {}\n", weights.display()))?;
        let recipe = recipe.display().to_string();
        let create = command(&["create", install::OLLAMA_MODEL, "-f", &recipe]);
        Process::start("ollama create", create, &log)?
            .finished(MODEL_WITHIN)
            .await?;
        load(&url).await.context("Ollama cannot load its model")?;
        Ok(Self {
            process,
            port,
            folder,
        })
    }

    /// Returns the URL, `http://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Returns the name under which the model answers.
    pub fn model(&self) -> &'static str {
        install::OLLAMA_MODEL
    }

    /// Returns the server's version.
    pub fn version(&self) -> &'static str {
        install::OLLAMA_VERSION
    }

    /// Returns the id of the server's process.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Returns the temporary folder with the server's data and log.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Stops the server and its runner.
    pub async fn stop(self) {
        self.process.stop(STOP_GRACE).await;
    }
}

/// Loads the model, so that the first question does not have to wait. A request without a prompt
/// only loads the model.
async fn load(url: &str) -> Result<()> {
    let request = http::CLIENT
        .post(format!("{url}/api/generate"))
        .timeout(MODEL_WITHIN);
    let body = json!({ "model": install::OLLAMA_MODEL, "stream": false }).to_string();
    http::succeeded(request.body(body).send().await?)
        .await
        .map(drop)
}
