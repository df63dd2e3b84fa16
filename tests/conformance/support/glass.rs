//! Looks into a ledger from outside, into every table, so that arms can be compared row by row.

use std::collections::BTreeMap;
use std::path::PathBuf;

use model::destination::Destination;
use model::event::{Mode, Warning};
use model::protocol::Outcome;
use model::quota::Lane;
use model::record::{Doubt, Lease, Record, State};
use model::{CallId, Class, DeliveryId, EventId, RawEventId, Reason, RecordId, Time};
use rusqlite::types::{FromSql, Value as Cell};
use rusqlite::{Connection, OpenFlags};
use serde_json::Value;
use sqlx::postgres::{PgColumn, PgRow};
use sqlx::{AssertSqlSafe, Column, Connection as _, Executor, PgConnection, Row as _, TypeInfo};
use store::Store;
use store::rows::{AliasKey, DeadLetter, Delivery, DeliveryState, Event, RawDisposition, RawEvent, RecordEntry};

/// A way to look into a ledger.
#[derive(Clone)]
pub enum Glass {
    Memory(Store),
    Sqlite(PathBuf),
    Postgres(String),
}

/// Everything that a ledger holds.
#[derive(Debug, Default)]
pub struct Seen {
    pub raw_events: BTreeMap<RawEventId, RawEvent>,
    pub events: BTreeMap<EventId, Event>,
    pub deliveries: BTreeMap<DeliveryId, Delivery>,
    pub dead_letters: BTreeMap<DeliveryId, DeadLetter>,
    pub records: BTreeMap<RecordId, RecordEntry>,
    pub aliases: BTreeMap<AliasKey, RecordId>,
    pub calls: BTreeMap<CallId, SeenCall>,
    /// By call and time.
    pub results: BTreeMap<(CallId, Time), SeenResult>,
    /// Destination and end.
    pub leases: BTreeMap<CallId, (String, Time)>,
    pub destinations: BTreeMap<String, Destination>,
    pub audit: Vec<Deed>,
}

/// Sequence, time, words, detail, hash.
pub type Deed = (i64, Time, [String; 3], String, Vec<u8>);

/// A call as it was written down before it was made.
#[derive(Debug)]
#[expect(dead_code, reason = "arms are compared by what they show")]
pub struct SeenCall {
    pub destination: String,
    pub object: String,
    pub step: String,
    pub at: Time,
    pub holder: String,
    /// Record, fence, revision, patch.
    pub records: Vec<(i64, i64, i64, BTreeMap<String, Value>)>,
}

/// What came back.
#[derive(Debug)]
#[expect(dead_code, reason = "arms are compared by what they show")]
pub struct SeenResult {
    pub duration_us: i64,
    pub http_status: Option<i64>,
    pub failure: Option<(String, String)>,
    /// Record, word, code, message.
    pub notes: Vec<(i64, String, String, String)>,
    /// Delivery, state, outcome.
    pub endings: Vec<(i64, i64, Option<i64>)>,
}

impl Glass {
    pub fn memory(store: Store) -> Self {
        Self::Memory(store)
    }

    pub fn sqlite(path: PathBuf) -> Self {
        Self::Sqlite(path)
    }

    pub fn postgres(url: String) -> Self {
        Self::Postgres(url)
    }

    pub async fn look(&self) -> Seen {
        let mut seen = match self {
            Self::Memory(store) => in_memory(store).await,
            Self::Sqlite(path) => in_a_database(&mut Window::Sqlite(Self::connect(path, true))).await,
            Self::Postgres(url) => in_a_database(&mut Window::Postgres(PgConnection::connect(url).await.unwrap())).await,
        };
        for event in seen.events.values_mut() {
            event.warnings.sort_by(|a, b| (&a.kind, &a.message).cmp(&(&b.kind, &b.message)));
        }
        seen
    }

    /// Whoever goes past the code cannot change what was written down either.
    pub async fn refuses_changes(&self) {
        for sql in [
            "update audit set actor = 'eve'",
            "delete from audit",
            "update call set holder = 'eve'",
            "update call_result set http_status = 200",
        ] {
            let refused = match self {
                Self::Memory(_) => continue,
                Self::Sqlite(path) => Self::connect(path, false).execute(sql, []).unwrap_err().to_string(),
                Self::Postgres(url) => {
                    let mut conn = PgConnection::connect(url).await.unwrap();
                    sqlx::query(sql).execute(&mut conn).await.unwrap_err().to_string()
                }
            };
            assert!(refused.contains("append-only"), "{sql}: {refused}");
        }
    }

    /// Another connection to the same file.
    pub fn connect(path: &PathBuf, read_only: bool) -> Connection {
        let flags = if read_only { OpenFlags::SQLITE_OPEN_READ_ONLY } else { OpenFlags::SQLITE_OPEN_READ_WRITE };
        let conn = Connection::open_with_flags(path, flags).unwrap();
        conn.execute_batch("pragma foreign_keys = off; pragma busy_timeout = 5000").unwrap();
        conn
    }
}

async fn in_memory(store: &Store) -> Seen {
    let tables = store.tables().await.unwrap();
    let call = |call: &store::rows::CallRow| SeenCall {
        destination: call.destination.clone(),
        object: call.object.clone(),
        step: call.step.to_owned(),
        at: call.at,
        holder: call.holder.clone(),
        records: call.records.iter().map(|(record, fence, revision, patch)| (record.0, *fence, *revision, patch.clone())).collect(),
    };
    let result = |result: &store::rows::ResultRow| SeenResult {
        duration_us: result.duration_us,
        http_status: result.http_status.map(i64::from),
        failure: result.failure.clone(),
        notes: result.notes.iter().map(|(record, word, code, said)| (record.0, word.clone(), code.clone(), said.clone())).collect(),
        endings: result.endings.iter().map(|(id, state, outcome)| (id.0, *state as i64, outcome.map(|outcome| outcome as i64))).collect(),
    };
    let mut results = BTreeMap::new();
    for row in &tables.results {
        results.entry((row.call, row.at)).or_insert_with(|| result(row));
    }
    Seen {
        raw_events: tables.raw_events.values().map(|raw| (raw.id, raw.clone())).collect(),
        events: tables.events.clone(),
        deliveries: tables.deliveries.clone(),
        dead_letters: tables.dead_letters.clone(),
        records: tables.records.clone(),
        aliases: tables.aliases.clone(),
        calls: tables.calls.values().map(|row| (row.id, call(row))).collect(),
        results,
        leases: tables.leases.clone(),
        destinations: tables.destinations.clone(),
        audit: tables.audit.clone(),
    }
}

async fn in_a_database(window: &mut Window) -> Seen {
    window.open().await;
    let mut seen = Seen::default();
    for row in window.all("select r.*, n.text as source from raw_event r join name n on n.id = r.source_id").await {
        seen.raw_events.insert(RawEventId(row.get("id")), raw_event(&row));
    }
    let events = match window {
        Window::Sqlite(_) => "select e.*, n.text as source from event e join name n on n.id = e.source_id",
        Window::Postgres(_) => {
            "select e.*, p.normalized, n.text as source from event e join payload p on p.event_id = e.id join name n on n.id = e.source_id"
        }
    };
    for row in window.all(events).await {
        seen.events.insert(EventId(row.get("id")), event(&row));
    }
    let named = "left join name d on d.id = t.destination_id left join name o on o.id = t.object_id";
    for row in window.all(&format!("select t.*, d.text as destination, o.text as object from delivery t {named}")).await {
        seen.deliveries.insert(DeliveryId(row.get("id")), delivery(&row));
    }
    let letters = "select l.*, d.text as destination, s.text as source from dead_letter l join name s on s.id = l.source_id \
                   left join name d on d.id = l.destination_id";
    for row in window.all(letters).await {
        seen.dead_letters.insert(DeliveryId(row.get("delivery_id")), dead_letter(&row));
    }
    let records = format!(
        "select t.*, b.key, b.crm_id, b.body, d.text as destination, o.text as object from record t join record_body b on b.record_id = t.id {named}"
    );
    for row in window.all(&records).await {
        seen.records.insert(RecordId(row.get("id")), record(&row));
    }
    for row in window.all(&format!("select t.*, d.text as destination, o.text as object from alias t {named}")).await {
        let hash = row.get::<Vec<u8>>("value_hash").try_into().unwrap();
        let key = AliasKey { hash, kind: row.get("kind"), destination: row.get("destination"), object: row.get("object") };
        seen.aliases.insert(key, RecordId(row.get("record_id")));
    }
    for row in window.all(&format!("select t.*, d.text as destination, o.text as object from call t {named}")).await {
        let call = SeenCall {
            destination: row.get("destination"),
            object: row.get("object"),
            step: row.get("step"),
            at: Time(row.get("at")),
            holder: row.get("holder"),
            records: row.json("records"),
        };
        seen.calls.insert(CallId(row.get("id")), call);
    }
    for row in window.all("select * from call_result").await {
        let result = SeenResult {
            duration_us: row.get("duration_us"),
            http_status: row.get("http_status"),
            failure: row.get::<Option<String>>("code").zip(row.get("message")),
            notes: row.json("notes"),
            endings: row.json("endings"),
        };
        seen.results.insert((CallId(row.get("call_id")), Time(row.get("at"))), result);
    }
    for row in window.all("select l.*, n.text as destination from lease l join name n on n.id = l.destination_id").await {
        seen.leases.insert(CallId(row.get("call_id")), (row.get("destination"), Time(row.get("until"))));
    }
    for row in window.all("select d.state, n.text as name from destination d join name n on n.id = d.name_id").await {
        seen.destinations.insert(row.get("name"), row.json("state"));
    }
    for row in window.all("select * from audit order by seq").await {
        let words = [row.get("actor"), row.get("action"), row.get("subject")];
        seen.audit.push((row.get("seq"), Time(row.get("at")), words, row.get("detail"), row.get("hash")));
    }
    seen
}

/// One moment of a database, for all tables, or a worker that is at work would show half of what it did.
enum Window {
    Sqlite(Connection),
    Postgres(PgConnection),
}

impl Window {
    async fn open(&mut self) {
        match self {
            Self::Sqlite(conn) => {
                conn.execute_batch("begin").unwrap();
                let broken = self.all("pragma foreign_key_check").await;
                assert!(broken.is_empty(), "{} rows point at nothing", broken.len());
            }
            Self::Postgres(conn) => {
                conn.execute("begin transaction isolation level repeatable read, read only").await.unwrap();
            }
        }
    }

    async fn all(&mut self, sql: &str) -> Vec<Row> {
        match self {
            Self::Sqlite(conn) => {
                let mut statement = conn.prepare(sql).unwrap();
                let names: Vec<String> = statement.column_names().map(str::to_owned).collect();
                let row = |row: &rusqlite::Row<'_>| {
                    names.iter().map(|name| Ok((name.clone(), row.get(name.as_str())?))).collect::<Result<_, _>>().map(Row)
                };
                statement.query_map([], row).unwrap().map(Result::unwrap).collect()
            }
            Self::Postgres(conn) => {
                let rows = sqlx::query(AssertSqlSafe(sql.to_owned())).fetch_all(conn).await.unwrap();
                rows.iter()
                    .map(|row| Row(row.columns().iter().map(|column| (column.name().to_owned(), cell(row, column))).collect()))
                    .collect()
            }
        }
    }
}

fn cell(row: &PgRow, column: &PgColumn) -> Cell {
    let place = column.ordinal();
    match column.type_info().name() {
        "INT8" => row.get::<Option<i64>, _>(place).map_or(Cell::Null, Cell::Integer),
        "TEXT" => row.get::<Option<String>, _>(place).map_or(Cell::Null, Cell::Text),
        "BYTEA" => row.get::<Option<Vec<u8>>, _>(place).map_or(Cell::Null, Cell::Blob),
        "INT8[]" => Cell::Text(serde_json::to_string(&row.get::<Vec<i64>, _>(place)).unwrap()),
        other => panic!("{} is {other}", column.name()),
    }
}

/// A row by itself.
struct Row(BTreeMap<String, Cell>);

impl Row {
    fn get<T: FromSql>(&self, column: &str) -> T {
        T::column_result((&self.0[column]).into()).unwrap()
    }

    fn json<T: serde::de::DeserializeOwned>(&self, column: &str) -> T {
        serde_json::from_str(&self.get::<String>(column)).unwrap()
    }
}

fn time(row: &Row, column: &str) -> Option<Time> {
    row.get::<Option<i64>>(column).map(Time)
}

fn number(row: &Row, column: &str) -> u32 {
    u32::try_from(row.get::<i64>(column)).unwrap()
}

fn raw_event(row: &Row) -> RawEvent {
    use RawDisposition::*;
    let events: Vec<i64> = row.json("events");
    RawEvent {
        id: RawEventId(row.get("id")),
        source: row.get("source"),
        received_at: Time(row.get("received_at")),
        disposition: [Accepted, Duplicate, Ignored, DeadLetter, Edited, Empty][number(row, "disposition") as usize],
        events: events.into_iter().map(EventId).collect(),
        body_sha256: row.get::<Vec<u8>>("body_sha256").try_into().unwrap(),
        key_id: number(row, "key_id"),
        sealed: row.get("sealed"),
        correlation_id: row.get("correlation_id"),
    }
}

fn event(row: &Row) -> Event {
    let flags: i64 = row.get("flags");
    let warnings: Option<Vec<Warning>> = row.get::<Option<String>>("warnings").map(|text| serde_json::from_str(&text).unwrap());
    Event {
        id: EventId(row.get("id")),
        source: row.get("source"),
        key: row.get("key"),
        event_type: row.get("event_type"),
        occurred_at: Time(row.get("occurred_at")),
        received_at: Time(row.get("received_at")),
        trust: u8::try_from(row.get::<i64>("trust")).unwrap(),
        mapping_version: row.get("mapping_version"),
        content_hash: row.get::<Vec<u8>>("content_hash").try_into().unwrap(),
        ignored: flags & 1 != 0,
        fallback_key: flags & 2 != 0,
        raw_event: RawEventId(row.get("raw_event_id")),
        correlation_id: row.get("correlation_id"),
        warnings: warnings.unwrap_or_default(),
        normalized: row.get("normalized"),
    }
}

fn delivery(row: &Row) -> Delivery {
    Delivery {
        id: DeliveryId(row.get("id")),
        record: row.get::<Option<i64>>("record_id").map(RecordId),
        destination: row.get("destination"),
        object: row.get("object"),
        mode: Mode::ALL[number(row, "mode") as usize],
        state: DeliveryState::ALL[number(row, "state") as usize],
        generation: number(row, "generation"),
        lane: Lane::ALL[number(row, "lane") as usize],
        wake_at: time(row, "wake_at"),
        outcome: row
            .get::<Option<i64>>("outcome")
            .map(|number| [Outcome::Applied, Outcome::Unchanged, Outcome::Superseded][number as usize]),
        ended_at: time(row, "ended_at"),
        call: row.get::<Option<i64>>("call_id").map(CallId),
        owner: row.get("owner"),
        superseded_by: row.get::<Option<i64>>("superseded_by").map(DeliveryId),
    }
}

fn dead_letter(row: &Row) -> DeadLetter {
    DeadLetter {
        delivery: DeliveryId(row.get("delivery_id")),
        destination: row.get("destination"),
        source: row.get("source"),
        reason: Reason::parse(&row.get::<String>("reason")).unwrap(),
        class: row.get::<Option<String>>("class").map(|word| Class::parse(&word).unwrap()),
        message: row.get("message"),
        owner: row.get("owner"),
        failed_at: Time(row.get("failed_at")),
        attempts: number(row, "attempts"),
    }
}

fn record(row: &Row) -> RecordEntry {
    let lease = row.get::<Option<String>>("lease_holder").map(|holder| Lease {
        holder,
        until: Time(row.get("lease_until")),
        call: CallId(row.get("lease_call")),
    });
    let doubt = time(row, "verify_after").map(|verify_after| Doubt { revision: row.get("doubt_revision"), verify_after });
    let body = row.get::<Option<String>>("body").map(|text| serde_json::from_str(&text).unwrap());
    RecordEntry {
        id: RecordId(row.get("id")),
        destination: row.get("destination"),
        object: row.get("object"),
        key: row.get("key"),
        record: Record {
            state: State::from_number(row.get("state")).unwrap(),
            wake_at: time(row, "wake_at"),
            fence: row.get("fence"),
            revision: row.get("revision"),
            pushed: row.get("pushed"),
            lease,
            intent: row.get::<i64>("intent") != 0,
            tries: number(row, "tries"),
            attempts: number(row, "attempts"),
            conflicts: number(row, "conflicts"),
            last_attempt_at: time(row, "last_attempt_at"),
            crashes: number(row, "crashes"),
            crashed_at: time(row, "crashed_at"),
            doubt,
            adopted: row.get::<i64>("adopted") != 0,
            solo: row.get::<i64>("solo") != 0,
            group_max: number(row, "group_max"),
            lane: Lane::ALL[number(row, "lane") as usize],
            crm_id: row.get("crm_id"),
            body: body.unwrap_or_default(),
        },
    }
}

impl Seen {
    /// What must be true of every ledger at every moment (protocol.md, section 5, as far as one look can tell).
    pub fn check(&self) {
        let mut keys = std::collections::BTreeSet::new();
        for event in self.events.values() {
            assert!(keys.insert((&event.source, &event.key)), "I3: the key of {} is there twice", event.id);
            assert!(self.raw_events.contains_key(&event.raw_event), "I2: {} has no raw event", event.id);
        }
        for raw in self.raw_events.values() {
            assert!(raw.events.iter().all(|event| self.events.contains_key(event)), "I2: {} points at an event that is not there", raw.id);
        }
        for delivery in self.deliveries.values() {
            let id = delivery.id;
            let open = delivery.state == DeliveryState::Open;
            assert_eq!(open, delivery.wake_at.is_some(), "I4: {id} is in limbo");
            assert_eq!(open, delivery.ended_at.is_none(), "{id} has ended and has not");
            assert_eq!(delivery.state == DeliveryState::Succeeded, delivery.outcome.is_some(), "{delivery:?}");
            assert!(self.events.contains_key(&id.event()), "{id} carries nothing");
            if open {
                let record = &self.records[&delivery.record.unwrap()].record;
                assert_ne!(record.state, State::Clean, "I4: {id} is open and its record sleeps");
            }
            let letter = self.dead_letters.get(&id).map(|letter| DeliveryState::of(letter.reason));
            let dead = matches!(delivery.state, DeliveryState::Failed | DeliveryState::Quarantined).then_some(delivery.state);
            assert_eq!(letter, dead, "{id} is on the list of dead letters for what it is: {:?}", self.dead_letters.get(&id));
        }
        assert!(self.dead_letters.keys().all(|id| self.deliveries.contains_key(id)));
        for RecordEntry { id, record, .. } in self.records.values() {
            assert_eq!(record.state == State::Clean, record.wake_at.is_none(), "I4: {id} is in limbo");
            assert_eq!(record.state == State::Leased, record.lease.is_some(), "{id} is leased to nobody");
            assert!(record.pushed <= record.revision, "I11: {id} was written before it was claimed");
            assert!(!record.intent || record.lease.is_some(), "{id} means to write and nobody holds it");
            if let Some(lease) = &record.lease {
                let call = &self.calls[&lease.call];
                assert!(
                    call.records.iter().any(|(held, fence, ..)| *held == id.0 && *fence == record.fence),
                    "I12: {id} is in another call"
                );
            }
        }
        assert!(self.aliases.values().all(|record| self.records.contains_key(record)));
        for (id, call) in &self.calls {
            let records: std::collections::BTreeSet<i64> = call.records.iter().map(|(record, ..)| *record).collect();
            assert_eq!(records.len(), call.records.len(), "I15: {id} holds a record twice");
        }
        assert!(self.results.keys().all(|(call, _)| self.calls.contains_key(call)));
        let mut before = Vec::new();
        for (place, (seq, at, words, detail, hash)) in self.audit.iter().enumerate() {
            assert_eq!(*seq, place as i64 + 1, "I17: an audit row is missing");
            assert_eq!(*hash, store::audit_hash(&before, *seq, *at, words.each_ref().map(String::as_str), detail), "I17: audit row {seq}");
            before.clone_from(hash);
        }
    }
}
