//! Attacks of the release program from outside.

use anyhow::Result;

use crate::{demo, guests, process, workspace};

/// Option that attacks a program which does everything wrong.
const REHEARSE: &str = "--rehearse";

/// Builds the program, the plugins and the attacker, and runs the attacks.
pub fn run(arguments: &[String]) -> Result<()> {
    let target = workspace::target();
    let binary = if arguments.iter().any(|argument| argument == REHEARSE) {
        guests::build()?;
        target.join("debug").join("careless")
    } else {
        demo::build()?
    };
    process::run(workspace::cargo().args([
        "build",
        "--locked",
        "--workspace",
        "--bin",
        "attack",
        "--bin",
        "careless",
    ]))?;
    let mut attack = process::command(&target.join("debug").join("attack"));
    attack
        .arg("--binary")
        .arg(binary)
        .arg("--plugins")
        .arg(target.join("plugins"))
        .arg("--cores")
        .arg(target.join("guests/wasm32-unknown-unknown/guest"))
        .arg("--out")
        .arg(target.join("attack"));
    process::run(attack.args(arguments))
}
