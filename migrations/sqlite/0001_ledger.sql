-- The ledger, lean (reference/protocol.md, "A lean ledger"): narrow integers inside, few indexes on what intake writes,
-- wide parts in rows of their own, one row per CRM call. Times are microseconds since 1970; hashes are the first 16
-- bytes of SHA-256.

-- Names of sources, destinations and objects, each once.
create table name (
    id integer primary key,
    text text not null unique
) strict;

-- Sources that were ever configured here: a vendor that still sends to one gets 503 and not 404, which would switch it off for good.
create table source (
    name_id integer primary key references name (id),
    first_seen_at integer not null
) strict;

create table mapping (
    version text primary key,
    text text not null,
    first_seen_at integer not null
) strict;

-- One HTTP request as it came. Never altered; retention empties `sealed`.
create table raw_event (
    id integer primary key,
    source_id integer not null references name (id),
    received_at integer not null,
    disposition integer not null,   -- 0 accepted, 1 duplicate, 2 ignored, 3 dead letter, 4 edited, 5 empty
    events text not null,           -- JSON array of the events that it held or duplicated
    body_sha256 blob not null,
    key_id integer not null,
    sealed blob not null,
    correlation_id text             -- null: its own id
) strict;
-- Only what did not bring a new event must be found from the event.
create index raw_event_duplicate on raw_event (json_extract(events, '$[0]')) where disposition in (1, 4);

create table event (
    id integer primary key,
    source_id integer not null references name (id),
    key_hash blob not null,
    key text not null check (length(cast(key as blob)) <= 255),
    event_type text not null,
    occurred_at integer not null,
    received_at integer not null,
    trust integer not null check (trust between 0 and 100),
    mapping_version text not null,
    content_hash blob not null,
    flags integer not null,         -- 1 ignored, 2 fallback key
    raw_event_id integer not null,
    correlation_id text,            -- null: the raw event's id
    warnings text,                  -- JSON array
    normalized text not null,
    unique (source_id, key_hash)
) strict;
create index event_correlation on event (correlation_id) where correlation_id is not null;

-- One event on its way to one object. Its id begins with its event's. Written twice: at intake and when it ends.
create table delivery (
    id integer primary key,
    record_id integer,
    destination_id integer references name (id),
    object_id integer references name (id),
    mode integer not null,          -- 0 create_only, 1 update_only, 2 upsert
    state integer not null,         -- 0 open, 1 succeeded, 2 failed, 3 quarantined, 4 cancelled
    generation integer not null default 1,
    wake_at integer,
    outcome integer,                -- 0 applied, 1 unchanged, 2 superseded
    ended_at integer,
    call_id integer,                -- the call that ended it
    owner text,
    superseded_by integer,
    -- Limbo cannot be written.
    check ((state = 0) = (wake_at is not null)),
    check ((state = 0) = (ended_at is null)),
    check (state <> 0 or record_id is not null)
) strict;
create index delivery_record on delivery (record_id, state) where record_id is not null;
create index delivery_open on delivery (destination_id, id) where state = 0;

create table dead_letter (
    delivery_id integer primary key references delivery (id),
    destination_id integer references name (id),
    source_id integer not null references name (id),
    reason text not null,
    class text,
    message text not null,
    owner text,
    failed_at integer not null,
    attempts integer not null
) strict;

-- One CRM object under one key: the narrow part, which every claim and settle writes.
create table record (
    id integer primary key,
    destination_id integer not null references name (id),
    object_id integer not null references name (id),
    state integer not null,         -- 0 clean, 1 due, 2 waiting, 3 leased, 4 verifying
    wake_at integer,
    fence integer not null default 0,
    revision integer not null default 0,
    pushed integer not null default 0,
    lease_holder text,
    lease_until integer,
    lease_call integer,
    intent integer not null default 0,
    tries integer not null default 0,
    attempts integer not null default 0,
    conflicts integer not null default 0,
    last_attempt_at integer,
    crashes integer not null default 0,
    crashed_at integer,
    doubt_revision integer,
    verify_after integer,
    adopted integer not null default 0,
    solo integer not null default 0,
    group_max integer not null default 0,
    check ((state = 0) = (wake_at is null)),
    check ((lease_holder is null) = (lease_until is null)),
    check ((state = 3) = (lease_holder is not null)),
    check ((doubt_revision is null) = (verify_after is null)),
    check (pushed <= revision)
) strict;
create index record_due on record (destination_id, wake_at) where wake_at is not null;

-- The wide part, written once per push.
create table record_body (
    record_id integer primary key references record (id),
    key text not null,
    crm_id text,
    body text
) strict;

-- By what a record can be found: the words of a match list, and `crm_id`.
create table alias (
    value_hash blob not null,
    kind text not null,
    destination_id integer not null references name (id),
    object_id integer not null references name (id),
    record_id integer not null references record (id),
    primary key (value_hash, kind, destination_id, object_id)
) strict, without rowid;
create index alias_record on alias (record_id, kind);

-- One HTTP request to a CRM, written before it is sent: intent before effect.
create table call (
    id integer primary key,
    destination_id integer not null references name (id),
    object_id integer not null references name (id),
    step text not null,             -- adopt, verify, push
    at integer not null,
    holder text not null,
    -- JSON array of [record, fence, revision, patch]
    records text not null
) strict;

-- What came back. A call without a result was never heard of again.
create table call_result (
    call_id integer not null references call (id),
    at integer not null,
    duration_us integer not null,
    http_status integer,
    code text,                      -- the whole call's failure
    message text,
    -- JSON array, a row for each record that did not simply succeed: [record, class or word, code, message]
    notes text not null,
    -- JSON array of [delivery, state, outcome]
    endings text not null,
    primary key (call_id, at)
) strict, without rowid;

-- Calls under way: concurrency is counted here, because a counter would leak when a worker is killed.
create table lease (
    call_id integer primary key,
    destination_id integer not null references name (id),
    holder text not null,
    until integer not null
) strict;

create table destination (
    name_id integer primary key references name (id),
    state text not null             -- model::destination::Destination as JSON
) strict;

create table rejected (
    id integer primary key,
    source_id integer not null references name (id),
    at integer not null,
    reason text not null,
    diagnosis text not null,
    body_bytes integer not null,
    body_sha256 blob not null,
    key_id integer not null,
    sealed blob not null
) strict;
create index rejected_source on rejected (source_id, id);

create table replay (
    id integer primary key,
    at integer not null,
    actor text not null,
    reason text not null,
    filter text not null,
    matched integer not null,
    reopened integer not null default 0,
    refused integer not null default 0,
    finished_at integer
) strict;

-- Who did what and why: append-only, each row's hash covers the one before.
create table audit (
    seq integer primary key,
    at integer not null,
    actor text not null,
    action text not null,
    subject text not null,
    detail text not null,
    hash blob not null
) strict;
create index audit_subject on audit (subject);

create trigger audit_no_update before update on audit begin select raise(abort, 'the audit trail is append-only'); end;
create trigger audit_no_delete before delete on audit begin select raise(abort, 'the audit trail is append-only'); end;
create trigger call_no_update before update on call begin select raise(abort, 'calls are append-only'); end;
create trigger call_result_no_update before update on call_result begin select raise(abort, 'results are append-only'); end;
