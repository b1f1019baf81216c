//! What sealinit says on standard error: one event a line, as `key=value` text or as JSON, without a time, which engines add.
//!
//! Never writes to standard output, which is the service's, and never fails: a log that is full or closed must not stop PID 1.

use std::fmt::{self, Write as _};
use std::io::{self, Write as _};
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use clap::ValueEnum;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use serde::Serializer;
use serde::ser::SerializeMap;
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::{Event, Level, Metadata, Subscriber, span};

use crate::digest::Digest;
pub(crate) use crate::digest::pin::PinStatus;
use crate::drift::{Drift, RenderedDrift};
use crate::error::Error;
use crate::escape::escaped;
use crate::plan::Protection;
use crate::sys;
use crate::sys::signal::Signal;

/// How events are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// `sealinit: info: sealed state=sealed …`
    Text,
    /// One object a line.
    Json,
}

/// The least severe events that are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogLevel {
    /// What stopped a start.
    Error,
    /// And what an operator should look at.
    Warn,
    /// And what every start did.
    Info,
    /// And how.
    Debug,
}

impl From<LogLevel> for Level {
    fn from(level: LogLevel) -> Self {
        match level {
            LogLevel::Error => Self::ERROR,
            LogLevel::Warn => Self::WARN,
            LogLevel::Info => Self::INFO,
            LogLevel::Debug => Self::DEBUG,
        }
    }
}

/// Sends events to standard error from now on.
pub(crate) fn install(format: LogFormat, level: LogLevel) {
    // That another logger is there already can only be in a test.
    let _ = tracing::subscriber::set_global_default(Log {
        format,
        level: level.into(),
    });
}

/// Writes each event as one line. There are no spans here, and so no registry for them: making one is the dearest thing that
/// a start that logs one line would do.
struct Log {
    format: LogFormat,
    level: Level,
}

impl Subscriber for Log {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= self.level
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(self.level.into())
    }

    fn event(&self, event: &Event<'_>) {
        let mut line = match self.format {
            LogFormat::Text => text(event).into_bytes(),
            LogFormat::Json => json(event).unwrap_or_default(),
        };
        line.push(b'\n');
        let _ = NonBlockingStderr.write_all(&line);
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

/// Standard error, as long as somebody reads it. A log that is full blocks its writer, and we may be PID 1.
struct NonBlockingStderr;

/// Milliseconds that a reader may let us wait; once, because it is the same reader for the next line.
const PATIENCE: u16 = 1000;

/// Whether the reader has let us wait that long.
static STUCK: AtomicBool = AtomicBool::new(false);

impl io::Write for NonBlockingStderr {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        /// A pipe that is ready takes this much without blocking: `PIPE_BUF` of limits.h.
        const AT_ONCE: usize = 4096;
        let mut stderr = io::stderr();
        let patience = if STUCK.load(Ordering::Relaxed) {
            0
        } else {
            PATIENCE
        };
        let mut descriptors = [PollFd::new(stderr.as_fd(), PollFlags::POLLOUT)];
        if poll(&mut descriptors, PollTimeout::from(patience)) == Ok(0) {
            STUCK.store(true, Ordering::Relaxed);
            return Ok(bytes.len()); // dropped: there is nobody to tell
        }
        let written = stderr.write(&bytes[..bytes.len().min(AT_ONCE)]);
        if written
            .as_ref()
            .is_err_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
        {
            // It waits, blocked, and would hit the service, which has written nothing.
            sys::forget_signal(Signal::PIPE);
        }
        written
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// `sealinit: level: message key=value …`
fn text(event: &Event<'_>) -> String {
    let level = match *event.metadata().level() {
        Level::ERROR => "error",
        Level::WARN => "warning",
        Level::INFO => "info",
        _ => "debug",
    };
    let mut line = Line::default();
    event.record(&mut line);
    format!("sealinit: {level}: {}{}", line.message, line.fields)
}

#[derive(Default)]
struct Line {
    message: String,
    fields: String,
}

impl Visit for Line {
    // No event has one, and to write them takes a hundredth of the program.
    fn record_f64(&mut self, _: &Field, _: f64) {}

    fn record_str(&mut self, field: &Field, value: &str) {
        self.record_debug(field, &format_args!("{value}"));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let value = format!("{value:?}");
        // Writing to a string does not fail.
        let _ = match field.name() {
            "message" => write!(self.message, "{value}"),
            name if value.is_empty() || value.contains([' ', '"', '=']) => {
                write!(self.fields, " {name}=\"{}\"", value.replace('"', "\\\""))
            }
            name => write!(self.fields, " {name}={value}"),
        };
    }
}

/// `{"level":"ERROR","message":"…","key":"value",…}`
fn json(event: &Event<'_>) -> serde_json::Result<Vec<u8>> {
    let mut line = Vec::new();
    let mut serializer = serde_json::Serializer::new(&mut line);
    let mut object = Object(serializer.serialize_map(None)?);
    object
        .0
        .serialize_entry("level", event.metadata().level().as_str())?;
    event.record(&mut object);
    object.0.end()?;
    Ok(line)
}

/// Writing to memory does not fail.
struct Object<M>(M);

impl<M: SerializeMap> Visit for Object<M> {
    fn record_f64(&mut self, _: &Field, _: f64) {}

    fn record_u64(&mut self, field: &Field, value: u64) {
        let _ = self.0.serialize_entry(field.name(), &value);
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        let _ = self.0.serialize_entry(field.name(), value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let _ = self.0.serialize_entry(field.name(), &format!("{value:?}"));
    }
}

/// What a start was: each logs exactly one of these.
#[derive(Debug)]
pub(crate) struct Summary {
    /// When, on the monotonic clock.
    started: Instant,
    pub(crate) digest: Option<Digest>,
    pub(crate) pin: PinStatus,
    pub(crate) lock: Protection,
    pub(crate) entries: usize,
    logged: bool,
}

impl Summary {
    /// Of a start that begins now, and of which nothing is known yet.
    pub(crate) fn begin() -> Self {
        Self {
            started: Instant::now(),
            digest: None,
            pin: PinStatus::None,
            lock: Protection::None,
            entries: 0,
            logged: false,
        }
    }

    /// Logs that the service runs now, in which state of configuration.
    pub(crate) fn log(&mut self, state: &'static str) {
        self.logged = true;
        let Fields {
            digest,
            pin,
            lock,
            entries,
            ms,
        } = self.fields();
        tracing::info!(state, digest, pin, lock, entries, ms, "{state}");
    }

    /// Logs everything that stopped the start, and that it was refused.
    pub(crate) fn log_refusal(&self, errors: &[Error]) {
        for error in errors {
            match error {
                Error::Drift(drift) => log_drifts(Level::ERROR, [drift]),
                Error::CheckFailed { output, .. } => {
                    for line in output {
                        tracing::error!("check: {line}");
                    }
                    tracing::error!("{error}");
                }
                error => tracing::error!("{error}"),
            }
        }
        // That the kernel refused the exec itself changes nothing about what has been said of the configuration.
        if self.logged {
            return;
        }
        let drifted = errors.iter().any(|error| matches!(error, Error::Drift(_)));
        let message = if drifted {
            "refused: the disk differs from the seal; undo the change or recreate the container"
        } else {
            "refused: the service was not started"
        };
        let Fields {
            digest,
            pin,
            lock,
            entries,
            ms,
        } = self.fields();
        tracing::error!(
            state = "refused",
            digest,
            pin,
            lock,
            entries,
            ms,
            "{message}"
        );
    }

    fn fields(&self) -> Fields {
        Fields {
            digest: self
                .digest
                .map_or_else(|| "none".into(), |digest| digest.to_string()),
            pin: self.pin.name(),
            lock: self.lock.name(),
            entries: self.entries as u64,
            ms: u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX),
        }
    }
}

/// The summary's values as they are written.
struct Fields {
    digest: String,
    pin: &'static str,
    lock: &'static str,
    entries: u64,
    /// Milliseconds since this process began its work.
    ms: u64,
}

/// Logs differences between disk and seal.
pub(crate) fn log_drifts<'a>(level: Level, drifts: impl IntoIterator<Item = &'a Drift>) {
    for drift in drifts {
        let RenderedDrift {
            path,
            attribute,
            expected,
            found,
            ..
        } = drift.rendered();
        if level == Level::ERROR {
            tracing::error!(path, attribute, expected, found, "drift");
        } else {
            tracing::warn!(path, attribute, expected, found, "drift");
        }
    }
}

/// Logs that the mounted manifest is not the sealed one.
pub(crate) fn log_manifest_change(path: &Path) {
    let path = escaped(path).to_string();
    tracing::warn!(
        path,
        "the manifest is not the sealed one; the sealed configuration runs, and recreating the container applies the new one"
    );
}
