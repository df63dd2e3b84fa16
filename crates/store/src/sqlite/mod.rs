//! The SQLite arm: one file, one writer connection, a few readers. Everything in it happens in one process.

mod read;
mod row;
#[macro_use]
pub mod tx;
mod views;

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex as StdMutex, PoisonError};
use std::time::Duration;

use sha2::{Digest, Sha256};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{ConnectOptions, Connection, Row, SqliteConnection, SqlitePool};
use tokio::sync::{Mutex, OwnedMutexGuard};

use crate::Error;

/// Bounds of memory: pages of the writer and of each reader, in KiB.
const WRITER_CACHE_KIB: &str = "-16000";
const READER_CACHE_KIB: &str = "-2000";
const READERS: u32 = 3;
/// Versions before this one can corrupt a WAL file (sqlite.org/wal.html#walresetbug).
const SQLITE_MIN: [u32; 3] = [3, 51, 3];

/// Every migration, oldest first. A name never changes its text.
pub const MIGRATIONS: &[(&str, &str)] = &[("0001_ledger", include_str!("../../../../migrations/sqlite/0001_ledger.sql"))];

/// An open ledger file.
#[derive(Clone)]
pub struct Sqlite {
    writer: Arc<Mutex<Writer>>,
    pub(super) readers: SqlitePool,
    names: Arc<StdMutex<BTreeMap<String, i64>>>,
    seen: Arc<StdMutex<views::Seen>>,
    retained: Arc<StdMutex<views::Progress>>,
    // Held for its lock: two processes on one file would both believe that they are the only one.
    _lock: Option<Arc<File>>,
}

/// The one connection that writes.
pub struct Writer {
    pub(super) conn: SqliteConnection,
    /// A transaction was begun and not ended: its future was dropped half-way.
    pub(super) in_transaction: bool,
}

impl Sqlite {
    /// Opens the file, and creates it and its folder where they are missing.
    pub async fn open(path: &Path) -> Result<Self, Error> {
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            std::fs::create_dir_all(folder).map_err(|error| Error::Unavailable(format!("{}: {error}", folder.display())))?;
        }
        let lock = exclusive(path)?;
        let options = options(path).create_if_missing(true).pragma("cache_size", WRITER_CACHE_KIB);
        let mut conn = options.connect().await?;
        check_version(&mut conn).await?;
        Self::with(conn, path, Some(Arc::new(lock))).await
    }

    /// Opens the file for reading beside a process that may be writing, or after it has gone.
    pub async fn open_read_only(path: &Path) -> Result<Self, Error> {
        if !path.exists() {
            return Err(Error::Refused(format!(
                "there is no ledger at {}: start onceward there first, or name another with --config or --data",
                path.display()
            )));
        }
        let conn = options(path).read_only(true).connect().await?;
        Self::with(conn, path, None).await
    }

    async fn with(conn: SqliteConnection, path: &Path, lock: Option<Arc<File>>) -> Result<Self, Error> {
        let reading = options(path).read_only(true).pragma("cache_size", READER_CACHE_KIB);
        let readers = SqlitePoolOptions::new()
            .max_connections(READERS)
            .min_connections(0)
            .acquire_timeout(Duration::from_secs(5))
            .connect_lazy_with(reading);
        let writer = Arc::new(Mutex::new(Writer { conn, in_transaction: false }));
        Ok(Self { writer, readers, names: Arc::default(), seen: Arc::default(), retained: Arc::default(), _lock: lock })
    }

    /// The writer, as soon as it is free, with no transaction open.
    pub async fn writer(&self) -> Result<OwnedMutexGuard<Writer>, Error> {
        let mut writer = Arc::clone(&self.writer).lock_owned().await;
        if writer.in_transaction {
            sqlx::query("rollback").execute(&mut writer.conn).await.ok();
            writer.in_transaction = false;
        }
        Ok(writer)
    }

    /// The numbers of these names, made where they are new.
    pub async fn names(&self, wanted: &[&str]) -> Result<Names, Error> {
        let mut found = BTreeMap::new();
        let mut missing = Vec::new();
        {
            let known = self.names.lock().unwrap_or_else(PoisonError::into_inner);
            for name in wanted {
                match known.get(*name) {
                    Some(id) => drop(found.insert((*name).to_owned(), *id)),
                    None => missing.push((*name).to_owned()),
                }
            }
        }
        if !missing.is_empty() {
            let mut writer = self.writer().await?;
            for name in missing {
                sqlx::query("insert into name (text) values (?) on conflict do nothing").bind(&name).execute(&mut writer.conn).await?;
                let id: i64 =
                    sqlx::query("select id from name where text = ?").bind(&name).fetch_one(&mut writer.conn).await?.try_get(0)?;
                self.names.lock().unwrap_or_else(PoisonError::into_inner).insert(name.clone(), id);
                found.insert(name, id);
            }
        }
        Ok(Names(found))
    }

    /// The migrations that this file lacks.
    pub async fn pending(&self) -> Result<Vec<String>, Error> {
        let mut reader = self.readers.acquire().await?;
        let there = sqlx::query("select 1 from sqlite_schema where name = 'migration'").fetch_optional(&mut *reader).await?;
        let applied: Vec<String> = match there {
            None => Vec::new(),
            Some(_) => {
                let rows = sqlx::query("select name from migration").fetch_all(&mut *reader).await?;
                rows.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?
            }
        };
        if let Some(newer) = applied.iter().find(|name| !MIGRATIONS.iter().any(|(known, _)| known == name)) {
            return Err(Error::Refused(format!(
                "the ledger was migrated to {newer} by a newer version: start that version, or restore a backup"
            )));
        }
        Ok(MIGRATIONS.iter().map(|(name, _)| (*name).to_owned()).filter(|name| !applied.contains(name)).collect())
    }

    /// Applies what is missing, each migration in one transaction.
    pub async fn migrate(&self) -> Result<Vec<String>, Error> {
        let mut writer = self.writer().await?;
        let conn = &mut writer.conn;
        sqlx::query("create table if not exists migration (name text primary key, sha256 blob not null) strict")
            .execute(&mut *conn)
            .await?;
        drop(writer);
        let pending = self.pending().await?;
        for (name, text) in MIGRATIONS.iter().filter(|(name, _)| pending.iter().any(|missing| missing == name)) {
            let mut writer = self.writer().await?;
            let mut transaction = writer.conn.begin_with("begin immediate").await?;
            sqlx::raw_sql(*text).execute(&mut *transaction).await?;
            let digest = Sha256::digest(text.as_bytes());
            sqlx::query("insert into migration (name, sha256) values (?, ?)")
                .bind(*name)
                .bind(digest.as_slice())
                .execute(&mut *transaction)
                .await?;
            transaction.commit().await?;
        }
        Ok(pending)
    }

    /// The largest id that the ledger holds.
    pub async fn largest_id(&self) -> Result<i64, Error> {
        let sql = "select max(coalesce((select max(id) from raw_event), 0), coalesce((select max(id) from event), 0), coalesce((select max(id) from call), 0), \
                   coalesce((select max(id) from record), 0), coalesce((select max(id) from rejected), 0), coalesce((select max(id) from replay), 0))";
        Ok(sqlx::query(sql).fetch_one(&self.readers).await?.try_get(0)?)
    }

    /// Makes the configuration's sources and mappings known: a source that is gone later is still known, and an event shows the mapping that made it.
    pub async fn register(&self, now: i64, sources: &[&str], mappings: &[(String, String)]) -> Result<(), Error> {
        let names = self.names(sources).await?;
        let mut writer = self.writer().await?;
        for source in sources {
            sqlx::query("insert into source (name_id, first_seen_at) values (?, ?) on conflict do nothing")
                .bind(names.id(source)?)
                .bind(now)
                .execute(&mut writer.conn)
                .await?;
        }
        for (version, text) in mappings {
            sqlx::query("insert into mapping (version, text, first_seen_at) values (?, ?, ?) on conflict do nothing")
                .bind(version)
                .bind(text)
                .bind(now)
                .execute(&mut writer.conn)
                .await?;
        }
        Ok(())
    }

    /// The leases of whoever held this file before are void: with the lock in hand, nobody else is alive.
    pub async fn void_leases(&self, now: i64) -> Result<u64, Error> {
        let mut writer = self.writer().await?;
        sqlx::query("delete from lease").execute(&mut writer.conn).await?;
        Ok(sqlx::query("update record set wake_at = ? where state = 3").bind(now).execute(&mut writer.conn).await?.rows_affected())
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

fn options(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .journal_mode(SqliteJournalMode::Wal)
        // FULL: a commit is on disk when it is answered. NORMAL may lose the last ones with the power.
        .synchronous(SqliteSynchronous::Full)
        .busy_timeout(Duration::from_secs(5))
        .page_size(8_192)
        // Off: the ledger's logic writes parents first, tests check every key, and each check costs a look-up per row.
        .foreign_keys(false)
        .statement_cache_capacity(200)
        .disable_statement_logging()
}

fn exclusive(path: &Path) -> Result<File, Error> {
    let mut beside: PathBuf = path.to_path_buf();
    beside.as_mut_os_string().push(".lock");
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&beside)
        .map_err(|error| Error::Unavailable(format!("{}: {error}", beside.display())))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(std::fs::TryLockError::WouldBlock) => Err(Error::Refused(format!(
            "another process has {} open: stop it first, or let this one use another ledger (an SQLite ledger serves one process)",
            path.display()
        ))),
        Err(std::fs::TryLockError::Error(error)) => Err(Error::Unavailable(format!("{}: {error}", beside.display()))),
    }
}

async fn check_version(conn: &mut SqliteConnection) -> Result<(), Error> {
    let version: String = sqlx::query("select sqlite_version()").fetch_one(conn).await?.try_get(0)?;
    let numbers: Vec<u32> = version.split('.').filter_map(|part| part.parse().ok()).collect();
    if numbers.as_slice() < SQLITE_MIN.as_slice() {
        return Err(Error::Refused(format!(
            "SQLite {version} can corrupt its write-ahead log; 3.51.3 or newer is needed: build with the bundled one"
        )));
    }
    Ok(())
}
