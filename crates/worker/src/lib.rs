//! The only code that delivers.
//!
//! For each destination one loop: settle what came back, claim what is due, make the calls, wait for a wakeup, a call's end or the next due
//! time. What is true is in the ledger; a worker that dies loses nothing but time.

mod bell;
pub mod catch_up;
mod engine;
mod metrics;
mod overdue;
pub mod reconcile;
mod run;

pub use catch_up::CatchUp;
pub use engine::{Engine, Target, To};
pub use reconcile::Reconcile;
pub use run::{Settings, run};
