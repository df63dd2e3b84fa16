//! The PostgreSQL arm: many processes, one truth. What SQLite gets from having one writer is done here with row locks, taken in one order.

mod days;
mod migrate;
mod pool;
mod read;
mod scratch;
pub mod tx;
mod views;
mod workers;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use model::Time;
use sqlx::Row;

use crate::{Error, Options};
use pool::Pool;

/// Connections of one process, where it does not say otherwise.
const CONNECTIONS: u32 = 8;
/// How long somebody waits for a connection before the ledger counts as out of reach.
const ACQUIRE: Duration = Duration::from_secs(5);

/// A ledger in a PostgreSQL database.
#[derive(Clone)]
pub struct Postgres {
    pool: Pool,
    names: Arc<Mutex<BTreeMap<String, i64>>>,
    seen: Arc<Mutex<crate::views::Seen>>,
    retained: Arc<Mutex<crate::views::Progress>>,
    /// When the tables of days were last looked at.
    looked: Arc<Mutex<Option<Time>>>,
}

impl Postgres {
    /// Reads the URL; connects to nobody yet.
    pub fn open(url: &str, options: Options) -> Result<Self, Error> {
        Ok(Self::over(Pool::of(url, options, CONNECTIONS, ACQUIRE)?))
    }

    fn over(pool: Pool) -> Self {
        Self { pool, names: Arc::default(), seen: Arc::default(), retained: Arc::default(), looked: Arc::default() }
    }

    /// The same ledger through connections of its own.
    pub fn apart(&self, connections: u32, wait: Duration) -> Self {
        Self { pool: self.pool.apart(connections, wait), ..self.clone() }
    }

    /// Refuses a server that could lose what it has committed.
    pub async fn check_server(&self) -> Result<(), Error> {
        self.pool.check_server().await
    }

    /// The database's clock.
    pub async fn clock(&self) -> Result<Time, Error> {
        let mut tx = self.pool.begin().await?;
        let row = tx.one(sqlx::query("select (extract(epoch from clock_timestamp()) * 1000000)::bigint")).await?;
        Ok(Time(row.try_get(0)?))
    }

    /// The numbers of these names, made where they are new.
    pub async fn names(&self, wanted: &[&str]) -> Result<Names, Error> {
        let missing: Vec<String> = {
            let known = self.names.lock().unwrap_or_else(PoisonError::into_inner);
            wanted.iter().filter(|name| !known.contains_key(**name)).map(|name| (*name).to_owned()).collect()
        };
        if !missing.is_empty() {
            let mut tx = self.pool.begin().await?;
            let sql = "insert into name (text) select distinct t from unnest($1::text[]) t order by t on conflict do nothing";
            tx.run(sqlx::query(sql).bind(&missing)).await?;
            let rows = tx.all(sqlx::query("select text, id from name where text = any($1)").bind(&missing)).await?;
            tx.commit().await?;
            let made = rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?))).collect::<Result<Vec<_>, Error>>()?;
            self.names.lock().unwrap_or_else(PoisonError::into_inner).extend(made);
        }
        let known = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(Names(wanted.iter().filter_map(|name| known.get(*name).map(|id| ((*name).to_owned(), *id))).collect()))
    }

    /// A number for this process's ids, another one at each start, and the largest id that the ledger holds.
    pub async fn instance(&self) -> Result<(u16, i64), Error> {
        let sql = "select nextval('instance'), greatest((select max(id) from raw_event), (select max(id) from event), (select max(id) from call), \
                   (select max(id) from record), (select max(id) from rejected), (select max(id) from replay), (select max(id) from catch_up), \
                   (select max(id) from reconciliation), 0)";
        let mut tx = self.pool.begin().await?;
        let row = tx.one(sqlx::query(sql)).await?;
        tx.commit().await?;
        let number: i64 = row.try_get(0)?;
        Ok((u16::try_from(number).unwrap_or_default(), row.try_get(1)?))
    }

    /// Makes the configuration's sources and mappings known.
    pub async fn register(&self, now: i64, sources: &[&str], mappings: &[(String, String)]) -> Result<(), Error> {
        let names = self.names(sources).await?;
        let ids: Vec<i64> = sources.iter().map(|source| names.id(source)).collect::<Result<_, _>>()?;
        let mut tx = self.pool.begin().await?;
        let sql =
            "insert into source (name_id, first_seen_at) select id, $2 from unnest($1::bigint[]) id order by id on conflict do nothing";
        tx.run(sqlx::query(sql).bind(ids).bind(now)).await?;
        let sql = "insert into mapping (version, text, first_seen_at) select v.version, v.text, $3 from unnest($1::text[], $2::text[]) v (version, text) \
                   order by 1 on conflict do nothing";
        let (versions, texts): (Vec<&str>, Vec<&str>) = mappings.iter().map(|(version, text)| (version.as_str(), text.as_str())).unzip();
        tx.run(sqlx::query(sql).bind(versions).bind(texts).bind(now)).await?;
        tx.commit().await
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
