//! Threads for work on contents: hashing and copying open files.
//!
//! They are started when there is much to do and more than one core to do it on, and no thread is
//! left once [`Pool::finish`] has returned. Names are never theirs: looking up, creating and
//! renaming depend on the identity of a thread and have an order, and stay with the caller.

use std::fs::File;
use std::io;
use std::panic;
use std::sync::mpsc::{Receiver, Sender, SyncSender, TrySendError, channel, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use nix::sched::{CpuSet, sched_getaffinity};
use nix::unistd::Pid;

use crate::digest::sha256::{Buffer, FileDigest};

/// Bytes below which the caller does the work itself, since a thread would gain little.
const SHORT: u64 = 16 * 1024;

/// Bytes of work after which threads are started; one thread takes milliseconds for them.
const MUCH: u64 = 8 * 1024 * 1024;

/// The most threads, each with open files and a buffer of 64 KiB.
pub(crate) const MAX_THREADS: usize = 7;

/// Jobs that wait: enough for each thread to find one while the caller works on its own, and few
/// beside the descriptors that a process may have.
const MAX_WAITING: usize = 8;

/// Bytes of stack; a job takes about a tenth of it.
const STACK: usize = 128 * 1024;

/// One piece of work. The buffer is the thread's, made once for all of them.
type Work<T> = Box<dyn FnOnce(&mut Buffer) -> T + Send>;

/// Work that waits, with its number. Shared by the threads, and by the caller at the end.
type Waiting<T> = Mutex<Receiver<(usize, Work<T>)>>;

/// A pool that does work with results of type `T`, in the caller or on threads.
#[derive(Debug)]
pub(crate) struct Pool<T> {
    buffer: Buffer,
    /// The size of all work that is not short.
    bytes: u64,
    /// Jobs that were given to the threads.
    given: usize,
    threads: Option<Threads<T>>,
}

#[derive(Debug)]
struct Threads<T> {
    jobs: SyncSender<(usize, Work<T>)>,
    waiting: Arc<Waiting<T>>,
    results: Receiver<(usize, T)>,
    handles: Vec<JoinHandle<()>>,
}

impl<T: Send + 'static> Pool<T> {
    pub(crate) fn new() -> Self {
        Self {
            buffer: Buffer::new(),
            bytes: 0,
            given: 0,
            threads: None,
        }
    }

    /// Does `work` on `size` bytes; `None` if a thread does it. The result is then one of
    /// [`Self::ready`] or [`Self::finish`], under a number that counts these from zero.
    pub(crate) fn work(
        &mut self,
        size: u64,
        work: impl FnOnce(&mut Buffer) -> T + Send + 'static,
    ) -> Option<T> {
        if size < SHORT {
            return Some(work(&mut self.buffer));
        }
        self.bytes = self.bytes.saturating_add(size);
        if self.threads.is_none() && self.bytes > MUCH {
            self.threads = Some(Threads::start());
        }
        let threads = self.threads.as_ref();
        let Some(threads) = threads.filter(|threads| !threads.handles.is_empty()) else {
            return Some(work(&mut self.buffer));
        };
        match threads.jobs.try_send((self.given, Box::new(work))) {
            Ok(()) => {
                self.given += 1;
                None
            }
            Err(TrySendError::Full((_, work)) | TrySendError::Disconnected((_, work))) => {
                Some(work(&mut self.buffer))
            }
        }
    }

    /// Returns the numbers and results of work that threads have done so far, in no order.
    pub(crate) fn ready(&mut self) -> impl Iterator<Item = (usize, T)> {
        self.threads
            .iter()
            .flat_map(|threads| threads.results.try_iter())
    }

    /// Returns the numbers and results of all other work that was given to threads, in order. No
    /// thread is left then.
    pub(crate) fn finish(&mut self) -> Vec<(usize, T)> {
        self.given = 0;
        let Some(threads) = self.threads.take() else {
            return Vec::new();
        };
        let Threads {
            jobs,
            waiting,
            results,
            handles,
        } = threads;
        drop(jobs);
        let mut finished = Vec::new();
        while let Some((number, work)) = next(&waiting) {
            finished.push((number, work(&mut self.buffer)));
        }
        for handle in handles {
            handle
                .join()
                .unwrap_or_else(|panic| panic::resume_unwind(panic));
        }
        finished.extend(results);
        finished.sort_unstable_by_key(|(number, _)| *number);
        finished
    }
}

impl<T: Send + 'static> Threads<T> {
    /// Starts one thread for each core beside the caller's that this process may run on. (A quota
    /// is shared by all threads and loses nothing by them.) The first that cannot be made, because
    /// of a limit on processes or seccomp, is the last that is tried.
    fn start() -> Self {
        let (jobs, waiting) = sync_channel(MAX_WAITING);
        let (sender, results) = channel();
        let waiting = Arc::new(Mutex::new(waiting));
        let start = |_| {
            let (waiting, results) = (Arc::clone(&waiting), sender.clone());
            thread::Builder::new()
                .stack_size(STACK)
                .spawn(move || work_off(&waiting, &results))
                .ok()
        };
        let handles = (0..other_cores().min(MAX_THREADS))
            .map_while(start)
            .collect();
        Self {
            jobs,
            waiting,
            results,
            handles,
        }
    }
}

/// Returns the number of cores beside one that this process may run on.
pub(crate) fn other_cores() -> usize {
    let count = |cores: CpuSet| {
        (0..CpuSet::count())
            .filter(|core| cores.is_set(*core) == Ok(true))
            .count()
    };
    sched_getaffinity(Pid::from_raw(0))
        .map_or(0, count)
        .saturating_sub(1)
}

/// Waits for the next job; `None` if none is left and none will come.
fn next<T>(waiting: &Waiting<T>) -> Option<(usize, Work<T>)> {
    let waiting = waiting.lock().unwrap_or_else(PoisonError::into_inner);
    waiting.recv().ok()
}

fn work_off<T>(waiting: &Waiting<T>, results: &Sender<(usize, T)>) {
    let mut buffer = Buffer::new();
    while let Some((number, work)) = next(waiting) {
        // A pool that was dropped needs no result.
        let _ = results.send((number, work(&mut buffer)));
    }
}

/// A pool that hashes files, in the caller or on threads.
#[derive(Debug)]
pub(crate) struct HashPool(Pool<io::Result<FileDigest>>);

impl HashPool {
    pub(crate) fn new() -> Self {
        Self(Pool::new())
    }

    /// Returns the hash of `file`, which has `size` bytes; `None` if [`Self::finish`] returns it.
    pub(crate) fn hash(&mut self, mut file: File, size: u64) -> Option<io::Result<FileDigest>> {
        self.0
            .work(size, move |buffer| FileDigest::of_reader(&mut file, buffer))
    }

    /// Returns the hashes that [`Self::hash`] did not, in that order. No thread is left then.
    pub(crate) fn finish(&mut self) -> Vec<io::Result<FileDigest>> {
        let finished = self.0.finish().into_iter();
        finished.map(|(_, hashed)| hashed).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Seek, Write};
    use std::iter;

    use super::*;

    /// Makes a file without a name, of `size` bytes that begin with `first`.
    fn file(first: u8, size: u64) -> io::Result<File> {
        let path =
            std::env::temp_dir().join(format!("sealinit-pool-{}-{first}", std::process::id()));
        let mut file = File::options()
            .read(true)
            .write(true)
            .create_new(true)
            .open(&path)?;
        std::fs::remove_file(path)?;
        file.write_all(&[first])?;
        file.set_len(size)?;
        file.rewind()?;
        Ok(file)
    }

    fn content(first: u8, size: u64) -> io::Result<FileDigest> {
        let bytes = [first]
            .into_iter()
            .chain(iter::repeat(0))
            .take(usize::try_from(size).map_err(io::Error::other)?);
        Ok(FileDigest::of(&bytes.collect::<Vec<_>>()))
    }

    #[test]
    fn hashes_come_in_the_order_of_the_files() -> io::Result<()> {
        // Less and more than threads are started for, long and short in turn.
        for unit in [SHORT, MUCH / 8] {
            let mut pool = HashPool::new();
            let (mut pending, mut expected) = (Vec::new(), Vec::new());
            for first in 1..25_u8 {
                let size = unit * (1 + u64::from(first) % 3);
                match pool.hash(file(first, size)?, size) {
                    Some(hashed) => assert_eq!(hashed?, content(first, size)?),
                    None => pending.push((first, size)),
                }
            }
            for (first, size) in pending {
                expected.push(content(first, size)?);
            }
            let hashed: Vec<_> = pool.finish().into_iter().collect::<io::Result<_>>()?;
            assert!(hashed == expected, "files of {unit} bytes and more");
            assert!(pool.0.threads.is_none());
        }
        Ok(())
    }

    #[test]
    fn little_work_starts_no_thread() -> io::Result<()> {
        let mut pool = HashPool::new();
        for (first, size) in [(101, MUCH), (102, SHORT - 1)] {
            let hashed = pool.hash(file(first, size)?, size);
            assert_eq!(hashed.transpose()?, Some(content(first, size)?));
        }
        assert!(pool.0.threads.is_none());
        assert_eq!(pool.finish().len(), 0);
        Ok(())
    }

    #[test]
    fn an_unreadable_file_is_an_error_in_its_place() -> io::Result<()> {
        let mut pool = HashPool::new();
        // Starts the threads.
        let mut failed = vec![pool.hash(file(103, SHORT)?, MUCH + 1)];
        failed.push(pool.hash(File::open("/")?, SHORT));
        failed.push(pool.hash(file(104, SHORT)?, SHORT));
        let mut later = pool.finish().into_iter();
        let failed: Vec<bool> = failed
            .into_iter()
            .map(|hashed| {
                hashed
                    .or_else(|| later.next())
                    .is_some_and(|hashed| hashed.is_err())
            })
            .collect();
        assert_eq!(failed, [false, true, false]);
        Ok(())
    }
}
