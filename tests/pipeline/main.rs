//! The whole way with real parts: the executable as a process of its own, real sockets, and a CRM that misbehaves on request.

mod bad_inputs;
mod bad_meaning;
mod catch_up;
mod checking;
mod commands;
mod dead_letters;
mod economy;
mod exactness;
mod families;
mod fetching;
mod finance;
mod first_light;
mod hubspot;
mod outages;
mod power_cuts;
mod reconcile;
mod rejected;
mod secrecy;
mod sources;
