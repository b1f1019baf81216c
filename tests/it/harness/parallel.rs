//! Work on all processors.

use std::num::NonZero;
use std::sync::Mutex;
use std::thread;

/// Runs `test` for every item, on all processors.
pub(crate) fn for_each<T: Sync>(items: &[T], test: impl Fn(&T) + Sync) {
    let next = Mutex::new(items.iter());
    let workers = thread::available_parallelism().map_or(2, NonZero::get);
    thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                loop {
                    let Some(item) = next.lock().unwrap().next() else {
                        break;
                    };
                    test(item);
                }
            });
        }
    });
}
