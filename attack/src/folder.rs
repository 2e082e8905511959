//! Links, devices and odd names in the plugin folder.

use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::Arguments;
use crate::service::{Options, Service, until};
use crate::tally::{Tally, shown};

/// Longest start with everything in the folder.
const MAX_START: Duration = Duration::from_secs(20);

pub async fn run(arguments: &Arguments) -> Result<Tally> {
    let mut tally = Tally::default();
    let mut service = Service::start(arguments, Options::default()).await?;
    let folder = service.path("plugins");
    let sockets = plant(&folder, arguments, &mut tally)?;
    // While it runs.
    let serves = until(Duration::from_secs(10), async || {
        service
            .client("admin")
            .act("no-action", "a test")
            .await
            .is_ok()
    })
    .await;
    tally.check(serves, || {
        format!("no action with them in the folder: {}", service.log_end())
    });
    let trouble = service.trouble().await;
    tally.check(trouble.is_none(), || trouble.unwrap_or_default());
    let _ = service.stop().await;
    // From the start on.
    let begun = Instant::now();
    let started = service.launch().await;
    tally.note("seconds of a start", &begun.elapsed().as_secs());
    tally.check(started.is_ok() && begun.elapsed() < MAX_START, || {
        format!(
            "a start with them in the folder: {} after {:?}",
            shown(&started),
            begun.elapsed()
        )
    });
    let acts = until(Duration::from_secs(20), async || {
        service
            .client("admin")
            .act("no-action", "a test")
            .await
            .is_ok()
    })
    .await;
    tally.check(acts, || {
        "no action after a start with them in the folder".to_owned()
    });
    drop(sockets);
    Ok(tally)
}

/// Puts the entries into the folder. Returns the sockets, which exist as long as they are held.
fn plant(folder: &Path, arguments: &Arguments, tally: &mut Tally) -> Result<Vec<UnixListener>> {
    let good = std::fs::read(arguments.plugins.join("drop.wasm"))?;
    symlink("/nowhere/at/all", folder.join("dangling.wasm"))?;
    symlink("loop.wasm", folder.join("loop.wasm"))?;
    symlink("/dev/zero", folder.join("zero.wasm"))?;
    symlink("/dev/urandom", folder.join("random.wasm"))?;
    symlink("/proc/self/mem", folder.join("mem.wasm"))?;
    symlink("/etc/passwd", folder.join("passwd.wasm"))?;
    symlink("/", folder.join("root.wasm"))?;
    std::fs::create_dir(folder.join("folder.wasm"))?;
    let fifo = |name: &str| Command::new("mkfifo").arg(folder.join(name)).status();
    fifo("fifo.wasm")?;
    std::fs::write(folder.join("signed.wasm"), &good)?;
    fifo("signed.wasm.minisig")?;
    symlink("/dev/zero", folder.join("drop.wasm.minisig"))?;
    let sockets = vec![UnixListener::bind(folder.join("socket.wasm"))?];
    let sparse = std::fs::File::create(folder.join("sparse.wasm"))?;
    sparse.set_len(1 << 40)?;
    for name in [
        "--help.wasm",
        "-rf.wasm",
        " .wasm",
        ".wasm",
        "a\nb.wasm",
        "\u{202e}x.wasm",
    ] {
        std::fs::write(folder.join(name), b"\0asm")?;
    }
    std::fs::write(folder.join(format!("{}.wasm", "a".repeat(240))), &good)?;
    std::fs::write(
        folder.join("cycle.wasm"),
        include_bytes!("../corpus/two-packages-in-a-cycle.wasm"),
    )?;
    for number in 0..500 {
        std::fs::write(folder.join(format!("junk{number}.txt")), b"junk")?;
    }
    tally.attempts += 20 + 500;
    Ok(sockets)
}
