//! Migrations of a PostgreSQL ledger: one process at a time, whichever begins.

use sha2::{Digest, Sha256};
use sqlx::Row;

use super::Postgres;
use crate::Error;
use crate::migration::{Applied, Migration, lacking};

/// The key of the lock under which the ledger is migrated.
const MIGRATING: i64 = 0x6f6e_6365_7761_7264;

/// Every migration, oldest first. A name never changes its text.
pub const MIGRATIONS: &[Migration] = &[
    Migration { name: "0001_ledger", text: include_str!("../../../../migrations/postgres/0001_ledger.sql"), additive: false },
    Migration { name: "0002_drift", text: include_str!("../../../../migrations/postgres/0002_drift.sql"), additive: true },
    Migration { name: "0003_catch_up", text: include_str!("../../../../migrations/postgres/0003_catch_up.sql"), additive: true },
    Migration { name: "0004_lanes", text: include_str!("../../../../migrations/postgres/0004_lanes.sql"), additive: true },
    Migration { name: "0005_reconcile", text: include_str!("../../../../migrations/postgres/0005_reconcile.sql"), additive: true },
];

impl Postgres {
    /// The migrations that this database lacks.
    pub async fn pending(&self) -> Result<Vec<String>, Error> {
        let mut tx = self.pool.begin().await?;
        let there: bool = tx.one(sqlx::query("select to_regclass('migration') is not null")).await?.try_get(0)?;
        let mut applied = Vec::new();
        if there {
            for row in &tx.all(sqlx::query("select name, additive from migration")).await? {
                applied.push(Applied { name: row.try_get(0)?, additive: row.try_get(1)? });
            }
        }
        lacking(MIGRATIONS, &applied)
    }

    /// Applies what is missing, each migration in one transaction; one process at a time.
    pub async fn migrate(&self) -> Result<Vec<String>, Error> {
        self.pool.check_server().await?;
        let mut applied = Vec::new();
        for migration in MIGRATIONS {
            let mut tx = self.pool.begin().await?;
            tx.run(sqlx::query("select pg_advisory_xact_lock($1)").bind(MIGRATING)).await?;
            tx.script("create table if not exists migration (name text primary key, sha256 bytea not null, additive boolean not null)")
                .await?;
            let done = tx.optional(sqlx::query("select 1 from migration where name = $1").bind(migration.name)).await?;
            if done.is_none() {
                tx.script(migration.text).await?;
                let digest = Sha256::digest(migration.text.as_bytes());
                let sql = "insert into migration (name, sha256, additive) values ($1, $2, $3)";
                tx.run(sqlx::query(sql).bind(migration.name).bind(digest.as_slice()).bind(migration.additive)).await?;
                applied.push(migration.name.to_owned());
            }
            tx.commit().await?;
        }
        self.pending().await?;
        self.make_days(self.clock().await?).await?;
        Ok(applied)
    }
}
