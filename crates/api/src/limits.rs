//! Bounds that several files of the API share.

use std::time::Duration;

/// Longest time that a request may take.
pub(super) const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

/// Longest time that a request to the plugin routes may take. An upload is compiled within it.
pub(super) const PLUGIN_REQUEST_TIMEOUT: Duration = Duration::from_secs(180);

/// Longest time that `POST /action/{name}` waits for its decision.
pub(super) const MAX_ACTION_WAIT: Duration = Duration::from_secs(300);

/// Largest body of a request, in bytes. Uploads of plugins have a limit of their own.
pub(super) const MAX_BODY_BYTES: usize = 1024 * 1024;

/// Longest reason of a request for an action, in bytes. It is written with each event.
pub(super) const MAX_REQUEST_REASON_BYTES: usize = 4 * 1024;

/// Largest parameters of a request for an action as JSON, in bytes. They are written with each
/// event.
pub(super) const MAX_PARAMETERS_BYTES: usize = 64 * 1024;

/// Longest reason of a silence, of feedback or of the kill switch, in bytes.
pub(super) const MAX_REASON_BYTES: usize = 1_000;

/// Longest pattern of a silence, in bytes.
pub(super) const MAX_PATTERN_BYTES: usize = 1_024;

/// Test metrics that may wait for their decision at the same time.
pub(super) const MAX_CONCURRENT_TESTS: usize = 16;

/// Uploads of uploaders that are received or examined at the same time. Further uploads wait,
/// before their bodies are read.
pub(super) const MAX_CONCURRENT_UPLOADS: usize = 2;

/// Uploads of admins that are received or examined at the same time.
pub(super) const MAX_CONCURRENT_ADMIN_UPLOADS: usize = 2;

/// Longest time until the body of an upload has arrived.
pub(super) const UPLOAD_BODY_TIMEOUT: Duration = Duration::from_secs(60);
