//! Parallel work on many items.

use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::{panic, thread};

use tokio_util::sync::CancellationToken;

/// Applies `work` to all items on every core, and returns the results in the order of the items.
/// Returns `None` if `stop` was cancelled. After each item, `done` receives the number of finished
/// items. Blocks, so it must not run on an async thread.
pub fn over<T: Sync, R: Send>(
    items: &[T],
    stop: &CancellationToken,
    done: impl Fn(usize) + Sync,
    work: impl Fn(&T) -> R + Sync,
) -> Option<Vec<R>> {
    let threads = thread::available_parallelism()
        .map_or(1, usize::from)
        .min(items.len());
    let (next, finished) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let some = || {
        let mut results = Vec::new();
        while let Some((index, item)) = take(items, &next)
            && !stop.is_cancelled()
        {
            results.push((index, work(item)));
            done(finished.fetch_add(1, Relaxed) + 1);
        }
        results
    };
    let mut results: Vec<(usize, R)> = thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(some)).collect();
        threads
            .into_iter()
            .flat_map(|thread| {
                thread
                    .join()
                    .unwrap_or_else(|panic| panic::resume_unwind(panic))
            })
            .collect()
    });
    results.sort_unstable_by_key(|(index, _)| *index);
    (results.len() == items.len()).then(|| results.into_iter().map(|(_, result)| result).collect())
}

fn take<'a, T>(items: &'a [T], next: &AtomicUsize) -> Option<(usize, &'a T)> {
    let index = next.fetch_add(1, Relaxed);
    items.get(index).map(|item| (index, item))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_come_in_the_order_of_the_items_and_all_are_counted() {
        let items: Vec<u64> = (0..1000).collect();
        let (stop, most) = (CancellationToken::new(), AtomicUsize::new(0));
        let counted = |done| {
            most.fetch_max(done, Relaxed);
        };
        let doubled = over(&items, &stop, counted, |item| item * 2);
        assert_eq!(doubled, Some(items.iter().map(|item| item * 2).collect()));
        assert_eq!(most.into_inner(), 1000);
        assert_eq!(over(&[0; 0], &stop, |_| {}, |_: &i32| ()), Some(vec![]));
        stop.cancel();
        assert_eq!(over(&items, &stop, |_| {}, |_| ()), None);
    }
}
