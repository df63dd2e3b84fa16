//! The fleet: ingests and workers as processes of their own, over a real PostgreSQL and a real RabbitMQ, and what becomes of the promise when any of
//! them dies, hangs or is taken away.

mod budget;
mod exactness;
mod outages;
mod starts;
