-- What bodies of a source look like, by event type, and how that changed.
create table drift (
    source_id bigint not null,
    event_type text not null,
    state text not null,            -- model::drift::Learned as JSON
    updated_at bigint not null,
    primary key (source_id, event_type)
);
