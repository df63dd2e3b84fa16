-- Reconciling an object with its CRM: what we believe of its records, compared with what the CRM holds. One row for each time that it was asked for;
-- the oldest open one of a destination is under way, a look at a time.
create table reconciliation (
    id integer primary key,
    destination_id integer not null references name (id),
    object_id integer not null references name (id),
    at integer not null,
    actor text not null,
    reason text not null,
    sample integer,                          -- at most so many records; null: all
    repair integer not null,                 -- 0 off, 1 ours, 2 all
    state integer not null default 0,        -- 0 open, 1 done, 2 given up
    wake_at integer not null,
    fence integer not null default 0,
    lease_holder text,
    lease_until integer,
    first integer not null,                  -- a sample goes on after this record, where the one before it ended
    cursor integer not null,                 -- the last record that was looked at
    wrapped integer not null default 0,      -- it has come to the end and goes on from the beginning, up to `first`
    look_max integer not null default 0,     -- at most so many records in its next look; 0: as many as fit
    looks integer not null default 0,
    equal integer not null default 0,
    missing integer not null default 0,
    ours integer not null default 0,
    edited integer not null default 0,
    duplicated integer not null default 0,
    busy integer not null default 0,
    unread integer not null default 0,
    repaired integer not null default 0,
    findings text not null default '[]', -- JSON array of what differed, the first of it
    failures integer not null default 0,
    note text,                          -- the last failure
    finished_at integer,
    check ((state = 0) = (finished_at is null)),
    check ((lease_holder is null) = (lease_until is null))
) strict;
create index reconciliation_open on reconciliation (destination_id, id) where state = 0;
create index reconciliation_destination on reconciliation (destination_id, object_id, id);
