//! Connections, and the transactions that everything on PostgreSQL happens in.

use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use sqlx::postgres::{PgArguments, PgConnectOptions, PgPoolOptions, PgRow};
use sqlx::query::Query;
use sqlx::{ConnectOptions, Executor, PgPool, Postgres as Pg, Row, SqlSafeStr, Transaction};

use crate::{Error, Options};

/// A connection is replaced after this, so that a failover or a changed address is followed.
const LIFETIME: Duration = Duration::from_secs(600);
/// Statements that a connection keeps prepared.
const STATEMENTS: usize = 200;
/// The oldest server that this version knows.
const SERVER_MIN: i64 = 140_000;
/// Settings without which "committed" does not mean "on disk".
const DURABLE: [(&str, &[&str]); 3] =
    [("fsync", &["on"]), ("full_page_writes", &["on"]), ("synchronous_commit", &["on", "remote_write", "remote_apply", "local"])];

/// Limits that hold even if this process hangs with a transaction open.
const LIMITS: [(&str, &str); 6] = [
    ("statement_timeout", "30s"),
    ("lock_timeout", "10s"),
    ("idle_in_transaction_session_timeout", "15s"),
    ("default_transaction_isolation", "read committed"),
    // Its compiler takes longer than any of our statements.
    ("jit", "off"),
    // What is written is found through an index. A plan that was made while a table was small would go on reading all of it.
    ("enable_seqscan", "off"),
];
macro_rules! limited {
    ($begin:literal, $enable_seqscan:literal) => {
        concat!(
            $begin,
            "; set local statement_timeout = '30s'; set local lock_timeout = '10s'; set local idle_in_transaction_session_timeout = '15s'; ",
            "set local jit = off; set local enable_seqscan = ",
            $enable_seqscan
        )
    };
}
/// As [`LIMITS`], where no setting may outlive its transaction: the connection is somebody else's after it.
const BEGIN_LIMITED: &str = limited!("begin isolation level read committed", "off");
/// Who looks may want all of a table.
const MOMENT: &str = "begin isolation level repeatable read, read only; set local enable_seqscan = on";
const MOMENT_LIMITED: &str = limited!("begin isolation level repeatable read, read only", "on");

/// A statement with its values.
pub type Statement<'q> = Query<'q, Pg, PgArguments>;

/// How connections are made, and those that there are.
#[derive(Clone)]
pub struct Pool {
    pool: PgPool,
    connect: Arc<PgConnectOptions>,
    options: Options,
}

impl Pool {
    /// Reads the URL. Nobody is connected to before there is something to ask.
    pub fn of(url: &str, options: Options, connections: u32, wait: Duration) -> Result<Self, Error> {
        let connect = PgConnectOptions::from_str(url)
            .map_err(|_| Error::Refused("the ledger's URL cannot be read: write `postgres://USER:PASSWORD@HOST:PORT/DATABASE`".into()))?
            .application_name("onceward")
            .disable_statement_logging();
        let connect = if options.pgbouncer {
            // It passes on none of these, and refuses connections that ask.
            connect.statement_cache_capacity(0).extra_float_digits(None)
        } else {
            connect.statement_cache_capacity(STATEMENTS).options(LIMITS)
        };
        Ok(Self { pool: lazy(connect.clone(), connections, wait), connect: Arc::new(connect), options })
    }

    /// Other connections to the same database.
    pub fn apart(&self, connections: u32, wait: Duration) -> Self {
        Self { pool: lazy((*self.connect).clone(), connections, wait), ..self.clone() }
    }

    /// Connections to the same database that see one schema only.
    pub fn within(&self, schema: &str) -> Self {
        let connect = (*self.connect).clone().options([("search_path", schema)]);
        let (connections, wait) = (self.pool.options().get_max_connections(), self.pool.options().get_acquire_timeout());
        Self { pool: lazy(connect.clone(), connections, wait), connect: Arc::new(connect), options: self.options }
    }

    /// Begins a transaction.
    pub async fn begin(&self) -> Result<Begun, Error> {
        let tx = if self.options.pgbouncer { self.pool.begin_with(BEGIN_LIMITED).await? } else { self.pool.begin().await? };
        Ok(self.begun(tx))
    }

    /// Begins a transaction that reads one moment.
    pub async fn moment(&self) -> Result<Begun, Error> {
        let tx = self.pool.begin_with(if self.options.pgbouncer { MOMENT_LIMITED } else { MOMENT }).await?;
        Ok(self.begun(tx))
    }

    fn begun(&self, tx: Transaction<'static, Pg>) -> Begun {
        Begun { tx, prepared: !self.options.pgbouncer }
    }

    /// Refuses a server that is too old, or that could lose what it has committed.
    pub async fn check_server(&self) -> Result<(), Error> {
        let mut tx = self.begin().await?;
        let version: i64 = tx.one(sqlx::query("select current_setting('server_version_num')::bigint")).await?.try_get(0)?;
        if version < SERVER_MIN {
            return Err(Error::Refused(format!("PostgreSQL {} is too old: 14 or newer is needed", version / 10_000)));
        }
        for (setting, safe) in DURABLE {
            let held: String = tx.one(sqlx::query("select current_setting($1)").bind(setting)).await?.try_get(0)?;
            if safe.contains(&held.as_str()) {
                continue;
            }
            if !self.options.allow_unsafe {
                return Err(Error::Refused(format!(
                    "PostgreSQL runs with {setting} = {held}, so that it can lose what it has committed: set it to `{}`",
                    safe[0]
                )));
            }
            tracing::warn!(setting, held, safe = safe[0], "PostgreSQL can lose what it has committed, and what was accepted with it");
        }
        Ok(())
    }
}

fn lazy(connect: PgConnectOptions, connections: u32, wait: Duration) -> PgPool {
    PgPoolOptions::new()
        .max_connections(connections.max(1))
        .acquire_timeout(wait)
        .max_lifetime(LIFETIME)
        .after_release(|conn, _| {
            Box::pin(async move {
                // A transaction whose beginning was given up half-way may still be open (traps.md, 3).
                conn.execute("begin; rollback").await?;
                Ok(true)
            })
        })
        .connect_lazy_with(connect)
}

/// A transaction that has begun; dropped without a commit, it is rolled back. Every statement goes through here: behind PgBouncer one that is outside
/// of a transaction, or that is prepared under a name, meets another connection than the one it was prepared on.
pub struct Begun {
    tx: Transaction<'static, Pg>,
    prepared: bool,
}

impl Begun {
    pub async fn all(&mut self, statement: Statement<'_>) -> Result<Vec<PgRow>, Error> {
        Ok(statement.persistent(self.prepared).fetch_all(&mut *self.tx).await?)
    }

    pub async fn optional(&mut self, statement: Statement<'_>) -> Result<Option<PgRow>, Error> {
        Ok(statement.persistent(self.prepared).fetch_optional(&mut *self.tx).await?)
    }

    pub async fn one(&mut self, statement: Statement<'_>) -> Result<PgRow, Error> {
        Ok(statement.persistent(self.prepared).fetch_one(&mut *self.tx).await?)
    }

    /// Returns how many rows it changed.
    pub async fn run(&mut self, statement: Statement<'_>) -> Result<u64, Error> {
        Ok(statement.persistent(self.prepared).execute(&mut *self.tx).await?.rows_affected())
    }

    /// Statements without values.
    pub async fn script(&mut self, text: impl SqlSafeStr) -> Result<(), Error> {
        Ok(sqlx::raw_sql(text).execute(&mut *self.tx).await.map(drop)?)
    }

    pub async fn commit(self) -> Result<(), Error> {
        Ok(self.tx.commit().await?)
    }
}
