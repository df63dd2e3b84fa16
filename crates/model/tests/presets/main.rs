//! Every preset against vectors: the vendor's published one where there is one, else one that the test computes from the vendor's
//! formula with plain `hmac`, `sha2` and `ring`.
//!
//! Rows lie in one file a group. [`harness::check`] puts each through everything that must be refused, reads the preset's sample twice, and
//! once more with another id.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test stops where something is missing")]

extern crate onceward_model as model;

mod breadth;
mod first;
mod harness;
mod lead;
mod lead_samples;

use std::collections::BTreeSet;

use harness::check;
use model::preset::{preset, presets};

#[test]
fn the_first_presets_accept_what_is_genuine_and_nothing_else() {
    check(first::rows());
}

#[test]
fn the_lead_intake_presets_accept_what_is_genuine_and_nothing_else() {
    check(lead::rows());
}

#[test]
fn the_other_presets_accept_what_is_genuine_and_nothing_else() {
    check(breadth::rows());
}

#[test]
fn every_preset_that_is_not_disabled_has_a_vector() {
    let rows = [first::rows(), lead::rows(), breadth::rows()].concat();
    let held: BTreeSet<&str> = rows.iter().map(|row| row.preset).collect();
    let enabled = |name: &&str| preset(name).is_some_and(|preset| preset.is_ok_and(|preset| preset.disabled.is_none()));
    let without: Vec<&str> = presets().map(|(name, _)| name).filter(enabled).filter(|name| !held.contains(name)).collect();
    assert_eq!(without, Vec::<&str>::new(), "these presets have no row");
    let published: BTreeSet<&str> = rows.iter().filter(|row| row.is_published()).map(|row| row.preset).collect();
    for (name, _) in presets() {
        let says = preset(name).unwrap().unwrap().confidence.as_str() == "published";
        assert_eq!(says, published.contains(name), "{name}: `confidence = \"published\"` and a row with the vendor's vector go together");
    }
}
