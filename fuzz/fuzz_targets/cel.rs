//! Fuzzes the entry point `cel` of `entry_points.rs`.
#![no_main]

#[path = "../entry_points.rs"]
#[allow(dead_code, reason = "this is one of several entry points")]
mod entry_points;

/// Lets a panic of the parser pass. The parser runs on a thread of its own, and the caller reports
/// the end of that thread. libFuzzer's own hook would abort.
fn abort_on_this_thread_only() {
    let here = std::thread::current().id();
    std::panic::set_hook(Box::new(move |panic| {
        if std::thread::current().id() == here {
            eprintln!("{panic}");
            std::process::abort();
        }
    }));
}

libfuzzer_sys::fuzz_target!(
    init: abort_on_this_thread_only(),
    |bytes: &[u8]| entry_points::cel(bytes)
);
