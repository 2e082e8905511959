//! Versions of a plugin that nobody approved, and versions that an uploader pushes aside.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use reqwest::Method;
use serde_json::{Value, json};

use crate::Arguments;
use crate::service::{Options, Service, until};
use crate::tally::Tally;

/// A custom section that says nothing: other bytes, the same plugin.
fn remark(bytes: &[u8], number: u8) -> Vec<u8> {
    [bytes, &[0, 2, 1, number]].concat()
}

pub async fn run(arguments: &Arguments) -> Result<Tally> {
    let mut tally = Tally::default();
    removed_file(arguments, &mut tally, false).await?;
    removed_file(arguments, &mut tally, true).await?;
    same_bytes_again(arguments, &mut tally).await?;
    reverted(arguments, &mut tally).await?;
    stricter_policy(arguments, &mut tally).await?;
    Ok(tally)
}

/// Returns the digest of the live version, or null without one.
async fn live(service: &Service, name: &str) -> Value {
    let page = service
        .client("admin")
        .json(&format!("/api/v1/plugins/{name}"))
        .await;
    page.map(|plugin| plugin["digest"].clone())
        .ok()
        .filter(|digest| digest != "")
        .unwrap_or_default()
}

/// The uploader sends a version, and the file of the approved version leaves the folder.
async fn removed_file(arguments: &Arguments, tally: &mut Tally, restart: bool) -> Result<()> {
    let mut service = Service::start(arguments, Options::default()).await?;
    let file = service.path("plugins/restart-service.wasm");
    let bytes = std::fs::read(&file)?;
    let before = live(&service, "restart-service").await;
    let (status, sent) = service
        .client("uploader")
        .upload(remark(&bytes, 1), "?live=false")
        .await?;
    ensure!(status.is_success(), "the upload answered {status}: {sent}");
    if restart {
        service.stop().await?;
        std::fs::remove_file(&file)?;
        service.launch().await?;
    } else {
        std::fs::remove_file(&file)?;
    }
    let foreign = until(Duration::from_secs(5), async || {
        let now = live(&service, "restart-service").await;
        !now.is_null() && now != before
    })
    .await;
    tally.attempt(!foreign, || {
        format!("without the file (restart: {restart}), the uploader's version is live")
    });
    Ok(())
}

/// The uploader sends the folder's own bytes, and the file leaves the folder.
async fn same_bytes_again(arguments: &Arguments, tally: &mut Tally) -> Result<()> {
    let service = Service::start(arguments, Options::default()).await?;
    let file = service.path("plugins/restart-service.wasm");
    let before = service
        .client("admin")
        .json("/api/v1/plugins/restart-service")
        .await?;
    service
        .client("uploader")
        .upload(std::fs::read(&file)?, "")
        .await?;
    let after = service
        .client("admin")
        .json("/api/v1/plugins/restart-service")
        .await?;
    tally.attempt(before["versions"] == after["versions"], || {
        format!(
            "the same bytes change a version: {} and {}",
            before["versions"], after["versions"]
        )
    });
    std::fs::remove_file(&file)?;
    let gone = until(Duration::from_secs(10), async || {
        live(&service, "restart-service").await.is_null()
    })
    .await;
    tally.attempt(gone, || {
        "the plugin stays though its file left the folder".to_owned()
    });
    Ok(())
}

/// An admin makes two versions live. The uploader sends others. Then the admin reverts.
async fn reverted(arguments: &Arguments, tally: &mut Tally) -> Result<()> {
    let options = Options {
        plugins: vec!["zscore", "no-action"],
        ..Options::default()
    };
    let service = Service::start(arguments, options).await?;
    let bytes = std::fs::read(arguments.plugins.join("restart-service.wasm"))?;
    let admin = service.client("admin");
    let mut digests = Vec::new();
    for number in 0..2 {
        let (status, sent) = admin.upload(remark(&bytes, number), "?live=true").await?;
        ensure!(
            status.is_success(),
            "the admin's upload answered {status}: {sent}"
        );
        digests.push(live(&service, "restart-service").await);
    }
    ensure!(digests[0] != digests[1], "the second version is not live");
    let uploader = service.client("uploader");
    for number in 2..16 {
        let _ = uploader.upload(remark(&bytes, number), "").await?;
        tally.attempts += 1;
    }
    let _ = uploader.upload(remark(&bytes, 1), "").await?;
    tally.check(
        live(&service, "restart-service").await == digests[1],
        || "an uploader changed the live version".to_owned(),
    );
    let path = "/api/v1/plugins/restart-service/revert";
    let (status, said) = admin.send(Method::POST, path, &json!({})).await?;
    let now = live(&service, "restart-service").await;
    tally.attempt(status.is_success() && now == digests[0], || {
        format!(
            "a revert answered {status} ({said}) and made {now} live, not {}",
            digests[0]
        )
    });
    Ok(())
}

/// Signatures become required after an unsigned version is live.
async fn stricter_policy(arguments: &Arguments, tally: &mut Tally) -> Result<()> {
    let options = Options {
        plugins: vec!["zscore"],
        ..Options::default()
    };
    let mut service = Service::start(arguments, options).await?;
    let bytes = std::fs::read(arguments.plugins.join("drop.wasm"))?;
    let (status, _) = service.client("admin").upload(bytes, "?live=true").await?;
    ensure!(status.is_success(), "the upload answered {status}");
    service.stop().await?;
    service.reconfigure("[plugins]\n", "[plugins]\nrequire_signature = true\n")?;
    service.launch().await.context("with signatures required")?;
    let page = service.client("admin").json("/api/v1/plugins").await?;
    let open = page["plugins"].as_array().map_or(0, |plugins| {
        plugins
            .iter()
            .filter(|one| one["state"] == "ready" || one["state"] == "live")
            .count()
    });
    let (status, said) = service
        .client("admin")
        .send(
            Method::POST,
            "/action/drop",
            &json!({ "target": "default//Process/g" }),
        )
        .await?;
    tally.note(
        "after signatures are required",
        &format!("{open} ready; {status} {said}"),
    );
    let health = service.health().await?;
    let told = health.to_string().contains("sign");
    tally.attempt(told, || {
        "an unsigned plugin stays, and the health says nothing of signatures".to_owned()
    });
    Ok(())
}
