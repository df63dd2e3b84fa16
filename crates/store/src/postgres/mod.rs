//! The PostgreSQL arm: many processes, one truth. What SQLite gets from having one writer is done here with row locks, taken in one order.

mod read;
pub mod tx;
mod views;

use std::collections::BTreeMap;
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sha2::{Digest, Sha256};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{ConnectOptions, Executor, PgPool, Row};

use crate::Error;

/// Connections of one process.
const CONNECTIONS: u32 = 8;
/// How long somebody waits for a connection before the ledger counts as out of reach.
const ACQUIRE: Duration = Duration::from_secs(5);
/// A connection is replaced after this, so that a failover or a changed address is followed.
const LIFETIME: Duration = Duration::from_secs(600);
/// Statements that a connection keeps prepared.
const STATEMENTS: usize = 200;
/// The oldest server that this version knows.
const SERVER_MIN: i64 = 140_000;
/// Settings without which "committed" does not mean "on disk".
const DURABLE: [(&str, &[&str]); 3] =
    [("fsync", &["on"]), ("full_page_writes", &["on"]), ("synchronous_commit", &["on", "remote_write", "remote_apply", "local"])];
/// The key of the lock under which the ledger is migrated.
const MIGRATING: i64 = 0x6f6e_6365_7761_7264;

/// Every migration, oldest first. A name never changes its text.
pub const MIGRATIONS: &[(&str, &str)] = &[("0001_ledger", include_str!("../../../../migrations/postgres/0001_ledger.sql"))];

/// A ledger in a PostgreSQL database.
#[derive(Clone)]
pub struct Postgres {
    pub(super) pool: PgPool,
    names: Arc<Mutex<BTreeMap<String, i64>>>,
    seen: Arc<Mutex<crate::views::Seen>>,
    retained: Arc<Mutex<crate::views::Progress>>,
}

impl Postgres {
    /// Connects, and refuses a server that could lose what it has committed.
    pub async fn open(url: &str) -> Result<Self, Error> {
        let options = PgConnectOptions::from_str(url)
            .map_err(|_| Error::Refused("the ledger's URL cannot be read: write `postgres://USER:PASSWORD@HOST:PORT/DATABASE`".into()))?
            .application_name("onceward")
            .statement_cache_capacity(STATEMENTS)
            .disable_statement_logging();
        let pool = PgPoolOptions::new()
            .max_connections(CONNECTIONS)
            .acquire_timeout(ACQUIRE)
            .max_lifetime(LIFETIME)
            .after_connect(|conn, _| {
                Box::pin(async move {
                    // Limits that hold even if this process hangs with a transaction open.
                    conn.execute(
                        "set statement_timeout = '30s'; set lock_timeout = '10s'; set idle_in_transaction_session_timeout = '15s'; \
                         set default_transaction_isolation = 'read committed'",
                    )
                    .await
                    .map(drop)
                })
            })
            .after_release(|conn, _| {
                Box::pin(async move {
                    // A transaction whose beginning was given up half-way may still be open (traps.md, 3).
                    conn.execute("begin; rollback").await?;
                    Ok(true)
                })
            })
            .connect_with(options)
            .await?;
        let postgres = Self { pool, names: Arc::default(), seen: Arc::default(), retained: Arc::default() };
        postgres.check_server().await?;
        Ok(postgres)
    }

    async fn check_server(&self) -> Result<(), Error> {
        let version: i64 = sqlx::query("select current_setting('server_version_num')::bigint").fetch_one(&self.pool).await?.try_get(0)?;
        if version < SERVER_MIN {
            return Err(Error::Refused(format!("PostgreSQL {} is too old: 14 or newer is needed", version / 10_000)));
        }
        for (setting, safe) in DURABLE {
            let held: String = sqlx::query("select current_setting($1)").bind(setting).fetch_one(&self.pool).await?.try_get(0)?;
            if !safe.contains(&held.as_str()) {
                return Err(Error::Refused(format!(
                    "PostgreSQL runs with {setting} = {held}, so that it can lose what it has committed: set it to `{}`",
                    safe[0]
                )));
            }
        }
        Ok(())
    }

    /// The numbers of these names, made where they are new.
    pub async fn names(&self, wanted: &[&str]) -> Result<Names, Error> {
        let missing: Vec<String> = {
            let known = self.names.lock().unwrap_or_else(PoisonError::into_inner);
            wanted.iter().filter(|name| !known.contains_key(**name)).map(|name| (*name).to_owned()).collect()
        };
        if !missing.is_empty() {
            sqlx::query("insert into name (text) select distinct t from unnest($1::text[]) t order by t on conflict do nothing")
                .bind(&missing)
                .execute(&self.pool)
                .await?;
            let rows = sqlx::query("select text, id from name where text = any($1)").bind(&missing).fetch_all(&self.pool).await?;
            let made = rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?))).collect::<Result<Vec<_>, Error>>()?;
            self.names.lock().unwrap_or_else(PoisonError::into_inner).extend(made);
        }
        let known = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(Names(wanted.iter().filter_map(|name| known.get(*name).map(|id| ((*name).to_owned(), *id))).collect()))
    }

    /// The migrations that this database lacks.
    pub async fn pending(&self) -> Result<Vec<String>, Error> {
        let there: bool = sqlx::query("select to_regclass('migration') is not null").fetch_one(&self.pool).await?.try_get(0)?;
        let applied: Vec<String> = if there {
            let rows = sqlx::query("select name from migration").fetch_all(&self.pool).await?;
            rows.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?
        } else {
            Vec::new()
        };
        if let Some(newer) = applied.iter().find(|name| !MIGRATIONS.iter().any(|(known, _)| known == name)) {
            return Err(Error::Refused(format!(
                "the ledger was migrated to {newer} by a newer version: start that version, or restore a backup"
            )));
        }
        Ok(MIGRATIONS.iter().map(|(name, _)| (*name).to_owned()).filter(|name| !applied.contains(name)).collect())
    }

    /// Applies what is missing, each migration in one transaction; one process at a time.
    pub async fn migrate(&self) -> Result<Vec<String>, Error> {
        let mut applied = Vec::new();
        for (name, text) in MIGRATIONS {
            let mut transaction = self.pool.begin().await?;
            sqlx::query("select pg_advisory_xact_lock($1)").bind(MIGRATING).execute(&mut *transaction).await?;
            sqlx::query("create table if not exists migration (name text primary key, sha256 bytea not null)")
                .execute(&mut *transaction)
                .await?;
            let done = sqlx::query("select 1 from migration where name = $1").bind(*name).fetch_optional(&mut *transaction).await?;
            if done.is_none() {
                sqlx::raw_sql(*text).execute(&mut *transaction).await?;
                let digest = Sha256::digest(text.as_bytes());
                sqlx::query("insert into migration (name, sha256) values ($1, $2)")
                    .bind(*name)
                    .bind(digest.as_slice())
                    .execute(&mut *transaction)
                    .await?;
                applied.push((*name).to_owned());
            }
            transaction.commit().await?;
        }
        self.pending().await?;
        Ok(applied)
    }

    /// A number for this process's ids, another one at each start, and the largest id that the ledger holds.
    pub async fn instance(&self) -> Result<(u16, i64), Error> {
        let row = sqlx::query(
            "select nextval('instance'), greatest((select max(id) from raw_event), (select max(id) from event), (select max(id) from call), \
             (select max(id) from record), (select max(id) from rejected), (select max(id) from replay), 0)",
        )
        .fetch_one(&self.pool)
        .await?;
        let number: i64 = row.try_get(0)?;
        Ok((u16::try_from(number).unwrap_or_default(), row.try_get(1)?))
    }

    /// Makes the configuration's sources and mappings known.
    pub async fn register(&self, now: i64, sources: &[&str], mappings: &[(String, String)]) -> Result<(), Error> {
        let names = self.names(sources).await?;
        let ids: Vec<i64> = sources.iter().map(|source| names.id(source)).collect::<Result<_, _>>()?;
        sqlx::query(
            "insert into source (name_id, first_seen_at) select id, $2 from unnest($1::bigint[]) id order by id on conflict do nothing",
        )
        .bind(ids)
        .bind(now)
        .execute(&self.pool)
        .await?;
        for (version, text) in mappings {
            sqlx::query("insert into mapping (version, text, first_seen_at) values ($1, $2, $3) on conflict do nothing")
                .bind(version)
                .bind(text)
                .bind(now)
                .execute(&self.pool)
                .await?;
        }
        Ok(())
    }
}

/// Names and their numbers, for one operation.
pub struct Names(BTreeMap<String, i64>);

impl Names {
    /// A name's number. Every name that an operation uses was asked for before it began.
    pub fn id(&self, name: &str) -> Result<i64, Error> {
        self.0.get(name).copied().ok_or_else(|| Error::Refused(format!("the name `{name}` was not registered before it was used")))
    }
}
