//! List of the components in a folder that this builder made. Plugins that a person adds to the
//! folder are not on the list, and stay.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Result;

/// Writes the names in `built` to the list, one a line, and removes the components that an earlier
/// list names and `built` does not.
pub fn replace(folder: &Path, built: &[String]) -> Result<Vec<PathBuf>> {
    let list = folder.join(".built");
    let before = fs::read_to_string(&list).unwrap_or_default();
    let mut removed = Vec::new();
    for name in before
        .lines()
        .filter(|name| !built.iter().any(|built| built == name))
    {
        let component = folder.join(format!("{name}.wasm"));
        if component.exists() {
            fs::remove_file(&component)?;
            removed.push(component);
        }
    }
    fs::write(&list, built.join("\n"))?;
    Ok(removed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_component_of_ours_that_is_no_more_goes_and_one_of_somebody_else_stays() {
        let folder = std::env::temp_dir().join(format!("anomalyzer-xtask-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        for name in ["old", "kept", "theirs"] {
            fs::write(folder.join(format!("{name}.wasm")), "").unwrap();
        }
        assert!(
            replace(&folder, &["old".into(), "kept".into()])
                .unwrap()
                .is_empty()
        );
        assert_eq!(
            replace(&folder, &["kept".into()]).unwrap(),
            [folder.join("old.wasm")]
        );
        assert!(folder.join("kept.wasm").exists() && folder.join("theirs.wasm").exists());
        fs::remove_dir_all(&folder).unwrap();
    }
}
