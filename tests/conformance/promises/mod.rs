//! The promises.

pub mod accept;
pub mod catch_up;
pub mod deliver;
pub mod doubt;
pub mod enrich;
pub mod family;
pub mod pace;
pub mod people;
pub mod quota;
pub mod reconcile;
pub mod refuse;
pub mod remove;
