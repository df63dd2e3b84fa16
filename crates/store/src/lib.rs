//! The only code that knows SQL.
//!
//! The ledger: what was accepted, what became of it, what is to be done. One concrete [`Store`] over SQLite, PostgreSQL and, for
//! simulation, memory. An operation loads the rows of a whole batch, lets `model` decide, and writes the rows; the statements are
//! in one folder a database, the operations above them. Business times are arguments.

/// An operation, begun anew as long as another process was faster.
macro_rules! again {
    ($operation:expr) => {{
        let mut raced = 0;
        loop {
            match $operation {
                Err($crate::Error::Raced(_)) if raced < $crate::RACES_MAX => raced += 1,
                Err($crate::Error::Raced(what)) => break Err($crate::Error::Unavailable(what)),
                done => break done,
            }
        }
    }};
}

mod catch_up;
mod columns;
mod drift;
mod error;
mod intake;
pub mod memory;
mod migration;
mod people;
mod postgres;
mod reconcile;
mod rejected;
pub mod rows;
mod sqlite;
mod tx;
pub mod types;
mod views;
mod work;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use model::{DeliveryId, IdGenerator, Time};

pub use catch_up::{AskedCatchUp, CatchUpRow, CatchUpState, Listing, NewCatchUp, PageEnd, SCHEDULE};
pub use drift::DriftRow;
pub use error::Error;
pub use intake::Scratch;
pub use people::audit_hash;
pub use reconcile::{
    Account, AskedReconciliation, Finding, Look, NewReconciliation, Noted, Reconciled, ReconciliationRow, ReconciliationState,
};
pub use types::*;
pub use work::{Advanced, Call, Ended, Enriching, Entry, Finished, Kind, Work};

use postgres::Postgres;
use sqlite::Sqlite;
use tx::Tx;

/// How often an operation is begun anew because another process was faster.
const RACES_MAX: u32 = 10;

/// The ledger.
#[derive(Clone)]
pub struct Store {
    arm: Arm,
    ids: Arc<Mutex<IdGenerator>>,
    waited_us: Arc<AtomicU64>,
    /// Whether ids are its own yet: on a server shared with others, nothing is written before.
    joined: Arc<AtomicBool>,
    swept: Arc<Mutex<BTreeMap<String, DeliveryId>>>,
}

#[derive(Clone)]
enum Arm {
    Sqlite(Sqlite),
    Postgres(Postgres),
    Memory(memory::Memory),
}

/// How a ledger is opened, beyond its URL. On SQLite none of it matters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// PgBouncer stands before the server and hands connections from transaction to transaction: nothing is kept prepared, and no setting outlives its
    /// transaction. It costs a parse for each statement.
    pub pgbouncer: bool,
    /// A server that can lose what it has committed is warned about and not refused.
    pub allow_unsafe: bool,
}

impl Store {
    /// Opens a ledger: `sqlite:PATH`, whose file and folder are made where they are missing, or `postgres://…`. Its migrations are not applied.
    /// A server is not connected to before there is something to ask it, so that it may still be on its way up.
    ///
    /// # Errors
    ///
    /// [`Error::Refused`] for another kind of URL, another process on the file, or an SQLite that is too old; [`Error::Unavailable`] if the file cannot be
    /// opened.
    pub async fn open(url: &str) -> Result<Self, Error> {
        Self::open_with(url, Options::default()).await
    }

    /// As [`Store::open`], in another way than the usual one.
    ///
    /// # Errors
    ///
    /// As [`Store::open`].
    pub async fn open_with(url: &str, options: Options) -> Result<Self, Error> {
        if is_postgres(url) {
            return Ok(Self::over(Arm::Postgres(Postgres::open(url, options)?)));
        }
        Ok(Self::over(Arm::Sqlite(Sqlite::open(Path::new(path_of(url)?))?)))
    }

    /// Opens a ledger for reading, beside a process that writes to it or after it has gone.
    ///
    /// # Errors
    ///
    /// As [`Store::open`]; also if there is none yet.
    pub async fn open_read_only(url: &str, options: Options) -> Result<Self, Error> {
        // A server serves many, so that nobody has to stand back.
        if is_postgres(url) {
            return Self::open_with(url, options).await;
        }
        Ok(Self::over(Arm::Sqlite(Sqlite::open_read_only(Path::new(path_of(url)?))?)))
    }

    /// An empty ledger in memory, for simulation: it does what the others do, and keeps nothing.
    pub fn memory() -> Self {
        Self::over(Arm::Memory(memory::Memory::default()))
    }

    /// The same ledger through at most so many connections of its own, each waited for so long: whoever is busy here keeps nobody there waiting. Ids
    /// and names are shared. On SQLite and in memory, where one process writes in turn, it is this very ledger.
    #[must_use]
    pub fn apart(&self, connections: u32, wait: Duration) -> Self {
        let arm = match &self.arm {
            Arm::Postgres(postgres) => Arm::Postgres(postgres.apart(connections, wait)),
            Arm::Sqlite(_) | Arm::Memory(_) => self.arm.clone(),
        };
        Self { arm, ..self.clone() }
    }

    /// The time that counts for everybody on this ledger, to the microsecond, as the database says it; `None` where one process is alone with it and its
    /// own clock counts.
    ///
    /// # Errors
    ///
    /// The ledger cannot be reached.
    pub async fn clock(&self) -> Result<Option<Time>, Error> {
        match &self.arm {
            Arm::Postgres(postgres) => postgres.clock().await.map(Some),
            Arm::Sqlite(_) | Arm::Memory(_) => Ok(None),
        }
    }

    /// T13: notes that this worker lives, and takes over from those that do not: records whose holder has said goodbye, or has not been seen for 10 s, come
    /// due at once, as if their leases were over. Every worker does it every 2 s. Returns how many records were taken over.
    ///
    /// On SQLite and in memory, where one process is alone with the ledger, there is nobody to take over from.
    ///
    /// # Errors
    ///
    /// The ledger cannot be written.
    pub async fn heartbeat(&self, now: Time, holder: &str) -> Result<u64, Error> {
        match &self.arm {
            Arm::Postgres(postgres) => again!(postgres.heartbeat(now, holder).await),
            Arm::Sqlite(_) | Arm::Memory(_) => Ok(0),
        }
    }

    /// This worker has ended: what it still holds is taken over with the next heartbeat of anybody.
    ///
    /// # Errors
    ///
    /// The ledger cannot be written.
    pub async fn goodbye(&self, holder: &str) -> Result<(), Error> {
        match &self.arm {
            Arm::Postgres(postgres) => postgres.goodbye(holder).await,
            Arm::Sqlite(_) | Arm::Memory(_) => Ok(()),
        }
    }

    fn over(arm: Arm) -> Self {
        Self {
            arm,
            ids: Arc::new(Mutex::new(IdGenerator::new(0, 0))),
            waited_us: Arc::default(),
            joined: Arc::default(),
            swept: Arc::default(),
        }
    }

    /// How long requests have waited for other work of this process on the ledger since this was last asked. Whoever has work that can
    /// wait gives the time back.
    pub fn take_waited(&self) -> Duration {
        Duration::from_micros(self.waited_us.swap(0, Ordering::Relaxed))
    }

    /// The tables of a memory ledger, for checking invariants; `None` for a database.
    pub async fn tables(&self) -> Option<tokio::sync::OwnedMutexGuard<memory::Tables>> {
        match &self.arm {
            Arm::Memory(memory) => Some(memory.lock().await),
            Arm::Sqlite(_) | Arm::Postgres(_) => None,
        }
    }

    /// Begins work on a migrated ledger: ids go on above the largest one, the leases of whoever held it before are void, and what the configuration names
    /// is known to it. Returns how many records the process before had in hand; on PostgreSQL, where others may be at work, heartbeats see to those.
    ///
    /// # Errors
    ///
    /// The ledger cannot be read or written. [`Error::Refused`]: the server is too old, or could lose what it has committed.
    pub async fn begin_work(
        &self,
        now: Time,
        sources: &[&str],
        destinations: &[&str],
        mappings: &[(String, String)],
    ) -> Result<u64, Error> {
        let mut voided = 0;
        match &self.arm {
            Arm::Sqlite(sqlite) => {
                self.go_on_above(0, sqlite.largest_id().await?);
                voided = sqlite.void_leases(now.0).await?;
                sqlite.register(now.0, sources, mappings).await?;
            }
            Arm::Postgres(postgres) => {
                postgres.check_server().await?;
                let (instance, floor) = postgres.instance().await?;
                self.go_on_above(instance, floor);
                postgres.register(now.0, sources, mappings).await?;
            }
            Arm::Memory(_) => {}
        }
        self.joined.store(true, Ordering::Release);
        let mut tx = self.begin(destinations).await?;
        for destination in destinations {
            if tx.hold_destination(destination).await?.is_none() {
                tx.put_destination(destination, &model::destination::Destination::default()).await?;
            }
        }
        tx.commit().await?;
        Ok(voided)
    }

    fn go_on_above(&self, instance: u16, floor: i64) {
        *self.ids.lock().unwrap_or_else(PoisonError::into_inner) = IdGenerator::new(instance, floor);
    }

    /// An id for a row that the caller makes.
    pub fn next_id(&self, now: Time) -> i64 {
        self.ids.lock().unwrap_or_else(PoisonError::into_inner).next_id(now)
    }

    /// Runs an operation to its end. SQLite's statements block, so all of them run on one thread, which is not one of those that serve
    /// requests; and whoever no longer waits for the operation does not cut it off half-way.
    async fn whole<T>(&self, operation: impl Future<Output = T>) -> T {
        match &self.arm {
            Arm::Sqlite(_) if sqlite::has_others() => sqlite::in_place(|| tokio::runtime::Handle::current().block_on(operation)),
            Arm::Sqlite(_) | Arm::Postgres(_) | Arm::Memory(_) => operation.await,
        }
    }

    async fn begin(&self, names: &[&str]) -> Result<Tx, Error> {
        Ok(match &self.arm {
            Arm::Sqlite(sqlite) => Tx::Sqlite(Box::new(sqlite::tx::Tx::begin(sqlite, names).await?)),
            Arm::Postgres(_) if !self.joined.load(Ordering::Acquire) => {
                return Err(Error::Unavailable("this process has not begun its work on the ledger yet".into()));
            }
            Arm::Postgres(postgres) => Tx::Postgres(Box::new(postgres::tx::Tx::begin(postgres, names).await?)),
            Arm::Memory(memory) => Tx::Memory(memory::Tx::begin(memory).await),
        })
    }

    /// The migrations that the ledger lacks. For readiness. Additive ones of a newer version are none of this one's business.
    ///
    /// # Errors
    ///
    /// The ledger cannot be read, or a newer version has migrated it in a way that this one cannot live with.
    pub async fn pending_migrations(&self) -> Result<Vec<String>, Error> {
        match &self.arm {
            Arm::Sqlite(sqlite) => sqlite.pending().await,
            Arm::Postgres(postgres) => postgres.pending().await,
            Arm::Memory(_) => Ok(Vec::new()),
        }
    }

    /// Applies the migrations that the ledger lacks, each in one transaction, and returns their names.
    ///
    /// # Errors
    ///
    /// The ledger cannot be written, or a newer version has migrated it. [`Error::Refused`]: the server is too old, or could lose what it has committed.
    pub async fn migrate(&self) -> Result<Vec<String>, Error> {
        match &self.arm {
            Arm::Sqlite(sqlite) => sqlite.migrate().await,
            Arm::Postgres(postgres) => postgres.migrate().await,
            Arm::Memory(_) => Ok(Vec::new()),
        }
    }

    /// Whether the ledger takes writes right now. For readiness.
    ///
    /// # Errors
    ///
    /// What stands in the way.
    pub async fn writable(&self) -> Result<(), Error> {
        let tx = self.begin(&[]).await?;
        tx.commit().await
    }
}

fn is_postgres(url: &str) -> bool {
    url.starts_with("postgres://") || url.starts_with("postgresql://")
}

fn path_of(url: &str) -> Result<&str, Error> {
    let path = url.strip_prefix("sqlite:").map(|path| path.strip_prefix("//").unwrap_or(path));
    path.filter(|path| !path.is_empty())
        .ok_or_else(|| Error::Refused("the ledger's URL is not one that this version knows: write `sqlite:PATH/onceward.db` or `postgres://USER:PASSWORD@HOST/DATABASE`".into()))
}
