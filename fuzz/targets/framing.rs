//! Kept requests: what was packed unpacks, what was not does no harm.

#![no_main]
#![allow(dead_code, reason = "each target drives one of the functions")]

#[path = "../../crates/model/tests/fuzzing/targets.rs"]
mod targets;

libfuzzer_sys::fuzz_target!(|data: &[u8]| targets::framing(data));
