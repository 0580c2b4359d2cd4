-- Idle nodes that were measured longest ago, oldest first. A measurement changes an index anyway,
-- and a heartbeat touches neither.
CREATE INDEX "node_measured_at_idx" ON "node" ("measured_at")
    WHERE "status" = 'active' AND "is_ready" AND "is_online";
