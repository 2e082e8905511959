//! What the whole costs: the engine from Kafka against a plain consumer, from a sample to the
//! operation that it leads to, and a start. Needs `cargo xtask plugins`, and a broker for the
//! engine: `cargo xtask bench` starts one.

#[path = "pipeline/consumer.rs"]
mod consumer;
#[path = "pipeline/delay.rs"]
mod delay;
#[path = "pipeline/engine.rs"]
mod engine;
#[path = "pipeline/start.rs"]
mod start;

use std::path::PathBuf;

/// The plugins that `cargo xtask plugins` built.
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
