-- Catching up with a vendor: what it has in a window and the ledger has not seen. One row for each time that it was asked for; the oldest open one
-- of a source is under way, page by page.
create table catch_up (
    id bigint primary key,
    source_id bigint not null references name (id),
    at bigint not null,
    actor text not null,
    reason text not null,
    since bigint not null,
    until bigint not null,
    dry_run bigint not null,
    state bigint not null default 0,   -- 0 open, 1 done, 2 given up
    wake_at bigint not null,
    fence bigint not null default 0,
    lease_holder text,
    lease_until bigint,
    list bigint not null default 0,    -- which of the vendor's lists
    cursor text,                        -- where its next page begins
    pages bigint not null default 0,
    seen bigint not null default 0,
    already_here bigint not null default 0,
    filled bigint not null default 0,
    ignored bigint not null default 0,
    failures bigint not null default 0,
    note text,                          -- the last failure
    finished_at bigint,
    check ((state = 0) = (finished_at is null)),
    check ((lease_holder is null) = (lease_until is null))
);
create index catch_up_open on catch_up (source_id, id) where state = 0;
create index catch_up_source on catch_up (source_id, id);
