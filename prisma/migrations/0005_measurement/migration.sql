-- What a node is worth by measurement: throughput by its canaries and its validated work, and the
-- tier that follows from it. protocol/measure.ts is the same arithmetic, and a test compares them.

-- Tokens per second from which a node counts as of tier 1 to 5, for this model. The default is what
-- any working machine clears with a small model; a network sets what its hardware tiers stand for.
ALTER TABLE "model"
    ADD COLUMN "tier_floors" DOUBLE PRECISION[] NOT NULL DEFAULT '{0,1,2,4,8}',
    ADD CONSTRAINT "model_tier_floors_check" CHECK (
        array_ndims("tier_floors") = 1 AND array_lower("tier_floors", 1) = 1
        AND cardinality("tier_floors") = 5 AND array_position("tier_floors", NULL) IS NULL
        AND "tier_floors"[1] = 0 AND "tier_floors"[1] <= "tier_floors"[2]
        AND "tier_floors"[2] <= "tier_floors"[3] AND "tier_floors"[3] <= "tier_floors"[4]
        AND "tier_floors"[4] <= "tier_floors"[5] AND "tier_floors"[5] < 'Infinity');

-- While a canary is under way: when it counts as lost. A draining node that has one owes a canary.
ALTER TABLE "node" ADD COLUMN "probe_until" TIMESTAMPTZ(3);
CREATE INDEX "node_probing_idx" ON "node" ("probe_after") WHERE "status" = 'probing';

-- The highest tier whose floor the rate clears, and no higher than what the node claims.
CREATE FUNCTION "attested_tier"(
    "claimed" INTEGER, "rate" DOUBLE PRECISION, "floors" DOUBLE PRECISION[])
RETURNS INTEGER LANGUAGE sql IMMUTABLE AS $$
    SELECT greatest(1, least("claimed",
        (SELECT count(*) FROM unnest("floors") AS "each" ("floor") WHERE "floor" <= "rate")::int))
$$;

-- Blends one sample into what is known of a node. Of validated work at most one sample a second:
-- a node's row is read by every request. A sample that an outage fell into says nothing of the
-- node, and only a canary makes a first one. False when nothing was changed.
CREATE FUNCTION "measure_node"("target" TEXT, "tokens" DOUBLE PRECISION,
    "seconds" DOUBLE PRECISION, "by_canary" BOOLEAN DEFAULT FALSE)
RETURNS BOOLEAN LANGUAGE plpgsql AS $$
BEGIN
    -- NaN counts as larger than any number.
    IF "tokens" IS NULL OR "seconds" IS NULL OR "tokens" = '-Infinity' OR "seconds" = '-Infinity'
        OR "tokens" >= 'Infinity' OR "seconds" >= 'Infinity' THEN RETURN FALSE; END IF;
    UPDATE "node" SET
        ("measured_tokens", "measured_seconds", "tokens_per_second", "tier", "measured_at") = (
            SELECT "sum"."t", "sum"."s", "sum"."t" / "sum"."s",
                   "attested_tier"("claimed_tier", "sum"."t" / "sum"."s", coalesce(
                       (SELECT "tier_floors" FROM "model" WHERE "digest" = "model_digest"
                        ORDER BY "model"."id" LIMIT 1), '{0,1,2,4,8}')),
                   now()
            FROM (SELECT "measured_tokens" * 0.95::float8
                             + least(greatest("tokens", 1), 1000000) AS "t",
                         "measured_seconds" * 0.95::float8
                             + least(greatest("seconds", 0.001::float8), 1000000) AS "s") AS "sum")
    -- It waits for nobody, since whoever asks may hold the rows of other nodes: a sample is lost.
    WHERE "node"."id" IN (
        SELECT "sampled"."id" FROM "node" AS "sampled"
        WHERE "sampled"."id" = "target"
          AND ("by_canary"
               OR ("measured_seconds" > 0 AND "measured_at" < now() - interval '1 second'
                   AND NOT EXISTS (SELECT FROM "outage" WHERE "ended_at"
                       > now() - make_interval(secs => least(greatest("seconds", 0), 1000000)))))
        FOR NO KEY UPDATE OF "sampled" SKIP LOCKED);
    RETURN FOUND;
END $$;
