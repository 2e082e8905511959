//! Builds guests written by hand, so that each misdeed is exactly one instruction without a
//! toolchain in between.

use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

/// Detector in WAT. Its fields are the parts that differ from test to test.
pub struct Detector<'a> {
    pub name: &'a str,
    pub settings: &'a str,
    /// Code that runs on instantiation.
    pub start: &'a str,
    pub describe: &'a str,
    pub open: &'a str,
    /// Code that runs when the host asks for memory for a parameter.
    pub realloc: &'a str,
    /// Code that runs when the host has read the result of `describe`.
    pub post_describe: &'a str,
    pub history_ms: u64,
    pub pages: u32,
    pub version: &'a str,
    /// Code that runs on every frame. The local `$mood` is the first value of the frame. The global
    /// `$told` is not zero if state was restored.
    pub observe: &'a str,
    /// Exports of `state`, if the detector has them, with the code that runs there first.
    pub state: Option<Stateful<'a>>,
}

/// Code in the exports of `state`. The detector saves the number of frames that it has seen. After
/// a restore, the reason of its findings is the version that saved the state.
#[derive(Default)]
pub struct Stateful<'a> {
    pub save: &'a str,
    pub restore: &'a str,
}

impl Default for Detector<'_> {
    fn default() -> Self {
        Self {
            name: "moody",
            settings: r#"{"type":"object"}"#,
            start: "",
            describe: "",
            open: "",
            realloc: "",
            post_describe: "",
            history_ms: 60_000,
            pages: 16,
            version: "0.1.0",
            observe: "",
            state: None,
        }
    }
}

/// Code that spins until it is stopped.
pub const SPIN: &str = "(loop $again (br $again))";

/// Behaviours of [`Detector`] on a frame, selected by the frame's first value.
pub mod mood {
    /// Returns the values as scores, and a finding that describes the input.
    pub const GOOD: f64 = 1.0;
    pub const TRAP: f64 = 2.0;
    pub const SPIN: f64 = 3.0;
    pub const HOARD: f64 = 4.0;
    pub const NAN_SCORE: f64 = 5.0;
    pub const FAR_SAMPLE: f64 = 6.0;
    pub const LONG_LIST: f64 = 7.0;
    pub const LIST_OUTSIDE: f64 = 8.0;
    pub const NOT_UTF8: f64 = 9.0;
    pub const RECURSE: f64 = 10.0;
    pub const SAY_FAILED: f64 = 11.0;
    pub const FLOOD_LOG: f64 = 12.0;
    pub const LAST_WORDS: f64 = 13.0;
    pub const HOARD_TABLE: f64 = 14.0;
    pub const THREE_SCORES: f64 = 15.0;
    pub const CONTENT: f64 = 16.0;
}

impl Detector<'_> {
    /// Returns the bytes of the component.
    pub fn build(&self) -> Vec<u8> {
        encoded(&self.module())
    }

    /// Returns the core module, with the contract embedded. Results live at 1024 (describe), 2048
    /// (open), 3072 (observe) and 4096 (findings).
    #[expect(clippy::too_many_lines, reason = "the text of one guest")]
    pub fn module(&self) -> Vec<u8> {
        let Self {
            name,
            settings,
            start,
            describe,
            open,
            realloc,
            post_describe,
            history_ms,
            pages,
            version,
            observe,
            state,
        } = self;
        let (name_len, settings_len, version_len) = (name.len(), settings.len(), version.len());
        let (state, world) = match state {
            Some(state) => (state.exports(), "stateful-detector-plugin"),
            None => (String::new(), "detector-plugin"),
        };
        let settings_text = settings.replace('\\', "\\\\").replace('"', "\\\"");
        let i = "anomalyzer:plugin/detector@0.1.0";
        let wat = format!(
            r#"(module
            (import "[export]{i}" "[resource-new]monitor" (func $new (param i32) (result i32)))
            (import "anomalyzer:plugin/log@0.1.0" "log" (func $log (param i32 i32 i32)))
            (memory (export "memory") {pages})
            (table $table 1 funcref)
            (global $heap (mut i32) (i32.const 65536))
            (global $seen (mut i32) (i32.const 0))
            ;; the length of what it was told to be restored from, which is at 700
            (global $told (mut i32) (i32.const 0))
            (data (i32.const 16) "{name}")
            (data (i32.const 128) "{version}")
            (data (i32.const 256) "{settings_text}")
            (data (i32.const 512) "no more patience")
            (data (i32.const 600) "\ff\fe")
            (func $start {start})
            (start $start)
            (func (export "cabi_realloc") (param $old i32) (param $old_size i32) (param $align i32) (param $size i32)
                (result i32)
                (local $at i32)
                {realloc}
                (local.set $at (i32.and (i32.add (global.get $heap) (i32.const 7)) (i32.const -8)))
                (global.set $heap (i32.add (local.get $at) (local.get $size)))
                (local.get $at))
            (func (export "cabi_post_{i}#describe") (param i32) {post_describe})
            (func $list (param $at i32) (param $pointer i32) (param $length i32)
                (i32.store (local.get $at) (local.get $pointer))
                (i32.store offset=4 (local.get $at) (local.get $length)))
            (func (export "{i}#describe") (result i32)
                {describe}
                (call $list (i32.const 1024) (i32.const 16) (i32.const {name_len}))
                (call $list (i32.const 1032) (i32.const 128) (i32.const {version_len}))
                (call $list (i32.const 1040) (i32.const 512) (i32.const 16))
                (call $list (i32.const 1048) (i32.const 256) (i32.const {settings_len}))
                (i64.store (i32.const 1056) (i64.const {history_ms}))
                (i32.const 1024))
            (func (export "{i}#[static]monitor.open") (param $settings i32) (param $length i32) (result i32)
                {open}
                (i32.store8 (i32.const 2048) (i32.const 0))
                (i32.store (i32.const 2052) (call $new (i32.const 1)))
                (i32.const 2048))
            (func $recurse (param $depth i64) (result i64)
                (i64.add (i64.const 1) (call $recurse (i64.add (local.get $depth) (i64.const 1)))))
            (func (export "{i}#[method]monitor.observe") (param $self i32) (param $now i64)
                (param $opened i32) (param $opened_length i32) (param $closed i32) (param $closed_length i32)
                (param $ids i32) (param $ids_length i32) (param $at i32) (param $at_length i32)
                (param $values i32) (param $length i32) (param $want_scores i32) (result i32)
                (local $mood i32) (local $count i32) (local $last i32) (local $labels i32)
                (global.set $heap (i32.const 65536))
                (global.set $seen (i32.add (global.get $seen) (i32.const 1)))
                (if (local.get $length)
                    (then (local.set $mood (i32.trunc_f64_s (f64.load (local.get $values))))))
                ;; ok, the values as scores, one finding: onset, above, the number of frames seen as score, the time of the last
                ;; sample as severity, its series as the low end of the range, the second label of the first new series as
                ;; reason
                (i32.store (i32.const 3072) (i32.const 0))
                (call $list (i32.const 3076) (local.get $values)
                    (select (local.get $length) (i32.const 0) (local.get $want_scores)))
                (call $list (i32.const 3084) (i32.const 4096) (i32.ne (local.get $length) (i32.const 0)))
                (memory.fill (i32.const 4096) (i32.const 0) (i32.const 56))
                (f64.store (i32.const 4104) (f64.convert_i32_s (global.get $seen)))
                (local.set $last (i32.sub (local.get $length) (i32.const 1)))
                (f64.store (i32.const 4112) (f64.convert_i64_s
                    (i64.load (i32.add (local.get $at) (i32.mul (local.get $last) (i32.const 8))))))
                (i32.store (i32.const 4120) (i32.const 1))
                (f64.store (i32.const 4128) (f64.convert_i32_u
                    (i32.load (i32.add (local.get $ids) (i32.mul (local.get $last) (i32.const 4))))))
                (f64.store (i32.const 4136) (f64.const inf))
                (call $list (i32.const 4144) (i32.const 512) (i32.const 16))
                (if (local.get $opened_length)
                    (then
                        (local.set $labels (i32.load offset=4 (local.get $opened)))
                        (call $list (i32.const 4144)
                            (i32.load offset=24 (local.get $labels)) (i32.load offset=28 (local.get $labels)))))
                (if (global.get $told)
                    (then (call $list (i32.const 4144) (i32.const 700) (global.get $told))))
                {observe}
                (if (i32.eq (local.get $mood) (i32.const 2)) (then (unreachable)))
                (if (i32.eq (local.get $mood) (i32.const 3)) (then {SPIN}))
                (if (i32.eq (local.get $mood) (i32.const 4))
                    (then (loop $more (br_if $more (i32.ne (memory.grow (i32.const 16)) (i32.const -1)))) (unreachable)))
                (if (i32.eq (local.get $mood) (i32.const 16))
                    (then (loop $more (br_if $more (i32.ne (memory.grow (i32.const 16)) (i32.const -1))))))
                (if (i32.eq (local.get $mood) (i32.const 5))
                    (then (f64.store (i32.const 4104) (f64.const nan))))
                (if (i32.eq (local.get $mood) (i32.const 6))
                    (then (i32.store (i32.const 4096) (i32.const 77))))
                (if (i32.eq (local.get $mood) (i32.const 7))
                    (then (call $list (i32.const 3076) (i32.const 0) (i32.const 100000))))
                (if (i32.eq (local.get $mood) (i32.const 8))
                    (then (call $list (i32.const 3076) (i32.const 0) (i32.const 0x7ffffff))))
                (if (i32.eq (local.get $mood) (i32.const 9))
                    (then (call $list (i32.const 4144) (i32.const 600) (i32.const 2))))
                (if (i32.eq (local.get $mood) (i32.const 10)) (then (drop (call $recurse (i64.const 0)))))
                (if (i32.eq (local.get $mood) (i32.const 11))
                    (then
                        (i32.store8 (i32.const 3072) (i32.const 1))
                        (i32.store (i32.const 3076) (i32.const 2))
                        (call $list (i32.const 3080) (i32.const 512) (i32.const 16))))
                (if (i32.eq (local.get $mood) (i32.const 12))
                    (then (loop $more
                        (call $log (i32.const 2) (i32.const 512) (i32.const 16))
                        (local.set $count (i32.add (local.get $count) (i32.const 1)))
                        (br_if $more (i32.lt_s (local.get $count) (i32.const 1000))))))
                (if (i32.eq (local.get $mood) (i32.const 13))
                    (then (call $log (i32.const 3) (i32.const 512) (i32.const 16)) (unreachable)))
                (if (i32.eq (local.get $mood) (i32.const 15))
                    (then (call $list (i32.const 3076) (local.get $values) (i32.const 3))))
                (if (i32.eq (local.get $mood) (i32.const 14))
                    (then (loop $more (drop (table.grow $table (ref.null func) (i32.const 1000))) (br $more))))
                (i32.const 3072))
            {state}
            )"#
        );
        embedded(&wat, world)
    }
}

impl Stateful<'_> {
    /// Returns the exports of `state`. Results live at 6144, and the saved state at 5000.
    fn exports(&self) -> String {
        let Self { save, restore } = self;
        let i = "anomalyzer:plugin/state@0.1.0";
        format!(
            r#"
            (func (export "{i}#save") (param $monitor i32) (param $some i32) (param $id i32) (result i32)
                (i32.store (i32.const 6144) (i32.const 0))
                (i32.store (i32.const 5000) (global.get $seen))
                (call $list (i32.const 6148) (i32.const 5000) (i32.const 4))
                ;; the series share nothing
                (if (i32.eqz (local.get $some))
                    (then
                        (i32.store (i32.const 6144) (i32.const 1))
                        (i32.store (i32.const 6148) (i32.const 1))
                        (call $list (i32.const 6152) (i32.const 512) (i32.const 16)))
                    (else {save}))
                (i32.const 6144))
            (func (export "{i}#restore") (param $monitor i32) (param $some i32) (param $id i32)
                (param $labels i32) (param $labels_length i32) (param $from i32) (param $from_length i32)
                (param $saved i32) (param $length i32) (result i32)
                (i32.store (i32.const 6144) (i32.const 0))
                {restore}
                (if (i32.eqz (i32.load (i32.const 6144)))
                    (then
                        (global.set $seen (i32.load (local.get $saved)))
                        (memory.copy (i32.const 700) (local.get $from) (local.get $from_length))
                        (global.set $told (local.get $from_length))))
                (i32.const 6144))"#
        )
    }
}

/// Code for `restore` that reports the saved state as invalid.
pub const REFUSE: &str = "(i32.store (i32.const 6144) (i32.const 1)) (i32.store (i32.const 6148) (i32.const 0)) \
                          (call $list (i32.const 6152) (i32.const 512) (i32.const 16))";

/// Returns a [`Detector`] named `name` as a compiler leaves it: a core module with the contract
/// embedded.
pub fn core_module(name: &str) -> Vec<u8> {
    Detector {
        name,
        ..Detector::default()
    }
    .module()
}

/// Builds an action that first scales the Deployment `web` to 4. It finishes when that is done,
/// gives up when it is denied, breaks the contract after a wait, and traps after a failure.
pub fn action(name: &str) -> Vec<u8> {
    action_with(name, "")
}

/// Builds an [`action`] that scales a target of the incident's kind, although it declares only
/// `Deployment`.
pub fn unheeding_action(name: &str) -> Vec<u8> {
    // If the incident has a target, its kind is 28 bytes after the start of the incident.
    let take_kind = "(if (i32.load8_u offset=8 (local.get $opened))
        (then
            (global.set $kind (i32.load offset=28 (local.get $opened)))
            (global.set $kind_length (i32.load offset=32 (local.get $opened)))))";
    action_with(name, take_kind)
}

fn action_with(name: &str, open: &str) -> Vec<u8> {
    let i = "anomalyzer:plugin/action@0.1.0";
    let name_len = name.len();
    let wat = format!(
        r#"(module
        (import "[export]{i}" "[resource-new]run" (func $new (param i32) (result i32)))
        (memory (export "memory") 4)
        (global $heap (mut i32) (i32.const 65536))
        (global $kind (mut i32) (i32.const 211))
        (global $kind_length (mut i32) (i32.const 10))
        (data (i32.const 16) "{name}")
        (data (i32.const 128) "0.1.0")
        (data (i32.const 160) "true")
        (data (i32.const 200) "defaultshopDeploymentweb")
        (data (i32.const 256) "scale")
        (data (i32.const 300) "well done")
        (data (i32.const 320) "{{\"spec\":")
        (func (export "cabi_realloc") (param i32 i32 i32) (param $size i32) (result i32)
            (local $at i32)
            (local.set $at (i32.and (i32.add (global.get $heap) (i32.const 7)) (i32.const -8)))
            (global.set $heap (i32.add (local.get $at) (local.get $size)))
            (local.get $at))
        (func $list (param $at i32) (param $pointer i32) (param $length i32)
            (i32.store (local.get $at) (local.get $pointer))
            (i32.store offset=4 (local.get $at) (local.get $length)))
        (func (export "{i}#describe") (result i32)
            (call $list (i32.const 1024) (i32.const 16) (i32.const {name_len}))
            (call $list (i32.const 1032) (i32.const 128) (i32.const 5))
            (call $list (i32.const 1040) (i32.const 300) (i32.const 9))
            (call $list (i32.const 1048) (i32.const 160) (i32.const 4))
            (call $list (i32.const 1056) (i32.const 1072) (i32.const 1))
            (call $list (i32.const 1072) (i32.const 256) (i32.const 5))
            (call $list (i32.const 1080) (i32.const 211) (i32.const 10))
            (i32.const 1024))
        (func (export "{i}#[static]run.open") (param $opened i32) (result i32)
            {open}
            (i32.store8 (i32.const 2048) (i32.const 0))
            (i32.store (i32.const 2052) (call $new (i32.const 1)))
            (i32.const 2048))
        (func (export "{i}#[method]run.next") (param $self i32) (param $now i64) (param $outcome i32)
            (param $text i32) (param $length i32) (result i32)
            (i32.store (i32.const 3072) (i32.const 0))
            ;; the target, wherever it is needed
            (call $list (i32.const 3084) (i32.const 200) (i32.const 7))
            (call $list (i32.const 3092) (i32.const 207) (i32.const 4))
            (call $list (i32.const 3100) (global.get $kind) (global.get $kind_length))
            (call $list (i32.const 3108) (i32.const 221) (i32.const 3))
            (if (i32.eq (local.get $outcome) (i32.const 0))
                (then
                    (i32.store (i32.const 3076) (i32.const 0))
                    (i32.store (i32.const 3080) (i32.const 3))
                    (i32.store (i32.const 3116) (i32.const 4))))
            (if (i32.eq (local.get $outcome) (i32.const 1))
                (then
                    (i32.store (i32.const 3076) (i32.const 0))
                    (i32.store (i32.const 3080) (i32.const 6))
                    (call $list (i32.const 3116) (i32.const 320) (i32.const 8))))
            (if (i32.eq (local.get $outcome) (i32.const 2))
                (then
                    (i32.store (i32.const 3076) (i32.const 2))
                    (call $list (i32.const 3080) (i32.const 300) (i32.const 9))))
            (if (i32.eq (local.get $outcome) (i32.const 3))
                (then
                    (i32.store (i32.const 3076) (i32.const 3))
                    (call $list (i32.const 3080) (local.get $text) (local.get $length))))
            (if (i32.eq (local.get $outcome) (i32.const 4)) (then (unreachable)))
            (i32.const 3072))
        )"#
    );
    encoded(&embedded(&wat, "action-plugin"))
}

fn embedded(wat: &str, world: &str) -> Vec<u8> {
    let mut module = wat::parse_str(wat).unwrap();
    let mut resolve = Resolve::default();
    let (package, _) = resolve
        .push_path(concat!(env!("CARGO_MANIFEST_DIR"), "/../../wit"))
        .unwrap();
    let world = resolve.select_world(&[package], Some(world)).unwrap();
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8).unwrap();
    module
}

fn encoded(module: &[u8]) -> Vec<u8> {
    ComponentEncoder::default()
        .validate(true)
        .module(module)
        .unwrap()
        .encode()
        .unwrap()
}
