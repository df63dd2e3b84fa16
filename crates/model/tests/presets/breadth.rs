//! Vendors of payments, shops, identity, support, development and chat, and what is generic.

mod keyed;
mod meaning;
mod other;
mod published;

use model::preset::sample;

use super::harness::Row;

/// When the requests come, in seconds since 1970.
const NOW: i64 = 1_700_000_000;

pub fn rows() -> Vec<Row> {
    [published::rows(), keyed::rows(), other::rows()].concat()
}

/// A row with the preset's own sample.
fn sampled(preset: &'static str, secret: &str) -> Row {
    Row::new(preset, secret).at(NOW).body(sample(preset).unwrap().body)
}
