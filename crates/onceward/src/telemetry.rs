//! Logs and metrics.

use std::io::{self, IsTerminal as _, Write};

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tracing_subscriber::EnvFilter;

/// Upper bounds in seconds: fine around the milliseconds of an accept, wide enough for a delivery that waited a day.
const SECONDS_BUCKETS: [f64; 18] =
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 3_600.0, 86_400.0];
/// Upper bounds for counts of records in a call.
const COUNT_BUCKETS: [f64; 9] = [1.0, 2.0, 5.0, 10.0, 20.0, 40.0, 80.0, 120.0, 200.0];

/// Starts logging to standard error: text on a terminal, else one JSON object a line.
///
/// What is logged follows `ONCEWARD_LOG`, else `RUST_LOG`, else `default`. A filter that cannot be read is reported and
/// replaced by the default.
pub fn log(default: &str) {
    let wanted = ["ONCEWARD_LOG", "RUST_LOG"].into_iter().find_map(|name| std::env::var(name).ok().filter(|text| !text.is_empty()));
    let filter = wanted.as_deref().map(|text| EnvFilter::try_new(text).map_err(|error| (text.to_owned(), error)));
    let (filter, wrong) = match filter {
        Some(Ok(filter)) => (filter, None),
        Some(Err(wrong)) => (EnvFilter::new(default), Some(wrong)),
        None => (EnvFilter::new(default), None),
    };
    let builder = tracing_subscriber::fmt().with_env_filter(filter);
    if io::stderr().is_terminal() {
        builder.with_writer(|| OneLine(io::stderr())).with_ansi(false).with_target(false).init();
    } else {
        builder.with_writer(io::stderr).json().flatten_event(true).with_current_span(false).with_span_list(false).init();
    }
    if let Some((text, error)) = wrong {
        tracing::warn!(filter = text, %error, "the log filter cannot be read; logging `{default}` instead");
    }
}

/// Collects metrics; the console shows them.
///
/// # Errors
///
/// Metrics are collected already.
pub fn metrics() -> Result<PrometheusHandle, String> {
    let recorder = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &SECONDS_BUCKETS)
        .and_then(|builder| builder.set_buckets_for_metric(Matcher::Full("onceward_crm_records_per_call".to_owned()), &COUNT_BUCKETS))
        .map_err(|error| error.to_string())?
        .build_recorder();
    let handle = recorder.handle();
    metrics::set_global_recorder(recorder).map_err(|error| error.to_string())?;
    metrics::gauge!("onceward_build_info", "version" => env!("CARGO_PKG_VERSION")).set(1.0);
    Ok(handle)
}

/// Writes each event as one line whatever is in it: a line break or an escape sequence in a value cannot pose as log or
/// steer a terminal.
struct OneLine<W>(W);

impl<W: Write> Write for OneLine<W> {
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(event);
        let mut line = String::with_capacity(text.len() + 1);
        for letter in text.trim_end_matches('\n').chars() {
            if letter.is_control() { line.extend(letter.escape_default()) } else { line.push(letter) }
        }
        line.push('\n');
        self.0.write_all(line.as_bytes())?;
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_stays_one_line_and_cannot_steer_a_terminal() {
        let mut out = Vec::new();
        OneLine(&mut out).write_all("a\nb\u{1b}[31m\u{9b}c\n".as_bytes()).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), "a\\nb\\u{1b}[31m\\u{9b}c\n");
    }
}
