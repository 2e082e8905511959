//! Turns a file into a component before the runtime sees it. The file is a component, or a core
//! module that carries the contract with it.
//!
//! `cargo build --target wasm32-unknown-unknown` makes a core module. The bindings' macro leaves a
//! description of the component in that module. The last step is done here, so that an author needs
//! no tool beyond cargo.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use wasmparser::{Parser, Payload};
use wit_component::ComponentEncoder;

use super::linker::{LOG, TYPES};
use super::text::one_line;

/// Maximum length of the name of an import or export, in bytes. Longer names are cut.
const NAME_BYTES: usize = 255;
/// Maximum number of reported imports, and of reported exports.
const NAMES: usize = 64;

/// Returns the component in `bytes`: the bytes themselves, or the component of a core module.
pub(super) fn component(bytes: &[u8]) -> Result<Cow<'_, [u8]>, String> {
    if Parser::is_component(bytes) {
        return Ok(Cow::Borrowed(bytes));
    }
    if !Parser::is_core_wasm(bytes) {
        return Err("it is no WebAssembly: neither a component nor a core module".to_owned());
    }
    whole(bytes)?;
    let encode = || {
        ComponentEncoder::default()
            .module(bytes)?
            .validate(true)
            .encode()
    };
    encode().map(Cow::Owned).map_err(|error| {
        one_line(
            &format!("it is a core module that can't be made a component: {error:#}"),
            1024,
        )
    })
}

/// Returns an error if a section ends beyond the bytes. The encoder trusts the sizes of sections,
/// and would panic.
fn whole(module: &[u8]) -> Result<(), String> {
    for payload in Parser::new(0).parse_all(module) {
        if let Some((id, range)) = payload.map_err(broken)?.as_section()
            && module
                .get(range.start as usize..range.end as usize)
                .is_none()
        {
            return Err(format!(
                "it can't be read: section {id} ends at {}, beyond its {} bytes",
                range.end,
                module.len()
            ));
        }
    }
    Ok(())
}

/// Imports and exports of a file, read without compiling or running any of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Surface {
    /// True if the host must make a component of the file first.
    pub core_module: bool,
    /// Names of its imports.
    pub imports: Vec<String>,
    /// Names of its exports.
    pub exports: Vec<String>,
}

impl Surface {
    /// Reads the imports and exports of `file`. `component` is the component in it.
    ///
    /// # Errors
    /// Returns an error if the component can't be read.
    pub(super) fn of(file: &[u8], component: &[u8]) -> Result<Self, String> {
        let mut surface = Self {
            core_module: Parser::is_core_wasm(file),
            ..Self::default()
        };
        // Nested modules and components have imports and exports of their own.
        let mut depth = 0_usize;
        for payload in Parser::new(0).parse_all(component) {
            match payload.map_err(broken)? {
                Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
                Payload::End(_) => depth = depth.saturating_sub(1),
                Payload::ComponentImportSection(section) if depth == 0 => {
                    for import in section {
                        push(&mut surface.imports, import.map_err(broken)?.name.name);
                    }
                }
                Payload::ComponentExportSection(section) if depth == 0 => {
                    for export in section {
                        push(&mut surface.exports, export.map_err(broken)?.name.name);
                    }
                }
                _ => {}
            }
        }
        Ok(surface)
    }

    /// Returns the imports that the host does not provide.
    pub fn foreign_imports(&self) -> impl Iterator<Item = &str> {
        self.imports
            .iter()
            .map(String::as_str)
            .filter(|name| ![LOG, TYPES].contains(name))
    }
}

fn push(names: &mut Vec<String>, name: &str) {
    if names.len() < NAMES {
        names.push(one_line(name, NAME_BYTES));
    }
}

#[allow(clippy::needless_pass_by_value, reason = "as map_err hands it over")]
fn broken(error: wasmparser::BinaryReaderError) -> String {
    format!("it can't be read: {}", one_line(&error.to_string(), 512))
}

#[cfg(test)]
mod tests {
    use super::*;
    use anomalyzer_test_support::guest::{Detector, core_module};

    fn surface(file: &[u8]) -> Result<Surface, String> {
        Surface::of(file, &component(file)?)
    }

    #[test]
    fn a_core_module_with_the_contract_embedded_is_made_a_component() {
        let module = core_module("moody");
        let made = component(&module).unwrap();
        assert!(Parser::is_component(&made));
        let ready = Detector::default().build();
        assert!(
            matches!(component(&ready), Ok(Cow::Borrowed(_))),
            "a component stays as it is"
        );
    }

    #[test]
    fn the_surface_of_both_is_the_same_but_for_what_they_are() {
        let of_module = surface(&core_module("moody")).unwrap();
        let of_component = surface(&Detector::default().build()).unwrap();
        assert!(of_module.core_module && !of_component.core_module);
        assert_eq!(of_module.exports, ["anomalyzer:plugin/detector@0.1.0"]);
        assert_eq!(
            (&of_module.imports, &of_module.exports),
            (&of_component.imports, &of_component.exports)
        );
        assert_eq!(of_module.foreign_imports().count(), 0);
    }

    #[test]
    fn what_is_no_plugin_is_told_so() {
        for bytes in [&b""[..], b"no wasm at all", b"\0asm\x01\0"] {
            assert!(surface(bytes).unwrap_err().contains("no WebAssembly"));
        }
        let wasi =
            wat::parse_str(r#"(module (import "wasi_snapshot_preview1" "fd_write" (func)))"#)
                .unwrap();
        let error = component(&wasi).unwrap_err();
        assert!(
            error.contains("can't be made a component") && error.contains("wasi_snapshot_preview1"),
            "{error}"
        );
        let mut cut = Detector::default().build();
        cut.truncate(cut.len() / 2);
        assert!(surface(&cut).unwrap_err().contains("can't be read"));
    }

    #[test]
    fn a_section_that_ends_beyond_the_module_is_an_error() {
        // The code section claims 127 bytes, but only three follow.
        let error = surface(b"\0asm\x01\0\0\0\x0a\xff\0\0\0\0").unwrap_err();
        assert!(error.contains("can't be read"), "{error}");
    }

    #[test]
    fn a_foreign_import_is_named() {
        let component =
            wat::parse_str(r#"(component (import "wasi:sockets/tcp@0.2.0" (instance)))"#).unwrap();
        let surface = surface(&component).unwrap();
        assert_eq!(
            surface.foreign_imports().collect::<Vec<_>>(),
            ["wasi:sockets/tcp@0.2.0"]
        );
    }
}
