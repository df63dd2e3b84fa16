-- The ledger, lean (reference/protocol.md, "A lean ledger"): narrow integers inside, few indexes on what intake writes,
-- wide parts in rows of their own, one row per CRM call. Times are microseconds since 1970; hashes are the first 16
-- bytes of SHA-256. No foreign keys: the ledger's logic writes parents first, tests look at every reference, and each would cost a look-up per row.

-- Names of sources, destinations and objects, each once.
create table name (
    id bigint generated always as identity primary key,
    text text not null unique
);

-- Sources that were ever configured here: a vendor that still sends to one gets 503 and not 404, which would switch it off for good.
create table source (
    name_id bigint primary key,
    first_seen_at bigint not null
);

create table mapping (
    version text primary key,
    text text not null,
    first_seen_at bigint not null
);

-- What comes in bulk lies in tables by day, which retention drops whole: `raw_event_20261123`, made ahead by `onceward migrate` and by retention. The
-- time is in an id's upper bits, so that an id finds its day by itself. Days without a table are in the `_rest`.

-- One HTTP request as it came. Never altered; where retention cannot drop the whole day it empties `sealed`.
create table raw_event (
    id bigint primary key,
    source_id bigint not null,
    received_at bigint not null,
    disposition bigint not null,   -- 0 accepted, 1 duplicate, 2 ignored, 3 dead letter, 4 edited, 5 empty
    events bigint[] not null,       -- the events that it held or duplicated
    body_sha256 bytea not null,
    key_id bigint not null,
    sealed bytea not null,
    correlation_id text             -- null: its own id
) partition by range (id);
-- A sealed request is just over what PostgreSQL moves out of a row, and it would try to compress it in vain.
alter table raw_event alter column sealed set storage main;
create table raw_event_rest partition of raw_event default with (toast_tuple_target = 8160);
-- Only what did not bring a new event must be found from the event.
create index raw_event_duplicate on raw_event ((events[1])) where disposition in (1, 4);

create table event (
    id bigint primary key,
    source_id bigint not null,
    key_hash bytea not null,
    key text not null check (octet_length(key) <= 255),
    event_type text not null,
    occurred_at bigint not null,
    received_at bigint not null,
    trust bigint not null check (trust between 0 and 100),
    mapping_version text not null,
    content_hash bytea not null,
    flags bigint not null,         -- 1 ignored, 2 fallback key
    raw_event_id bigint not null,
    correlation_id text,            -- null: the raw event's id
    warnings text,                  -- JSON array
    unique (source_id, key_hash)
);
create index event_correlation on event (correlation_id) where correlation_id is not null;

-- What an event said, as JSON; gone before the rest of it.
create table payload (
    event_id bigint primary key,
    normalized text not null
) partition by range (event_id);
create table payload_rest partition of payload default;

-- One event on its way to one object. Its id begins with its event's. Written twice: at intake and when it ends.
create table delivery (
    id bigint primary key,
    record_id bigint,
    destination_id bigint,
    object_id bigint,
    mode bigint not null,          -- 0 create_only, 1 update_only, 2 upsert
    state bigint not null,         -- 0 open, 1 succeeded, 2 failed, 3 quarantined, 4 cancelled
    generation bigint not null default 1,
    wake_at bigint,
    outcome bigint,                -- 0 applied, 1 unchanged, 2 superseded
    ended_at bigint,
    call_id bigint,                -- the call that ended it
    owner text,
    superseded_by bigint,
    -- Limbo cannot be written.
    check ((state = 0) = (wake_at is not null)),
    check ((state = 0) = (ended_at is null)),
    check (state <> 0 or record_id is not null)
);
create index delivery_record on delivery (record_id, state) where record_id is not null;
create index delivery_open on delivery (destination_id, id) where state = 0;

create table dead_letter (
    delivery_id bigint primary key,
    destination_id bigint,
    source_id bigint not null,
    reason text not null,
    class text,
    message text not null,
    owner text,
    failed_at bigint not null,
    attempts bigint not null
);

-- One CRM object under one key: the narrow part, which every claim and settle writes.
create table record (
    id bigint primary key,
    destination_id bigint not null,
    object_id bigint not null,
    state bigint not null,         -- 0 clean, 1 due, 2 waiting, 3 leased, 4 verifying
    wake_at bigint,
    fence bigint not null default 0,
    revision bigint not null default 0,
    pushed bigint not null default 0,
    lease_holder text,
    lease_until bigint,
    lease_call bigint,
    intent bigint not null default 0,
    tries bigint not null default 0,
    attempts bigint not null default 0,
    conflicts bigint not null default 0,
    last_attempt_at bigint,
    crashes bigint not null default 0,
    crashed_at bigint,
    doubt_revision bigint,
    verify_after bigint,
    adopted bigint not null default 0,
    solo bigint not null default 0,
    group_max bigint not null default 0,
    check ((state = 0) = (wake_at is null)),
    check ((lease_holder is null) = (lease_until is null)),
    check ((state = 3) = (lease_holder is not null)),
    check ((doubt_revision is null) = (verify_after is null)),
    check (pushed <= revision)
) with (fillfactor = 50);
create index record_due on record (destination_id, wake_at, id) where wake_at is not null;

-- The wide part, written once per push.
create table record_body (
    record_id bigint primary key,
    key text not null,
    crm_id text,
    body text
);

-- By what a record can be found: the words of a match list, and `crm_id`.
create table alias (
    value_hash bytea not null,
    kind text not null,
    destination_id bigint not null,
    object_id bigint not null,
    record_id bigint not null,
    primary key (value_hash, kind, destination_id, object_id)
);
create index alias_record on alias (record_id, kind);

-- One HTTP request to a CRM, written before it is sent: intent before effect.
create table call (
    id bigint primary key,
    destination_id bigint not null,
    object_id bigint not null,
    step text not null,             -- adopt, verify, push
    at bigint not null,
    holder text not null,
    -- JSON array of [record, fence, revision, patch]
    records text not null
) partition by range (id);
create table call_rest partition of call default;

-- What came back. A call without a result was never heard of again.
create table call_result (
    call_id bigint not null,
    at bigint not null,
    duration_us bigint not null,
    http_status bigint,
    code text,                      -- the whole call's failure
    message text,
    -- JSON array, a row for each record that did not simply succeed: [record, class or word, code, message]
    notes text not null,
    -- JSON array of [delivery, state, outcome]
    endings text not null,
    primary key (call_id, at)
) partition by range (call_id);
create table call_result_rest partition of call_result default;

-- Calls under way: concurrency is counted here, because a counter would leak when a worker is killed.
create table lease (
    call_id bigint primary key,
    destination_id bigint not null,
    holder text not null,
    until bigint not null
);

-- Who works here, and when that was last seen; 0: it has said goodbye. What a dead worker held is taken over before its leases end.
create table worker (
    holder text primary key,
    seen_at bigint not null
) with (fillfactor = 50);

create table destination (
    name_id bigint primary key,
    state text not null             -- model::destination::Destination as JSON
);

create table rejected (
    id bigint primary key,
    source_id bigint not null,
    at bigint not null,
    reason text not null,
    diagnosis text not null,
    body_bytes bigint not null,
    body_sha256 bytea not null,
    key_id bigint not null,
    sealed bytea not null
);
create index rejected_source on rejected (source_id, id);

create table replay (
    id bigint primary key,
    at bigint not null,
    actor text not null,
    reason text not null,
    filter text not null,
    matched bigint not null,
    reopened bigint not null default 0,
    refused bigint not null default 0,
    finished_at bigint
);

-- Who did what and why: append-only, each row's hash covers the one before.
create table audit (
    seq bigint primary key,
    at bigint not null,
    actor text not null,
    action text not null,
    subject text not null,
    detail text not null,
    hash bytea not null
);
create index audit_subject on audit (subject);

create function append_only() returns trigger language plpgsql as $$ begin raise exception 'the table % is append-only', tg_table_name; end $$;
create trigger audit_append_only before update or delete on audit for each row execute function append_only();
create trigger call_append_only before update on call for each row execute function append_only();
create trigger call_result_append_only before update on call_result for each row execute function append_only();

-- Numbers that processes put into their ids, each start another one.
create sequence instance minvalue 0 maxvalue 1023 start 0 cycle;
