//! Encodes a core module as a component, and checks the component's imports and exports.

use anyhow::{Context, Result, bail, ensure};
use wit_component::{ComponentEncoder, DecodedWasm};

/// Interfaces that a component may import. There is no WASI, so guests have no clock and no files;
/// `types` holds no function.
const MAY_IMPORT: [&str; 2] = ["anomalyzer:plugin/log@", "anomalyzer:plugin/types@"];
const EXPORTS_ONE_OF: [&str; 2] = ["anomalyzer:plugin/detector@", "anomalyzer:plugin/action@"];

/// Returns the validated component of `module`.
pub fn encode(module: &[u8]) -> Result<Vec<u8>> {
    let component = ComponentEncoder::default()
        .module(module)?
        .validate(true)
        .encode()?;
    check(&component)?;
    Ok(component)
}

/// Returns an error if the host would refuse `component`.
pub fn check(component: &[u8]) -> Result<()> {
    let DecodedWasm::Component(resolve, world) = wit_component::decode(component)? else {
        bail!("it describes an interface, and is no component");
    };
    let world = &resolve.worlds[world];
    for key in world.imports.keys() {
        let name = resolve.name_world_key(key);
        ensure!(
            MAY_IMPORT.iter().any(|allowed| name.starts_with(allowed)),
            "it imports {name}, which the host does not give"
        );
    }
    let exported = world
        .exports
        .keys()
        .map(|key| resolve.name_world_key(key))
        .collect::<Vec<_>>();
    exported.iter().find(|name| EXPORTS_ONE_OF.iter().any(|known| name.starts_with(known))).with_context(|| {
        format!("it exports {exported:?}, neither a detector nor an action: does it call `export_…!`?")
    })?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_without_the_contract_is_no_plugin() {
        let empty_module = [0, b'a', b's', b'm', 1, 0, 0, 0];
        let error = encode(&empty_module).unwrap_err().to_string();
        assert!(
            error.contains("neither a detector nor an action"),
            "{error}"
        );
        assert!(encode(b"no wasm at all").is_err());
    }
}
