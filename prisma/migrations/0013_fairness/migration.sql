-- Whose turn it is among those that wait: a unit's begins when that of the one before it, of the
-- same account and priority, ends; an account that waits for nothing has its turn at once.
ALTER TABLE "waiting"
    ADD COLUMN "turn_ms" DOUBLE PRECISION NOT NULL DEFAULT 0,
    ADD COLUMN "turn_ends_ms" DOUBLE PRECISION NOT NULL DEFAULT 0;
CREATE INDEX "waiting_account_id_priority_idx" ON "waiting" ("account_id", "priority");

-- The turn of a unit: the one that it has, or the one that it would be given now. Milliseconds since
-- the epoch. Without an account it is when the unit was accepted.
CREATE FUNCTION "waiting_turn_ms"(
    "unit" TEXT, "account" TEXT, "priority_key" INTEGER, "accepted_ms" DOUBLE PRECISION)
RETURNS DOUBLE PRECISION LANGUAGE sql STABLE AS $$
    SELECT coalesce(
        (SELECT "turn_ms" FROM "waiting"
            WHERE "unit_id" = "unit" AND "turn_ms" > 0 AND "account_id" = "account"),
        greatest("accepted_ms",
            (SELECT max("turn_ends_ms") FROM "waiting"
                WHERE "account_id" = nullif("account", '') AND "priority" = "priority_key"
                  AND "assigned_at" IS NULL AND "unit_id" <> "unit")))
$$;
