//! Images, which are programs of this machine.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::tools;

/// The program for each image.
#[derive(Debug)]
pub(super) struct Images(BTreeMap<String, PathBuf>);

impl Images {
    /// Adds `/bin/sh` for `shell`, unless `given` has another program for it.
    pub(super) fn new(given: BTreeMap<String, PathBuf>) -> Self {
        let mut images = BTreeMap::from([(full_name("shell"), PathBuf::from("/bin/sh"))]);
        images.extend(
            given
                .into_iter()
                .map(|(name, path)| (full_name(&name), path)),
        );
        Self(images)
    }

    /// Returns the image's entry point.
    ///
    /// # Errors
    /// Returns the reason why the image can't be pulled.
    pub(super) fn pull(&self, image: &str) -> Result<&Path, String> {
        let program = self.0.get(&full_name(image)).ok_or_else(|| {
            format!(
                "no program stands for the image {image:?}; this testbed knows {}",
                self.names()
            )
        })?;
        if tools::is_executable(program) {
            Ok(program)
        } else {
            Err(format!(
                "the program {} of the image {image:?} is not there or not executable",
                program.display()
            ))
        }
    }

    fn names(&self) -> String {
        self.0
            .keys()
            .map(String::as_str)
            .collect::<Vec<_>>()
            .join(", ")
    }
}

/// Adds the tag `latest` to an image without a tag.
fn full_name(image: &str) -> String {
    let last = image.rsplit('/').next().unwrap_or(image);
    if last.contains([':', '@']) {
        image.to_owned()
    } else {
        format!("{image}:latest")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_without_a_tag_is_the_latest() {
        let images = Images::new(BTreeMap::from([(
            "host:5000/app".to_owned(),
            PathBuf::from("/bin/true"),
        )]));
        assert_eq!(
            images.pull("host:5000/app:latest"),
            Ok(Path::new("/bin/true"))
        );
        assert_eq!(images.pull("shell"), Ok(Path::new("/bin/sh")));
    }

    #[test]
    fn an_unknown_image_says_what_is_known() {
        let refusal = Images::new(BTreeMap::new()).pull("app:bad").unwrap_err();
        assert!(
            refusal.contains("app:bad") && refusal.contains("shell:latest"),
            "{refusal}"
        );
    }
}
