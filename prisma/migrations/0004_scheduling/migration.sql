-- Step 3 whole: slots of machines, measured nodes, a waiting order, and what an outage excuses.

-- Slots belong to a machine: two registrations on one machine share them. A node uses the first
-- "slots" of them.
CREATE TABLE "machine" (
    "id" TEXT NOT NULL,
    "operator_id" TEXT NOT NULL,
    "name" TEXT NOT NULL,
    CONSTRAINT "machine_pkey" PRIMARY KEY ("id"),
    CONSTRAINT "machine_operator_id_fkey" FOREIGN KEY ("operator_id")
        REFERENCES "operator" ("id") ON DELETE RESTRICT ON UPDATE CASCADE
);
CREATE UNIQUE INDEX "machine_operator_id_name_key" ON "machine" ("operator_id", "name");
INSERT INTO "machine" ("id", "operator_id", "name") SELECT "id", "operator_id", "id" FROM "node";

ALTER TABLE "slot" DROP CONSTRAINT "slot_node_id_fkey";
ALTER TABLE "slot" RENAME COLUMN "node_id" TO "machine_id";
ALTER TABLE "slot" ADD CONSTRAINT "slot_machine_id_fkey" FOREIGN KEY ("machine_id")
    REFERENCES "machine" ("id") ON DELETE RESTRICT ON UPDATE CASCADE;

-- "tier" and "tokens_per_second" become what the coordinator attests; a node's own words are kept
-- beside them. A node that was never measured is `probing`: it gets a canary, and no work.
ALTER TABLE "node"
    ADD COLUMN "machine_id" TEXT,
    ADD COLUMN "slots" INTEGER NOT NULL DEFAULT 1,
    ADD COLUMN "claimed_tier" INTEGER NOT NULL DEFAULT 1,
    ADD COLUMN "claimed_tokens_per_second" DOUBLE PRECISION NOT NULL DEFAULT 0,
    ADD COLUMN "measured_tokens" DOUBLE PRECISION NOT NULL DEFAULT 0,
    ADD COLUMN "measured_seconds" DOUBLE PRECISION NOT NULL DEFAULT 0,
    ADD COLUMN "measured_at" TIMESTAMPTZ(3) NOT NULL DEFAULT 'epoch',
    ADD COLUMN "probe" INTEGER NOT NULL DEFAULT 0,
    ADD COLUMN "probe_failures" INTEGER NOT NULL DEFAULT 0,
    ADD COLUMN "probe_code" TEXT,
    ADD COLUMN "probe_after" TIMESTAMPTZ(3) NOT NULL DEFAULT 'epoch',
    ADD COLUMN "is_ready" BOOLEAN NOT NULL DEFAULT TRUE,
    ADD COLUMN "is_online" BOOLEAN NOT NULL DEFAULT TRUE,
    ADD COLUMN "is_full" BOOLEAN NOT NULL DEFAULT FALSE;
UPDATE "node" SET "machine_id" = "id", "claimed_tier" = "tier",
    "claimed_tokens_per_second" = "tokens_per_second",
    "slots" = greatest(1, (SELECT count(*) FROM "slot" WHERE "slot"."machine_id" = "node"."id"));
ALTER TABLE "node" ALTER COLUMN "machine_id" SET NOT NULL,
    ADD CONSTRAINT "node_machine_id_fkey" FOREIGN KEY ("machine_id")
        REFERENCES "machine" ("id") ON DELETE RESTRICT ON UPDATE CASCADE,
    DROP CONSTRAINT "node_status_check",
    ADD CONSTRAINT "node_status_check" CHECK
        ("status" IN ('probing', 'active', 'draining', 'removed'));
UPDATE "node" SET "status" = 'probing' WHERE "status" = 'active';
ALTER TABLE "node" ALTER COLUMN "status" SET DEFAULT 'probing';
-- Heartbeats change a column that no index has: with room on its page a row stays where it is.
ALTER TABLE "node" SET (fillfactor = 70);
CREATE INDEX "node_machine_id_idx" ON "node" ("machine_id");
-- Best fit is a walk along this index; "is_full" is a hint that keeps the walk short, the slots
-- themselves are the truth.
CREATE INDEX "node_best_fit_idx" ON "node" ("model_digest", "tier", "tokens_per_second", "id")
    WHERE "status" = 'active' AND "is_ready" AND "is_online" AND NOT "is_full";

-- A waiting unit with all that Schedule needs, so that it can be assigned while its workflow
-- sleeps. Rows of an earlier version have no "input": their workflows are woken to ask again.
ALTER TABLE "waiting" DROP COLUMN "woken_at",
    ADD COLUMN "input" JSONB,
    ADD COLUMN "coordinator" TEXT NOT NULL DEFAULT '',
    ADD COLUMN "workload_class" TEXT NOT NULL DEFAULT 'ai.inference',
    ADD COLUMN "deadline_seconds" INTEGER NOT NULL DEFAULT 120,
    ADD COLUMN "used_nodes" TEXT[] NOT NULL DEFAULT '{}',
    ADD COLUMN "place_ms" DOUBLE PRECISION NOT NULL DEFAULT 0,
    ADD COLUMN "assigned_at" TIMESTAMPTZ(3),
    ADD COLUMN "signalled_at" TIMESTAMPTZ(3);
CREATE INDEX "waiting_place_idx" ON "waiting" ("model_digest", "place_ms")
    WHERE "assigned_at" IS NULL;

-- What a validated request costs, so that one whose run is lost afterwards can be settled.
ALTER TABLE "request" ADD COLUMN "due_wei" DECIMAL(78,0);

-- Open while "ended_at" is null; it then lasts until the node's last heartbeat.
CREATE TABLE "node_uptime" (
    "id" BIGSERIAL NOT NULL,
    "node_id" TEXT NOT NULL,
    "began_at" TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "ended_at" TIMESTAMPTZ(3),
    "end_code" TEXT,
    CONSTRAINT "node_uptime_pkey" PRIMARY KEY ("id"),
    CONSTRAINT "node_uptime_node_id_fkey" FOREIGN KEY ("node_id")
        REFERENCES "node" ("id") ON DELETE RESTRICT ON UPDATE CASCADE,
    CONSTRAINT "node_uptime_order_check" CHECK ("ended_at" >= "began_at"),
    CONSTRAINT "node_uptime_end_check" CHECK (("ended_at" IS NULL) = ("end_code" IS NULL))
);
CREATE UNIQUE INDEX "node_uptime_open_key" ON "node_uptime" ("node_id") WHERE "ended_at" IS NULL;
CREATE INDEX "node_uptime_node_id_began_at_idx" ON "node_uptime" ("node_id", "began_at");

-- Append-only: how a node came and went, by the codes of docs/errors.md.
CREATE TABLE "node_transition" (
    "id" BIGSERIAL NOT NULL,
    "node_id" TEXT NOT NULL,
    "code" TEXT NOT NULL,
    "created_at" TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    CONSTRAINT "node_transition_pkey" PRIMARY KEY ("id")
);
CREATE INDEX "node_transition_node_id_id_idx" ON "node_transition" ("node_id", "id");
CREATE TRIGGER "node_transition_append_only" BEFORE UPDATE OR DELETE OR TRUNCATE
    ON "node_transition" FOR EACH STATEMENT EXECUTE FUNCTION "refuse_change"();

-- When the network last could do its work, and the times when it couldn't: nothing in one of those
-- counts against a node.
CREATE TABLE "pulse" (
    "id" INTEGER NOT NULL DEFAULT 1,
    "beat_at" TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    CONSTRAINT "pulse_pkey" PRIMARY KEY ("id"),
    CONSTRAINT "pulse_single_check" CHECK ("id" = 1)
);
CREATE TABLE "outage" (
    "id" BIGSERIAL NOT NULL,
    "began_at" TIMESTAMPTZ(3) NOT NULL,
    "ended_at" TIMESTAMPTZ(3) NOT NULL,
    CONSTRAINT "outage_pkey" PRIMARY KEY ("id"),
    CONSTRAINT "outage_order_check" CHECK ("ended_at" > "began_at")
);
CREATE INDEX "outage_ended_at_idx" ON "outage" ("ended_at");

-- Frees the slot of an attempt. False when it was freed before: it happens exactly once.
CREATE FUNCTION "release_slot"("unit" TEXT, "attempt" INTEGER) RETURNS BOOLEAN
LANGUAGE plpgsql AS $$
DECLARE
    "freed" TEXT;
BEGIN
    UPDATE "slot" SET "unit_id" = NULL, "dispatch" = NULL, "lease_until" = NULL
        WHERE "slot"."unit_id" = "unit" AND "slot"."dispatch" = "attempt"
        RETURNING "slot"."machine_id" INTO "freed";
    IF "freed" IS NULL THEN RETURN FALSE; END IF;
    -- In one order, or two that free slots of one machine could wait for each other.
    UPDATE "node" SET "is_full" = FALSE
        FROM (SELECT "node"."id" FROM "node" WHERE "machine_id" = "freed" AND "is_full"
              ORDER BY "node"."id" FOR NO KEY UPDATE) AS "full"
        WHERE "node"."id" = "full"."id";
    RETURN TRUE;
END $$;

-- Ends what is left of a unit that was ended from outside, or given up: it no longer waits; a slot
-- that no node was told of is free at once, any other as soon as its node can be expected to have
-- stopped.
CREATE FUNCTION "withdraw_unit"("unit" TEXT, "lease_seconds" DOUBLE PRECISION) RETURNS VOID
LANGUAGE plpgsql AS $$
DECLARE
    "held" RECORD;
    "was_told" BOOLEAN;
BEGIN
    SELECT TRUE INTO "was_told" FROM "waiting"
        WHERE "waiting"."unit_id" = "unit" AND "waiting"."assigned_at" IS NOT NULL;
    "was_told" := "was_told" IS NULL;
    DELETE FROM "waiting" WHERE "waiting"."unit_id" = "unit";
    IF NOT "was_told" THEN
        -- Nodes of attempts before, which are decided, were told, and may still be busy.
        FOR "held" IN SELECT "attempt"."dispatch" FROM "dispatch" AS "attempt"
            WHERE "attempt"."unit_id" = "unit" AND "attempt"."outcome" IS NULL
        LOOP
            PERFORM "release_slot"("unit", "held"."dispatch");
        END LOOP;
    END IF;
    UPDATE "slot" SET "lease_until" = least("slot"."lease_until",
            now() + make_interval(secs => "lease_seconds"))
        WHERE "slot"."unit_id" = "unit";
END $$;
