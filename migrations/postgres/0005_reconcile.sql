-- Reconciling an object with its CRM: what we believe of its records, compared with what the CRM holds. One row for each time that it was asked for;
-- the oldest open one of a destination is under way, a look at a time.
create table reconciliation (
    id bigint primary key,
    destination_id bigint not null references name (id),
    object_id bigint not null references name (id),
    at bigint not null,
    actor text not null,
    reason text not null,
    sample bigint,                          -- at most so many records; null: all
    repair bigint not null,                 -- 0 off, 1 ours, 2 all
    state bigint not null default 0,        -- 0 open, 1 done, 2 given up
    wake_at bigint not null,
    fence bigint not null default 0,
    lease_holder text,
    lease_until bigint,
    first bigint not null,                  -- a sample goes on after this record, where the one before it ended
    cursor bigint not null,                 -- the last record that was looked at
    wrapped bigint not null default 0,      -- it has come to the end and goes on from the beginning, up to `first`
    look_max bigint not null default 0,     -- at most so many records in its next look; 0: as many as fit
    looks bigint not null default 0,
    equal bigint not null default 0,
    missing bigint not null default 0,
    ours bigint not null default 0,
    edited bigint not null default 0,
    duplicated bigint not null default 0,
    busy bigint not null default 0,
    unread bigint not null default 0,
    repaired bigint not null default 0,
    findings text not null default '[]', -- JSON array of what differed, the first of it
    failures bigint not null default 0,
    note text,                          -- the last failure
    finished_at bigint,
    check ((state = 0) = (finished_at is null)),
    check ((lease_holder is null) = (lease_until is null))
);
create index reconciliation_open on reconciliation (destination_id, id) where state = 0;
create index reconciliation_destination on reconciliation (destination_id, object_id, id);
