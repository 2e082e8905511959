//! Fuzzes the entry point `encoder` of `entry_points.rs`. This program is also the child process
//! that compiles.
#![no_main]

#[path = "../entry_points.rs"]
#[allow(dead_code, reason = "this is one of several entry points")]
mod entry_points;

use anomalyzer_plugin_host::{CompileArgs, compile_and_exit};
use clap::{Args, FromArgMatches};
use std::process::ExitCode;

/// Compiles and exits if this process is the child.
fn compile_if_asked() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments
        .first()
        .is_none_or(|name| name != "compile-plugin")
    {
        return;
    }
    let matches =
        CompileArgs::augment_args(clap::Command::new("compile-plugin")).get_matches_from(arguments);
    let parsed = CompileArgs::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    let ended = compile_and_exit(&parsed);
    // The standard library does not tell the number of an `ExitCode`.
    let code = (0..=u8::MAX).find(|code| ExitCode::from(*code) == ended);
    std::process::exit(code.map_or(1, i32::from));
}

libfuzzer_sys::fuzz_target!(
    init: compile_if_asked(),
    |bytes: &[u8]| entry_points::encoder(bytes)
);
