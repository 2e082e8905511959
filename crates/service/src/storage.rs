//! Files of the data folder, with their bounds.

use std::path::PathBuf;
use std::sync::Arc;

use crate::config::Config;
use anomalyzer_common::set_aside::SetAside;
use anomalyzer_detect::state_store;

/// Name of the file of the bus in this process.
pub(super) const BUS_FILE_NAME: &str = "bus.sqlite";

/// Files of the data folder, and the damaged files that the start moved aside. Clones share them.
#[derive(Clone)]
pub(super) struct Stores(Arc<Inner>);

struct Inner {
    /// Name, path and maximum size of each file.
    files: Vec<(&'static str, PathBuf, u64)>,
    set_aside: Vec<SetAside>,
}

/// Size of a file, and its bound.
pub(super) struct StoreSize {
    pub name: &'static str,
    pub bytes: u64,
    pub max_bytes: u64,
}

impl Stores {
    pub(super) fn new(config: &Config, set_aside: Vec<SetAside>) -> Self {
        let path = |name: &str| config.data_dir.join(name);
        let files = vec![
            (
                "history",
                path(anomalyzer_history::FILE_NAME),
                config.retention.max_bytes.unwrap_or(u64::MAX),
            ),
            ("bus", path(BUS_FILE_NAME), config.local_bus.max_bytes),
            (
                "memory",
                path(state_store::FILE_NAME),
                config.memory.max_bytes,
            ),
        ];
        Self(Arc::new(Inner { files, set_aside }))
    }

    /// Returns the sizes of the files that exist, each with its write-ahead log.
    pub(super) fn sizes(&self) -> Vec<StoreSize> {
        let files = self.0.files.iter();
        let size = |path: &PathBuf| std::fs::metadata(path).map(|file| file.len());
        files
            .filter_map(|(name, path, max_bytes)| {
                let mut wal = path.clone().into_os_string();
                wal.push("-wal");
                let bytes = size(path).ok()? + size(&PathBuf::from(wal)).unwrap_or(0);
                Some(StoreSize {
                    name,
                    bytes,
                    max_bytes: *max_bytes,
                })
            })
            .collect()
    }

    /// Returns the damaged files that the start moved aside.
    pub(super) fn set_aside(&self) -> &[SetAside] {
        &self.0.set_aside
    }
}
