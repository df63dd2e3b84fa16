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

use rusqlite::{Connection, OpenFlags, params};
use sha2::{Digest, Sha256};
use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::sync::{Mutex, OwnedMutexGuard, Semaphore};

use self::row::{all, one, optional, run};
use crate::Error;
use crate::migration::{Applied, Migration, lacking};

/// Bounds of memory: pages of the writer and of each reader, in KiB.
const WRITER_CACHE_KIB: u32 = 16_000;
const READER_CACHE_KIB: u32 = 2_000;
const READERS: usize = 3;
/// How long a read waits for its turn, and a statement for another process that has the file.
const PATIENCE: Duration = Duration::from_secs(5);
/// Statements that a connection keeps prepared.
const STATEMENTS: usize = 200;
/// Versions before this one can corrupt a WAL file (sqlite.org/wal.html#walresetbug).
const SQLITE_MIN: [u32; 3] = [3, 51, 3];

/// Every migration, oldest first. A name never changes its text.
pub const MIGRATIONS: &[Migration] = &[
    Migration { name: "0001_ledger", text: include_str!("../../../../migrations/sqlite/0001_ledger.sql"), additive: false },
    Migration { name: "0002_drift", text: include_str!("../../../../migrations/sqlite/0002_drift.sql"), additive: true },
    Migration { name: "0003_catch_up", text: include_str!("../../../../migrations/sqlite/0003_catch_up.sql"), additive: true },
    Migration { name: "0004_lanes", text: include_str!("../../../../migrations/sqlite/0004_lanes.sql"), additive: true },
    Migration { name: "0005_reconcile", text: include_str!("../../../../migrations/sqlite/0005_reconcile.sql"), additive: true },
];

/// An open ledger file.
#[derive(Clone)]
pub struct Sqlite {
    writer: Arc<Mutex<Connection>>,
    readers: Arc<Readers>,
    names: Arc<StdMutex<BTreeMap<String, i64>>>,
    seen: Arc<StdMutex<crate::views::Seen>>,
    retained: Arc<StdMutex<crate::views::Progress>>,
    // Held for its lock: two processes on one file would both believe that they are the only one.
    _lock: Option<Arc<File>>,
}

/// Connections that read, made as they are needed.
struct Readers {
    path: PathBuf,
    turns: Semaphore,
    idle: StdMutex<Vec<Connection>>,
}

/// Runs what blocks on this thread, while others go on with what this one would have done.
pub fn in_place<T>(blocking: impl FnOnce() -> T) -> T {
    if has_others() { tokio::task::block_in_place(blocking) } else { blocking() }
}

/// Whether another thread can take over from this one; a runtime of one thread has none.
pub fn has_others() -> bool {
    Handle::try_current().is_ok_and(|handle| handle.runtime_flavor() == RuntimeFlavor::MultiThread)
}

impl Sqlite {
    /// Opens the file, and creates it and its folder where they are missing.
    pub fn open(path: &Path) -> Result<Self, Error> {
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            std::fs::create_dir_all(folder).map_err(|error| Error::Unavailable(format!("{}: {error}", folder.display())))?;
        }
        let lock = exclusive(path)?;
        let conn = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE, WRITER_CACHE_KIB)?;
        // The pages' size is set before anything is written; FULL: a commit is on disk when it is answered, where NORMAL may lose the last
        // ones with the power.
        conn.execute_batch("pragma page_size = 8192; pragma journal_mode = wal; pragma synchronous = full")?;
        check_version(&conn)?;
        Ok(Self::with(conn, path, Some(Arc::new(lock))))
    }

    /// Opens the file for reading beside a process that may be writing, or after it has gone.
    pub fn open_read_only(path: &Path) -> Result<Self, Error> {
        if !path.exists() {
            return Err(Error::Refused(format!(
                "there is no ledger at {}: start onceward there first, or name another with --config or --data",
                path.display()
            )));
        }
        Ok(Self::with(connect(path, OpenFlags::SQLITE_OPEN_READ_ONLY, READER_CACHE_KIB)?, path, None))
    }

    fn with(conn: Connection, path: &Path, lock: Option<Arc<File>>) -> Self {
        let readers = Readers { path: path.to_owned(), turns: Semaphore::new(READERS), idle: StdMutex::default() };
        Self {
            writer: Arc::new(Mutex::new(conn)),
            readers: Arc::new(readers),
            names: Arc::default(),
            seen: Arc::default(),
            retained: Arc::default(),
            _lock: lock,
        }
    }

    /// The writer, as soon as it is free, with no transaction open.
    pub async fn writer(&self) -> OwnedMutexGuard<Connection> {
        Arc::clone(&self.writer).lock_owned().await
    }

    /// Looks at one moment of the ledger, through a connection that holds up nobody who writes.
    pub async fn read<T>(&self, look: impl FnOnce(&Connection) -> Result<T, Error>) -> Result<T, Error> {
        let turn = tokio::time::timeout(PATIENCE, self.readers.turns.acquire()).await;
        let Ok(Ok(_turn)) = turn else {
            return Err(Error::Unavailable(format!("{READERS} others have been reading for {} s", PATIENCE.as_secs())));
        };
        in_place(|| {
            let idle = self.readers.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
            let mut conn = match idle {
                Some(conn) => conn,
                None => connect(&self.readers.path, OpenFlags::SQLITE_OPEN_READ_ONLY, READER_CACHE_KIB)?,
            };
            let moment = conn.transaction()?;
            let seen = look(&moment)?;
            moment.commit()?;
            self.readers.idle.lock().unwrap_or_else(PoisonError::into_inner).push(conn);
            Ok(seen)
        })
    }

    /// Writes what belongs together.
    pub async fn write<T>(&self, change: impl FnOnce(&Connection) -> Result<T, Error>) -> Result<T, Error> {
        let mut writer = self.writer().await;
        in_place(|| {
            let transaction = writer.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
            let done = change(&transaction)?;
            transaction.commit()?;
            Ok(done)
        })
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
            let made =
                self.write(|conn| missing.into_iter().map(|name| Ok((number(conn, &name)?, name))).collect::<Result<Vec<_>, Error>>());
            let made = made.await?;
            self.names.lock().unwrap_or_else(PoisonError::into_inner).extend(made.iter().map(|(id, name)| (name.clone(), *id)));
            found.extend(made.into_iter().map(|(id, name)| (name, id)));
        }
        Ok(Names(found))
    }

    /// The migrations that this file lacks.
    pub async fn pending(&self) -> Result<Vec<String>, Error> {
        let applied = self.read(|conn| match optional(conn, "select 1 from sqlite_schema where name = 'migration'", params![])? {
            None => Ok(Vec::new()),
            Some(_) => {
                let rows = all(conn, "select name, additive from migration", params![])?;
                rows.iter().map(|row| Ok(Applied { name: row.at(0)?, additive: row.at::<i64>(1)? != 0 })).collect()
            }
        });
        let applied: Vec<Applied> = applied.await?;
        lacking(MIGRATIONS, &applied)
    }

    /// Applies what is missing, each migration in one transaction.
    pub async fn migrate(&self) -> Result<Vec<String>, Error> {
        let table = "create table if not exists migration (name text primary key, sha256 blob not null, additive integer not null) strict";
        self.write(|conn| run(conn, table, params![])).await?;
        let pending = self.pending().await?;
        for migration in MIGRATIONS.iter().filter(|migration| pending.iter().any(|missing| missing == migration.name)) {
            self.write(|conn| {
                conn.execute_batch(migration.text)?;
                let digest = Sha256::digest(migration.text.as_bytes());
                let sql = "insert into migration (name, sha256, additive) values (?, ?, ?)";
                run(conn, sql, params![migration.name, digest.as_slice(), migration.additive])
            })
            .await?;
        }
        Ok(pending)
    }

    /// The largest id that the ledger holds.
    pub async fn largest_id(&self) -> Result<i64, Error> {
        let sql = "select max(coalesce((select max(id) from raw_event), 0), coalesce((select max(id) from event), 0), coalesce((select max(id) from call), 0), \
                   coalesce((select max(id) from record), 0), coalesce((select max(id) from rejected), 0), coalesce((select max(id) from replay), 0), \
                   coalesce((select max(id) from catch_up), 0), coalesce((select max(id) from reconciliation), 0))";
        self.read(|conn| one(conn, sql, params![])?.at(0)).await
    }

    /// Makes the configuration's sources and mappings known: a source that is gone later is still known, and an event shows the mapping that made it.
    pub async fn register(&self, now: i64, sources: &[&str], mappings: &[(String, String)]) -> Result<(), Error> {
        let names = self.names(sources).await?;
        self.write(|conn| {
            for source in sources {
                let sql = "insert into source (name_id, first_seen_at) values (?, ?) on conflict do nothing";
                run(conn, sql, params![names.id(source)?, now])?;
            }
            for (version, text) in mappings {
                let sql = "insert into mapping (version, text, first_seen_at) values (?, ?, ?) on conflict do nothing";
                run(conn, sql, params![version, text, now])?;
            }
            Ok(())
        })
        .await
    }

    /// The leases of whoever held this file before are void: with the lock in hand, nobody else is alive.
    pub async fn void_leases(&self, now: i64) -> Result<u64, Error> {
        self.write(|conn| {
            run(conn, "delete from lease", params![])?;
            run(conn, "update catch_up set lease_holder = null, lease_until = null where state = 0", params![])?;
            run(conn, "update reconciliation set lease_holder = null, lease_until = null where state = 0", params![])?;
            run(conn, "update record set wake_at = ? where state = 3", params![now])
        })
        .await
    }
}

/// A name's number; it gets one if it has none.
fn number(conn: &Connection, name: &str) -> Result<i64, Error> {
    run(conn, "insert into name (text) values (?) on conflict do nothing", params![name])?;
    one(conn, "select id from name where text = ?", params![name])?.at(0)
}

/// Names and their numbers, for one operation.
pub struct Names(BTreeMap<String, i64>);

impl Names {
    /// A name's number. Every name that an operation uses was asked for before it began.
    pub fn id(&self, name: &str) -> Result<i64, Error> {
        self.0.get(name).copied().ok_or_else(|| Error::Refused(format!("the name `{name}` was not registered before it was used")))
    }
}

fn connect(path: &Path, flags: OpenFlags, cache_kib: u32) -> Result<Connection, Error> {
    let conn = Connection::open_with_flags(path, flags | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    conn.busy_timeout(PATIENCE)?;
    conn.set_prepared_statement_cache_capacity(STATEMENTS);
    // Foreign keys off: the ledger's logic writes parents first, tests check every key, and each check costs a look-up per row.
    conn.execute_batch(&format!("pragma foreign_keys = off; pragma cache_size = -{cache_kib}"))?;
    Ok(conn)
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

fn check_version(conn: &Connection) -> Result<(), Error> {
    let version: String = one(conn, "select sqlite_version()", params![])?.at(0)?;
    let numbers: Vec<u32> = version.split('.').filter_map(|part| part.parse().ok()).collect();
    if numbers.as_slice() < SQLITE_MIN.as_slice() {
        return Err(Error::Refused(format!(
            "SQLite {version} can corrupt its write-ahead log; 3.51.3 or newer is needed: build with the bundled one"
        )));
    }
    Ok(())
}
