//! Few descriptors, little memory and disk, stopped processes, and two services on one folder.

use std::process::Command;
use std::time::Duration;

use anyhow::Result;
use rustix::process::Signal;

use crate::Arguments;
use crate::service::{Options, Service, crashed, until};
use crate::tally::{Tally, shown};

pub async fn run(arguments: &Arguments) -> Result<Tally> {
    let mut tally = Tally::default();
    descriptors(arguments, &mut tally).await?;
    stopped(arguments, &mut tally).await?;
    terminated(arguments, &mut tally).await?;
    two(arguments, &mut tally).await?;
    modes(arguments, &mut tally).await?;
    full_disk(arguments, &mut tally).await?;
    Ok(tally)
}

/// Runs with few file descriptors, and opens many connections.
async fn descriptors(arguments: &Arguments, tally: &mut Tally) -> Result<()> {
    for limit in [48, 64, 96, 128, 256] {
        let options = Options {
            wrapper: vec!["prlimit".to_owned(), format!("--nofile={limit}:{limit}")],
            ..Options::default()
        };
        let mut service = Service::new(arguments, options)?;
        let started = service.launch().await;
        let mut streams = Vec::new();
        for _ in 0..200 {
            let stream = tokio::net::TcpStream::connect(("127.0.0.1", service.port)).await;
            streams.extend(stream);
        }
        drop(streams);
        let back = started.is_ok()
            && until(Duration::from_secs(30), async || {
                service.client("admin").get("/health").await.is_ok()
            })
            .await;
        let status = service.ended()?;
        // A start that is refused says why. A service that has started recovers.
        let held = if started.is_ok() {
            back && status.is_none()
        } else {
            status.is_some_and(|status| !crashed(status))
        };
        tally.attempt(held, || {
            format!(
                "{limit} descriptors: answers {back}, {status:?}: {}",
                service.log_end()
            )
        });
    }
    Ok(())
}

/// Stops the process for some seconds.
async fn stopped(arguments: &Arguments, tally: &mut Tally) -> Result<()> {
    let service = Service::start(arguments, Options::default()).await?;
    for seconds in [1, 4] {
        service.signal(Signal::STOP)?;
        tokio::time::sleep(Duration::from_secs(seconds)).await;
        service.signal(Signal::CONT)?;
        let acts = service.client("admin").act("no-action", "a test").await;
        tally.attempt(acts.is_ok(), || {
            format!("after {seconds} s of SIGSTOP: {}", shown(&acts))
        });
    }
    Ok(())
}

/// Ends the process at different times of its start.
async fn terminated(arguments: &Arguments, tally: &mut Tally) -> Result<()> {
    for millis in [5, 20, 50, 100, 200, 400, 800] {
        let mut service = Service::new(arguments, Options::default())?;
        service.spawn()?;
        tokio::time::sleep(Duration::from_millis(millis)).await;
        service.signal(Signal::TERM)?;
        let status = service.wait(Duration::from_secs(20)).await?;
        tally.attempt(status.is_some(), || {
            format!("SIGTERM after {millis} ms does not end it")
        });
        let started = service.launch().await;
        tally.check(started.is_ok(), || {
            format!("no start after SIGTERM at {millis} ms: {}", shown(&started))
        });
    }
    Ok(())
}

/// Starts a second service on the folder of the first.
async fn two(arguments: &Arguments, tally: &mut Tally) -> Result<()> {
    let first = Service::start(arguments, Options::default()).await?;
    let mut second = Service::new(arguments, Options::default())?;
    let (own, other) = (second.path("data"), first.path("data"));
    second.reconfigure(&own.display().to_string(), &other.display().to_string())?;
    // Without process groups: only the lock of the data folder is left.
    second.reconfigure("[local.groups.g]", "[local.groups.h]")?;
    let refused = second.launch().await.is_err();
    let end = second.log_end();
    let named = end.contains("lock") || end.contains("another") || end.contains("other");
    tally.attempt(refused && named, || {
        format!("two services on one folder: {end}")
    });
    Ok(())
}

/// Looks for files that other users can read.
async fn modes(arguments: &Arguments, tally: &mut Tally) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;

    let service = Service::start(arguments, Options::default()).await?;
    service.client("admin").act("no-action", "a test").await?;
    for top in ["data", "cache"] {
        let mut waiting = vec![service.path(top)];
        while let Some(path) = waiting.pop() {
            let meta = std::fs::symlink_metadata(&path)?;
            let mode = meta.permissions().mode() & 0o777;
            tally.attempt(mode & 0o077 == 0, || {
                format!("{} has the mode {mode:o}", path.display())
            });
            if meta.is_dir() {
                for entry in std::fs::read_dir(&path)? {
                    waiting.push(entry?.path());
                }
            }
        }
    }
    Ok(())
}

/// Runs on a small file system, and fills it.
async fn full_disk(arguments: &Arguments, tally: &mut Tally) -> Result<()> {
    let mut service = Service::new(arguments, Options::default())?;
    let data = service.path("data");
    std::fs::create_dir(&data)?;
    let mounted = Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=24m,mode=700", "attack"])
        .arg(&data)
        .status()
        .is_ok_and(|status| status.success());
    if !mounted {
        tally.note(
            "the full disk",
            &"not run: a file system can only be mounted as root",
        );
        return Ok(());
    }
    let outcome = fill(&mut service, tally).await;
    let _ = service.stop().await;
    let _ = Command::new("umount").arg("--lazy").arg(&data).status();
    outcome
}

async fn fill(service: &mut Service, tally: &mut Tally) -> Result<()> {
    service.launch().await?;
    let filler = service.path("data/filler");
    let _ = std::fs::write(&filler, vec![0; 64 << 20]);
    let refused = until(Duration::from_secs(20), async || {
        service
            .client("admin")
            .act("restart-service", "a test")
            .await
            .is_err()
    })
    .await;
    tally.attempt(refused, || "acts though the disk is full".to_owned());
    let trouble = service.trouble().await;
    tally.attempt(trouble.is_none(), || format!("on a full disk: {trouble:?}"));
    let bad = until(Duration::from_secs(10), async || {
        service
            .health()
            .await
            .is_ok_and(|health| health["status"] != "ok")
    })
    .await;
    tally.attempt(bad, || "the health on a full disk is ok".to_owned());
    service.signal(Signal::KILL)?;
    service.wait(Duration::from_secs(10)).await?;
    let started = service.launch().await;
    tally.attempt(started.is_ok(), || {
        format!("a start on a full disk: {}", shown(&started))
    });
    std::fs::remove_file(&filler)?;
    service.revive().await?;
    let acts = until(Duration::from_secs(60), async || {
        service
            .client("admin")
            .act("no-action", "a test")
            .await
            .is_ok()
    })
    .await;
    tally.attempt(acts, || {
        "no action after the disk has room again".to_owned()
    });
    Ok(())
}
