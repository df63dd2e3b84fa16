//! An empty ledger beside the real one, on the same server and with the same settings: for measuring what the database takes.

use std::time::Duration;

use super::Postgres;
use super::pool::Pool;
use crate::{Error, Options};

/// Connections of whoever measures.
const CONNECTIONS: u32 = 2;
const WAIT: Duration = Duration::from_secs(10);

impl Postgres {
    /// A ledger in a schema of its own, which must not be there yet.
    pub async fn scratch(url: &str, options: Options, schema: &str) -> Result<Self, Error> {
        if options.pgbouncer {
            return Err(Error::Refused(
                "an empty ledger beside the real one cannot be had through PgBouncer: name the server itself".into(),
            ));
        }
        let pool = Pool::of(url, options, CONNECTIONS, WAIT)?;
        let mut tx = pool.begin().await?;
        tx.run(sqlx::query(sqlx::AssertSqlSafe(format!("create schema {}", quoted(schema))))).await?;
        tx.commit().await?;
        let pool = pool.within(&quoted(schema));
        Ok(Self::over(pool))
    }

    /// Takes it away again, with everything in it.
    pub async fn remove_scratch(&self, schema: &str) -> Result<(), Error> {
        let mut tx = self.pool.begin().await?;
        tx.run(sqlx::query(sqlx::AssertSqlSafe(format!("drop schema {} cascade", quoted(schema))))).await?;
        tx.commit().await
    }
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', ""))
}
