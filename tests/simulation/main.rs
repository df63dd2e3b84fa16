//! Worlds from seeds: the real intake, the real worker steps and the real sandbox on the memory ledger, with workers
//! that die and stall, answers that get lost, writes that land late, vendors that send twice, and clocks that jump.
//!
//! `ONCEWARD_WORLDS` sets how many worlds are run (default 2,000), `ONCEWARD_SEED` runs one of them and tells its story.

mod check;
mod setup;
mod shelf;
mod world;

use world::World;

/// Seeds that once failed, run first.
const CORPUS: &[u64] = &[];
const WORLDS_DEFAULT: u64 = 2_000;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name} must be a number, found `{text}`")))
}

/// Runs a world to its end; a broken invariant prints how to see it again.
fn live(seed: u64, tell: bool) -> world::Tally {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| runtime.block_on(World::new(seed, tell).live())));
    outcome.unwrap_or_else(|broken| {
        eprintln!("\nworld {seed} is broken; see it again with:\n  ONCEWARD_SEED={seed} cargo nextest run -p onceward-tests --test simulation --no-capture\n");
        std::panic::resume_unwind(broken)
    })
}

#[test]
fn every_world_ends_well() {
    if let Some(seed) = number("ONCEWARD_SEED") {
        live(seed, true);
        return;
    }
    let worlds = number("ONCEWARD_WORLDS").unwrap_or(WORLDS_DEFAULT);
    let mut tally = world::Tally::default();
    for seed in CORPUS.iter().copied().chain(0..worlds) {
        tally.add(&live(seed, false));
    }
    println!("{worlds} worlds: {tally:#?}");
    if worlds >= WORLDS_DEFAULT {
        tally.assert_lively();
    }
}
