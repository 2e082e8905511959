//! Measures the whole pipeline: the engine on Kafka against a plain consumer, the delay from a
//! sample to the resulting operation, and the start of the program. Needs `cargo xtask plugins`,
//! and a broker for the engine, which `cargo xtask bench` starts.

#[path = "pipeline/consumer.rs"]
mod consumer;
#[path = "pipeline/delay.rs"]
mod delay;
#[path = "pipeline/engine.rs"]
mod engine;
#[path = "pipeline/start.rs"]
mod start;

use std::path::PathBuf;

/// Returns the folder of the plugins built by `cargo xtask plugins`.
fn plugin_folder() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../target/plugins"))
}

fn main() -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    match std::env::var("KAFKA_BROKERS") {
        Ok(brokers) => runtime.block_on(engine::measure(&brokers))?,
        Err(_) => {
            println!(
                "NOT MEASURED: the engine on Kafka, as KAFKA_BROKERS is not set; `cargo xtask bench` sets it"
            );
        }
    }
    runtime.block_on(delay::measure())?;
    runtime.block_on(start::measure())
}
