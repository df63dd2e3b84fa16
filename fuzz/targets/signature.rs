//! Requests of a stranger's choice: no panic, and none is taken without the key.

#![no_main]
#![allow(dead_code, reason = "each target drives one of the functions")]

#[path = "../../crates/model/tests/fuzzing/targets.rs"]
mod targets;

libfuzzer_sys::fuzz_target!(|data: &[u8]| targets::signature(data));
