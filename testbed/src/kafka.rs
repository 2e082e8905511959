//! A single Apache Kafka broker in KRaft mode.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::folder::Folder;
use crate::process::Process;
use crate::{install, ports, spawner, tools};

pub(crate) const JARS: &str = "jars";
pub(crate) const FORMATTED: &str = "formatted";
const READY_WITHIN: Duration = Duration::from_secs(120);
const STOP_GRACE: Duration = Duration::from_secs(15);

/// A running broker. Dropping it removes its data.
#[derive(Debug)]
pub struct Kafka {
    process: Option<Process>,
    installed: PathBuf,
    port: u16,
    folder: Folder,
}

impl Kafka {
    /// Installs Kafka if it is missing, starts a broker without topics on a free port, and waits
    /// until the broker answers.
    ///
    /// The broker does not create topics on first use. Each test creates the topics that it needs.
    pub async fn start() -> Result<Self> {
        let installed = install::kafka().await?;
        let folder = Folder::new("kafka")?;
        let (port, controller) = (ports::free()?, ports::free()?);
        let data = folder.path().join("data");
        copy(&installed.join(FORMATTED), &data)?;
        std::fs::write(
            folder.path().join("server.properties"),
            server_properties(&data, port, controller),
        )?;
        let mut kafka = Self {
            process: None,
            installed,
            port,
            folder,
        };
        kafka.restart().await?;
        Ok(kafka)
    }

    /// Returns the value for the clients' setting `bootstrap.servers`.
    pub fn brokers(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Returns the broker's version.
    pub fn version(&self) -> &'static str {
        install::KAFKA_VERSION
    }

    /// Returns the id of the broker's process, while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(Process::pid)
    }

    /// Returns the temporary folder with the broker's data and log.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Kills the broker by SIGKILL. Its data stays.
    pub fn kill(&mut self) {
        self.process = None;
    }

    /// Starts the killed broker again on the same port and data, and waits until it answers.
    pub async fn restart(&mut self) -> Result<()> {
        self.kill();
        let mut command = java(&self.installed)?;
        command
            .arg("kafka.Kafka")
            .arg(self.folder.path().join("server.properties"));
        let mut process = Process::start("Kafka", command, &self.folder.path().join("kafka.log"))?;
        let port = self.port;
        process.ready(READY_WITHIN, || answers(port)).await?;
        self.process = Some(process);
        Ok(())
    }

    /// Shuts the broker down in order.
    pub async fn stop(mut self) {
        if let Some(process) = self.process.take() {
            process.stop(STOP_GRACE).await;
        }
    }
}

/// Prepares `java` with Kafka's classes, a small heap, and its log on standard output.
pub(crate) fn java(installed: &Path) -> Result<Command> {
    let mut command = spawner::command(tools::JAVA.found()?);
    command.args([
        "-Xms256m",
        "-Xmx512m",
        "-Djava.awt.headless=true",
        "-Dlog4j2.level=WARN",
        "-cp",
    ]);
    command.arg(format!("{}/*", installed.join(JARS).display()));
    Ok(command)
}

/// Returns the configuration of a broker that is its own controller. Internal topics are small, so
/// that the first consumer group does not take seconds. Broker sessions are short, because a killed
/// broker may come back only when its last session has expired. Short consumer sessions are
/// allowed, so that tests need not wait for a killed consumer.
pub(crate) fn server_properties(data: &Path, port: u16, controller: u16) -> String {
    format!(
        "process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}
controller.listener.names=CONTROLLER
log.dirs={}
broker.session.timeout.ms=3000
broker.heartbeat.interval.ms=500
auto.create.topics.enable=false
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
share.coordinator.state.topic.num.partitions=1
",
        data.display()
    )
}

/// Sends an ApiVersions request (key 18, version 0). A broker answers it only once it serves
/// requests.
async fn answers(port: u16) -> Result<()> {
    const CORRELATION: i32 = 7;
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
    let mut request = Vec::new();
    request.extend(10_i32.to_be_bytes()); // length of what follows
    request.extend(18_i16.to_be_bytes()); // API key
    request.extend(0_i16.to_be_bytes()); // API version
    request.extend(CORRELATION.to_be_bytes());
    request.extend((-1_i16).to_be_bytes()); // no client id
    stream.write_all(&request).await?;
    let length = stream.read_i32().await?;
    ensure!(length >= 6, "an answer of {length} bytes");
    ensure!(
        stream.read_i32().await? == CORRELATION,
        "an answer to another question"
    );
    match stream.read_i16().await? {
        0 => Ok(()),
        code => bail!("error code {code}"),
    }
}

/// Copies a folder of plain files.
fn copy(from: &Path, to: &Path) -> Result<()> {
    std::fs::create_dir(to)?;
    for entry in
        std::fs::read_dir(from).with_context(|| format!("cannot read {}", from.display()))?
    {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            std::fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}
