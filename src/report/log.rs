//! The log on standard error: one event a line, as `key=value` text or as JSON.
//!
//! Standard output is left to the service. A log that is full or closed does not stop PID 1.

use std::fmt::{self, Write as _};

use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::format::{DefaultFields, Format, Json, JsonFields, Writer};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use crate::report::stderr::NonBlockingStderr;

/// The format of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LogFormat {
    /// `sealinit: info: sealed state=sealed ...`
    Text,
    /// One object a line, with a time and the program's name.
    Json,
}

/// The least severe events that are logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LogLevel {
    Error,
    Warn,
    Info,
    Debug,
}

impl From<LogLevel> for LevelFilter {
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
pub(crate) fn init(format: LogFormat, level: LogLevel) {
    let builder = tracing_subscriber::fmt()
        .with_max_level(level)
        .with_writer(|| NonBlockingStderr)
        // An internal error is one of standard error, and its report there could block.
        .log_internal_errors(false);
    // Fails only if there is a subscriber already, which only a test could have set.
    let _ = match format {
        LogFormat::Text => {
            tracing::subscriber::set_global_default(builder.event_format(TextEvent).finish())
        }
        LogFormat::Json => tracing::subscriber::set_global_default(
            builder
                .json()
                .flatten_event(true)
                .with_target(false)
                .with_current_span(false)
                .with_span_list(false)
                .map_event_format(JsonEvent)
                .finish(),
        ),
    };
}

/// `sealinit: level: message key=value ...`, without a time, which engines add.
struct TextEvent;

impl<S> FormatEvent<S, DefaultFields> for TextEvent
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    fn format_event(
        &self,
        _: &FmtContext<'_, S, DefaultFields>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let level = match *event.metadata().level() {
            Level::ERROR => "error",
            Level::WARN => "warning",
            Level::INFO => "info",
            _ => "debug",
        };
        let mut line = TextLine::default();
        event.record(&mut line);
        writeln!(writer, "sealinit: {level}: {}{}", line.message, line.fields)
    }
}

#[derive(Default)]
struct TextLine {
    message: String,
    fields: String,
}

impl Visit for TextLine {
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

/// `{"program":"sealinit","timestamp":"...","level":"ERROR","message":"...","key":"value",...}`
struct JsonEvent(Format<Json>);

impl<S> FormatEvent<S, JsonFields> for JsonEvent
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    JsonFields: for<'a> FormatFields<'a>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, JsonFields>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut object = String::new();
        self.0
            .format_event(context, Writer::new(&mut object), event)?;
        let members = object.strip_prefix('{').ok_or(fmt::Error)?;
        write!(writer, "{{\"program\":\"sealinit\",{members}")
    }
}
