//! Threads that hash open files, made when there is much to hash and more than one core to do it on.
//!
//! Never opens, looks at or judges a file: what acts as somebody else, and what has an order, is left to the one thread that asks.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::mem;
use std::panic;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use nix::sched::{CpuSet, sched_getaffinity};
use nix::unistd::Pid;

use crate::digest::{Buffer, FileDigest};

/// A shorter file is hashed at once: there is little to gain, and who asks would have to remember each.
const SHORT: u64 = 16 * 1024;

/// Threads are made when there is more than this to hash, of which a single one takes milliseconds.
const MUCH: u64 = 8 * 1024 * 1024;

/// Threads, each with an open file and 64 KiB to read it into: more would gain little and take more than a small container has.
const MAX_THREADS: usize = 7;

/// Open files that wait: enough for each thread to find one while ours hashes, and few beside the descriptors that a process may have.
const MAX_WAITING: usize = 8;

/// Hashing takes a few hundred bytes of it.
const STACK: usize = 128 * 1024;

/// Hashes files, sooner or later.
#[derive(Debug)]
pub(crate) struct HashPool {
    buffer: Buffer,
    queue: Arc<Queue>,
    threads: Vec<JoinHandle<()>>,
    /// The size of all files that are not short.
    bytes: u64,
}

impl HashPool {
    pub(crate) fn new() -> Self {
        Self {
            buffer: Buffer::new(),
            queue: Arc::default(),
            threads: Vec::new(),
            bytes: 0,
        }
    }

    /// The content of `file`, which has `size` bytes; `None` if [`finish`](Self::finish) gives it.
    pub(crate) fn hash(&mut self, mut file: File, size: u64) -> Option<io::Result<FileDigest>> {
        if size < SHORT {
            return Some(FileDigest::of_reader(&mut file, &mut self.buffer));
        }
        let was_little = self.bytes <= MUCH;
        self.bytes = self.bytes.saturating_add(size);
        if was_little && self.bytes > MUCH {
            self.threads = start_threads(&self.queue);
        }
        self.queue.put(file, size, &mut self.buffer);
        None
    }

    /// What [`hash`](Self::hash) did not give, in that order. No thread is left then.
    pub(crate) fn finish(&mut self) -> Vec<io::Result<FileDigest>> {
        self.queue.end();
        self.queue.work(&mut self.buffer);
        for thread in self.threads.drain(..) {
            thread
                .join()
                .unwrap_or_else(|panic| panic::resume_unwind(panic));
        }
        mem::take(&mut self.queue.lock().hashed)
    }
}

/// One for each core beside ours that we may run on (a quota is shared by all threads and loses nothing by them); the first that cannot be made (a limit on processes, seccomp) is the last that is tried.
fn start_threads(queue: &Arc<Queue>) -> Vec<JoinHandle<()>> {
    let is_ours = |cores: CpuSet| {
        (0..CpuSet::count())
            .filter(|core| cores.is_set(*core) == Ok(true))
            .count()
    };
    let others = sched_getaffinity(Pid::from_raw(0))
        .map_or(0, is_ours)
        .saturating_sub(1);
    let start = |_| {
        let queue = Arc::clone(queue);
        thread::Builder::new()
            .stack_size(STACK)
            .spawn(move || queue.work(&mut Buffer::new()))
            .ok()
    };
    (0..others.min(MAX_THREADS)).map_while(start).collect()
}

/// Files on their way to the threads, and their contents on the way back.
#[derive(Debug, Default)]
struct Queue {
    state: Mutex<State>,
    /// A file came, or the end.
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<Job>,
    /// One for each file there has been; an error until it is hashed.
    hashed: Vec<io::Result<FileDigest>>,
    /// How many threads wait for one.
    idle: usize,
    ended: bool,
}

#[derive(Debug)]
struct Job {
    /// Its place in what is hashed.
    number: usize,
    file: File,
    size: u64,
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a file. Where there is no room for it, hashes the shortest: so the threads get the long ones, and soon the next.
    fn put(&self, file: File, size: u64, buffer: &mut Buffer) {
        let mut state = self.lock();
        let number = state.hashed.len();
        state.hashed.push(Err(io::ErrorKind::Other.into()));
        state.waiting.push_back(Job { number, file, size });
        if state.idle > 0 {
            self.changed.notify_one();
        }
        if state.waiting.len() > MAX_WAITING
            && let Some((shortest, _)) = state
                .waiting
                .iter()
                .enumerate()
                .min_by_key(|(_, job)| job.size)
            && let Some(job) = state.waiting.remove(shortest)
        {
            drop(state);
            drop(self.hash(job, buffer));
        }
    }

    /// No more files will come.
    fn end(&self) {
        let mut state = self.lock();
        state.ended = true;
        if state.idle > 0 {
            self.changed.notify_all();
        }
    }

    /// Hashes what waits, and what comes, until the end.
    fn work(&self, buffer: &mut Buffer) {
        let mut state = self.lock();
        loop {
            if let Some(job) = state.waiting.pop_front() {
                drop(state);
                state = self.hash(job, buffer);
            } else if state.ended {
                return;
            } else {
                state.idle += 1;
                state = self
                    .changed
                    .wait(state)
                    .unwrap_or_else(PoisonError::into_inner);
                state.idle -= 1;
            }
        }
    }

    fn hash(
        &self,
        Job {
            number, mut file, ..
        }: Job,
        buffer: &mut Buffer,
    ) -> MutexGuard<'_, State> {
        let content = FileDigest::of_reader(&mut file, buffer);
        drop(file);
        let mut state = self.lock();
        state.hashed[number] = content;
        state
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Seek, Write};
    use std::iter;

    use super::*;

    /// A file without a name, of `size` bytes that begin with `first`.
    fn file(first: u8, size: u64) -> io::Result<File> {
        let path =
            std::env::temp_dir().join(format!("sealinit-hashers-{}-{first}", std::process::id()));
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
    fn contents_come_in_the_order_of_the_files_whoever_hashes_them() -> io::Result<()> {
        // Less and more than what threads are made for, long and short in turn.
        for unit in [SHORT, MUCH / 8] {
            let mut hashers = HashPool::new();
            let files: Vec<(u8, u64)> = (1..25)
                .map(|first| (first, unit * (1 + u64::from(first) % 3)))
                .collect();
            for (first, size) in &files {
                assert!(hashers.hash(file(*first, *size)?, *size).is_none());
            }
            let hashed: Vec<_> = hashers.finish().into_iter().collect::<io::Result<_>>()?;
            let expected: Vec<_> = files
                .into_iter()
                .map(|(first, size)| content(first, size))
                .collect::<io::Result<_>>()?;
            assert!(hashed == expected, "files of {unit} bytes and more");
            assert!(hashers.threads.is_empty());
        }
        Ok(())
    }

    #[test]
    fn a_short_file_is_hashed_at_once_and_little_makes_no_thread() -> io::Result<()> {
        let mut hashers = HashPool::new();
        assert!(hashers.hash(file(101, MUCH)?, MUCH).is_none());
        let short = hashers.hash(file(102, SHORT - 1)?, SHORT - 1);
        assert_eq!(short.transpose()?, Some(content(102, SHORT - 1)?));
        assert!(hashers.threads.is_empty());
        assert_eq!(hashers.finish().len(), 1);
        Ok(())
    }

    #[test]
    fn what_cannot_be_read_is_an_error_in_its_place() -> io::Result<()> {
        let mut hashers = HashPool::new();
        assert!(hashers.hash(file(103, SHORT)?, SHORT).is_none());
        assert!(hashers.hash(File::open("/")?, MUCH + 1).is_none());
        assert!(hashers.hash(file(104, SHORT)?, SHORT).is_none());
        let failed: Vec<bool> = hashers.finish().iter().map(Result::is_err).collect();
        assert_eq!(failed, [false, true, false]);
        Ok(())
    }
}
