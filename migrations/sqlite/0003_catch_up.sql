-- Catching up with a vendor: what it has in a window and the ledger has not seen. One row for each time that it was asked for; the oldest open one
-- of a source is under way, page by page.
create table catch_up (
    id integer primary key,
    source_id integer not null references name (id),
    at integer not null,
    actor text not null,
    reason text not null,
    since integer not null,
    until integer not null,
    dry_run integer not null,
    state integer not null default 0,   -- 0 open, 1 done, 2 given up
    wake_at integer not null,
    fence integer not null default 0,
    lease_holder text,
    lease_until integer,
    list integer not null default 0,    -- which of the vendor's lists
    cursor text,                        -- where its next page begins
    pages integer not null default 0,
    seen integer not null default 0,
    already_here integer not null default 0,
    filled integer not null default 0,
    ignored integer not null default 0,
    failures integer not null default 0,
    note text,                          -- the last failure
    finished_at integer,
    check ((state = 0) = (finished_at is null)),
    check ((lease_holder is null) = (lease_until is null))
) strict;
create index catch_up_open on catch_up (source_id, id) where state = 0;
create index catch_up_source on catch_up (source_id, id);
