-- How urgent work is: 0 action, 1 fresh, 2 replay, 3 catch_up. A record has the lane of the most urgent of its open deliveries while it has any.
alter table delivery add column lane integer not null default 1 check (lane between 0 and 3);
alter table record add column lane integer not null default 1 check (lane between 0 and 3);
-- A claim looks into one lane after the other, and in each begins with what has waited longest.
drop index record_due;
create index record_due on record (destination_id, lane, wake_at) where wake_at is not null;
