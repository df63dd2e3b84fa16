//! What people look at, on SQLite.
