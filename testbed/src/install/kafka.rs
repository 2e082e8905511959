//! Apache Kafka: its jars by Maven, and a formatted data folder, which each start copies.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::{Announced, Artefact, step};
use crate::kafka::{FORMATTED, JARS, java, server_properties};
use crate::{cache, spawner, tools};

/// Version of the broker.
pub const VERSION: &str = "4.1.0";
const NAME: &str = "kafka-4.1.0";
const TAKES: &str = "about 30 s";
const POM: &str = include_str!("../../kafka/pom.xml");
/// Any 16 bytes in base64url.
const CLUSTER_ID: &str = "YW5vbWFseXplci10ZXN0cw";

pub(super) fn artefact() -> Artefact {
    Artefact {
        name: format!("Kafka {VERSION}"),
        path: cache::find(NAME),
        takes: TAKES,
    }
}

/// Returns the folder with the jars and the formatted data folder, after an installation if it is
/// missing.
pub async fn kafka() -> Result<PathBuf> {
    tools::JAVA.found()?;
    cache::built(NAME, |folder: PathBuf| async move {
        let maven = tools::MAVEN.found()?;
        let announced = Announced::new(format!("Kafka {VERSION}"), TAKES);
        let log = folder.join("install.log");
        let pom = folder.join("pom.xml");
        std::fs::write(&pom, POM)?;
        let mut command = spawner::command(maven);
        command
            .args([
                "-B",
                "-ntp",
                "dependency:copy-dependencies",
                "-DincludeScope=runtime",
                "-f",
            ])
            .arg(&pom);
        command.arg(format!("-DoutputDirectory={}", folder.join(JARS).display()));
        step("mvn", command, &log).await?;
        format(&folder, &log).await?;
        announced.done();
        Ok(())
    })
    .await
}

/// Formats a data folder. This takes a Java start of two seconds, so it is done once, and each
/// broker copies the result.
async fn format(folder: &Path, log: &Path) -> Result<()> {
    let properties = folder.join("format.properties");
    let formatted = folder.join(FORMATTED);
    std::fs::write(&properties, server_properties(&formatted, 1, 2))?;
    let mut command = java(folder)?;
    command
        .args(["kafka.tools.StorageTool", "format", "-t", CLUSTER_ID, "-c"])
        .arg(&properties);
    step("kafka.tools.StorageTool", command, log)
        .await
        .context("cannot format a data folder for Kafka")
}
