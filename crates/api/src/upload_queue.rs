//! Places of uploads. An upload gets its place before its body is read, so that bodies take a
//! bounded amount of memory, and so that one uploader holds nobody up but itself.

use std::collections::HashMap;
use std::sync::Arc;

use axum::http::StatusCode;
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::limits::{MAX_CONCURRENT_ADMIN_UPLOADS, MAX_CONCURRENT_UPLOADS};
use super::problem::Problem;

/// Places of uploads that are received or examined at the same time.
#[derive(Clone)]
pub(super) struct UploadQueue {
    admins: Arc<Semaphore>,
    uploaders: Arc<Semaphore>,
    /// Turns of each uploader who sends something now: one upload at a time.
    turns: Arc<Mutex<HashMap<String, Turns>>>,
    /// Maximum number of uploads of one uploader, including those that wait.
    max_per_uploader: usize,
}

struct Turns {
    uploads: usize,
    turn: Arc<Semaphore>,
}

/// Place of one upload. It is free again when this is dropped.
pub(super) struct UploadPlace {
    _place: OwnedSemaphorePermit,
    _turn: Option<(OwnedSemaphorePermit, Entry)>,
}

/// Counted upload of an uploader.
struct Entry {
    uploader: String,
    turns: Arc<Mutex<HashMap<String, Turns>>>,
}

impl Drop for Entry {
    fn drop(&mut self) {
        let mut turns = self.turns.lock();
        if let Some(own) = turns.get_mut(&self.uploader) {
            own.uploads -= 1;
            if own.uploads == 0 {
                turns.remove(&self.uploader);
            }
        }
    }
}

impl UploadQueue {
    pub(super) fn new(max_per_uploader: usize) -> Self {
        Self {
            admins: Arc::new(Semaphore::new(MAX_CONCURRENT_ADMIN_UPLOADS)),
            uploaders: Arc::new(Semaphore::new(MAX_CONCURRENT_UPLOADS)),
            turns: Arc::default(),
            max_per_uploader: max_per_uploader.max(1),
        }
    }

    /// Waits for a place. `uploader` names a sender who is not an admin.
    ///
    /// # Errors
    /// Returns a problem if too many uploads of the uploader wait already.
    pub(super) async fn enter(&self, uploader: Option<&str>) -> Result<UploadPlace, Problem> {
        let closed = |_| Problem::of_status(StatusCode::INTERNAL_SERVER_ERROR);
        let Some(uploader) = uploader else {
            let place = Arc::clone(&self.admins).acquire_owned().await;
            return Ok(UploadPlace {
                _place: place.map_err(closed)?,
                _turn: None,
            });
        };
        let (entry, turn) = self.count(uploader)?;
        let turn = turn.acquire_owned().await.map_err(closed)?;
        let place = Arc::clone(&self.uploaders).acquire_owned().await;
        Ok(UploadPlace {
            _place: place.map_err(closed)?,
            _turn: Some((turn, entry)),
        })
    }

    /// Counts an upload, unless the uploader has too many.
    fn count(&self, uploader: &str) -> Result<(Entry, Arc<Semaphore>), Problem> {
        let mut turns = self.turns.lock();
        let own = turns.entry(uploader.to_owned()).or_insert_with(|| Turns {
            uploads: 0,
            turn: Arc::new(Semaphore::new(1)),
        });
        if own.uploads >= self.max_per_uploader {
            return Err(Problem::new(
                StatusCode::TOO_MANY_REQUESTS,
                "too-many-uploads",
                "Too many uploads at a time",
                format!("{} uploads of `{uploader}` are under way", own.uploads),
                "wait for their answers, then try again ([plugins.candidates] uploads_per_uploader)",
            ));
        }
        own.uploads += 1;
        let turn = Arc::clone(&own.turn);
        let entry = Entry {
            uploader: uploader.to_owned(),
            turns: Arc::clone(&self.turns),
        };
        Ok((entry, turn))
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[tokio::test]
    async fn one_uploader_has_one_turn_and_holds_up_nobody_else() {
        let queue = UploadQueue::new(2);
        let first = queue.enter(Some("eve")).await.unwrap();
        let mut second = Box::pin(queue.enter(Some("eve")));
        assert!(second.as_mut().now_or_never().is_none(), "it waits");
        assert!(queue.enter(Some("eve")).await.is_err(), "too many wait");
        for other in [Some("bob"), None] {
            assert!(
                queue.enter(other).now_or_never().unwrap().is_ok(),
                "{other:?}"
            );
        }
        drop(first);
        let second = second.await.unwrap();
        drop(second);
        assert!(queue.turns.lock().is_empty(), "nothing is left of a name");
    }

    #[tokio::test]
    async fn an_upload_that_is_given_up_while_it_waits_leaves_no_place_behind() {
        let queue = UploadQueue::new(2);
        let first = queue.enter(Some("eve")).await.unwrap();
        let mut second = Box::pin(queue.enter(Some("eve")));
        assert!(second.as_mut().now_or_never().is_none());
        drop(second);
        drop(first);
        assert!(queue.turns.lock().is_empty());
        assert!(queue.enter(Some("eve")).await.is_ok());
    }
}
