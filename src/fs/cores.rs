//! The cores that a walk through a tree has, and the threads on them.
//!
//! Every thread has ended when the call that started it returns: before privileges are dropped.

use std::panic::resume_unwind;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use nix::sys::resource::{Resource, getrlimit};

use crate::digest::pool::{MAX_THREADS, other_cores};
use crate::fs::error::FsError;

/// Items from which on threads take their part; fewer take less time than to start one.
const MANY: usize = 256;

/// Bytes of stack of a thread that walks on by itself.
const STACK: usize = 8 * 1024 * 1024;

/// Descriptors that suffice for two threads: each has two open for each of the most levels, and
/// some for the files that it gives away.
const DESCRIPTORS: u64 = 1024;

/// The cores beside the caller's that nothing of the walk runs on.
#[derive(Debug)]
pub(super) struct Cores {
    spare: AtomicUsize,
    /// True while two threads walk, which is the most, and always if there are too few descriptors.
    walking: AtomicBool,
}

impl Cores {
    pub(super) fn new() -> Self {
        Self {
            spare: AtomicUsize::new(other_cores().min(MAX_THREADS)),
            walking: AtomicBool::new(!has_descriptors()),
        }
    }

    /// Calls `work` with parts of `items`, one for each core, and returns the results together.
    pub(super) fn in_parts<T: Sync, R: Send + Clone>(
        &self,
        items: &[T],
        work: &(impl Fn(&[T]) -> Result<Vec<R>, FsError> + Sync),
    ) -> Result<Vec<R>, FsError> {
        if items.len() < MANY {
            return work(items);
        }
        let spare = self.spare.swap(0, Ordering::Relaxed);
        let part = items.len().div_ceil(1 + spare);
        let results: Result<Vec<Vec<R>>, _> = thread::scope(|scope| {
            let (first, others) = items.split_at(part);
            let start = |part| thread::Builder::new().spawn_scoped(scope, move || work(part));
            let threads: Vec<_> = others
                .chunks(part)
                .map(|part| (part, start(part)))
                .collect();
            let mut results = vec![work(first)];
            for (part, thread) in threads {
                results.push(match thread {
                    Ok(thread) => thread.join().unwrap_or_else(|panic| resume_unwind(panic)),
                    // A limit on processes leaves it to this thread.
                    Err(_) => work(part),
                });
            }
            results.into_iter().collect()
        });
        self.spare.fetch_add(spare, Ordering::Relaxed);
        Ok(results?.concat())
    }

    /// Calls `work` with each of `items`, on two cores if another one is to be had.
    pub(super) fn each<T: Sync>(
        &self,
        items: &[T],
        work: &(impl Fn(&T) -> Result<(), FsError> + Sync),
    ) -> Result<(), FsError> {
        if items.len() < 2 || !self.begin_walking() {
            return items.iter().try_for_each(work);
        }
        let next = AtomicUsize::new(0);
        let walk = || {
            while let Some(item) = items.get(next.fetch_add(1, Ordering::Relaxed)) {
                if let Err(error) = work(item) {
                    // The other thread takes no further one.
                    next.store(items.len(), Ordering::Relaxed);
                    return Err(error);
                }
            }
            Ok(())
        };
        thread::scope(|scope| {
            let other = thread::Builder::new()
                .stack_size(STACK)
                .spawn_scoped(scope, || {
                    let walked = walk();
                    self.end_walking();
                    walked
                });
            let walked = walk();
            match other {
                Ok(other) => {
                    // Meanwhile the other thread has this core.
                    self.spare.fetch_add(1, Ordering::Relaxed);
                    let other = other.join().unwrap_or_else(|panic| resume_unwind(panic));
                    self.spare.fetch_sub(1, Ordering::Relaxed);
                    walked.and(other)
                }
                // A limit on processes has left all of it to this thread.
                Err(_) => {
                    self.end_walking();
                    walked
                }
            }
        })
    }

    /// Takes a core for a second thread that walks. Returns false if there is none.
    fn begin_walking(&self) -> bool {
        if self.walking.swap(true, Ordering::Relaxed) {
            return false;
        }
        let take = |spare: usize| spare.checked_sub(1);
        let taken = self
            .spare
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, take)
            .is_ok();
        if !taken {
            self.walking.store(false, Ordering::Relaxed);
        }
        taken
    }

    fn end_walking(&self) {
        self.spare.fetch_add(1, Ordering::Relaxed);
        self.walking.store(false, Ordering::Relaxed);
    }
}

/// Returns true if this process may have the descriptors that two threads need.
fn has_descriptors() -> bool {
    getrlimit(Resource::RLIMIT_NOFILE).is_ok_and(|(limit, _)| limit >= DESCRIPTORS)
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Mutex;

    use nix::errno::Errno;

    use super::*;

    /// Visits the numbers below 10 to the power of `depth`, each in a directory of ten.
    fn walk(
        cores: &Cores,
        depth: u32,
        first: usize,
        seen: &Mutex<Vec<usize>>,
    ) -> Result<(), FsError> {
        let visit = |digit: &usize| {
            let number = first * 10 + digit;
            if depth == 1 {
                seen.lock()
                    .map(|mut seen| seen.push(number))
                    .map_err(|_| failure())
            } else {
                walk(cores, depth - 1, number, seen)
            }
        };
        let digits: Vec<usize> = (0..10).collect();
        cores.each(&digits, &visit)
    }

    fn failure() -> FsError {
        FsError::io("cannot open", Path::new("/"), Errno::EIO)
    }

    #[test]
    fn every_item_is_visited_once_and_every_core_is_free_again() -> Result<(), FsError> {
        for spare in [0, 1, 5] {
            let cores = Cores {
                spare: AtomicUsize::new(spare),
                walking: AtomicBool::new(false),
            };
            let seen = Mutex::new(Vec::new());
            walk(&cores, 4, 0, &seen)?;
            let numbers: Vec<usize> = (0..10_000).collect();
            let mut seen = cores.in_parts(&numbers, &|part| {
                let seen = seen.lock().map_err(|_| failure())?;
                Ok(part
                    .iter()
                    .filter_map(|number| seen.get(*number).copied())
                    .collect())
            })?;
            seen.sort_unstable();
            assert!(seen == numbers, "with {spare} cores beside one");
            assert_eq!(cores.spare.into_inner(), spare);
            assert!(!cores.walking.into_inner());
        }
        Ok(())
    }

    #[test]
    fn an_error_of_either_thread_is_returned() {
        for broken in 0..10 {
            let cores = Cores {
                spare: AtomicUsize::new(1),
                walking: AtomicBool::new(false),
            };
            let digits: Vec<usize> = (0..10).collect();
            let visit = |digit: &usize| {
                if *digit == broken {
                    Err(failure())
                } else {
                    Ok(())
                }
            };
            assert!(cores.each(&digits, &visit).is_err(), "{broken}");
            assert!(!cores.walking.into_inner());
        }
    }
}
