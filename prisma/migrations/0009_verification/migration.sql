-- Step 7's second check: who is checked is drawn with secrets that were committed to before, what
-- was drawn and how it was voted stays for good, and whoever returns wrong results leaves the pool.

-- When requests may be delivered: see protocol/receive.ts. A refund is of what was charged before.
ALTER TABLE "request"
    ADD COLUMN "delivery" TEXT NOT NULL DEFAULT 'validated',
    ADD COLUMN "refunded_wei" DECIMAL(78,0) NOT NULL DEFAULT 0,
    ADD COLUMN "refund_code" TEXT,
    ADD CONSTRAINT "request_delivery_check" CHECK
        ("delivery" IN ('early', 'validated', 'strict')),
    ADD CONSTRAINT "request_refund_check" CHECK
        ("refunded_wei" >= 0 AND "refunded_wei" <= "charged_wei"
         AND ("refund_code" IS NULL) = ("refunded_wei" = 0));

-- An epoch lasts until one with a higher number begins. Its secret's hash and its policy are published before
-- it begins, the secret itself once two others have begun.
CREATE TABLE "sampling_epoch" (
    "epoch" INTEGER NOT NULL,
    "begins_at" TIMESTAMPTZ(3) NOT NULL,
    "secret_hash" TEXT NOT NULL,
    "policy" TEXT NOT NULL,
    "policy_hash" TEXT NOT NULL,
    "secret" TEXT,
    "published_at" TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "revealed_at" TIMESTAMPTZ(3),
    CONSTRAINT "sampling_epoch_pkey" PRIMARY KEY ("epoch"),
    CONSTRAINT "sampling_epoch_revealed_check" CHECK (("secret" IS NULL) = ("revealed_at" IS NULL))
);

-- What was committed to can't be changed afterwards; a secret is revealed once.
CREATE FUNCTION "refuse_new_commitment"() RETURNS TRIGGER LANGUAGE plpgsql AS $$
BEGIN
    IF OLD."secret" IS NOT NULL
        OR (NEW."epoch", NEW."begins_at", NEW."secret_hash", NEW."policy", NEW."policy_hash",
            NEW."published_at")
           IS DISTINCT FROM (OLD."epoch", OLD."begins_at", OLD."secret_hash", OLD."policy",
            OLD."policy_hash", OLD."published_at")
    THEN RAISE EXCEPTION 'sampling_epoch % is committed to: change refused', OLD."epoch"; END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER "sampling_epoch_committed" BEFORE UPDATE ON "sampling_epoch"
    FOR EACH ROW EXECUTE FUNCTION "refuse_new_commitment"();
CREATE TRIGGER "sampling_epoch_kept" BEFORE DELETE OR TRUNCATE ON "sampling_epoch"
    FOR EACH STATEMENT EXECUTE FUNCTION "refuse_change"();

-- The PoE of every return that passed check 1. Those of checks aren't drawn themselves.
CREATE TABLE "proof" (
    "unit_id" TEXT NOT NULL,
    "dispatch" INTEGER NOT NULL,
    "node_id" TEXT NOT NULL,
    "poe" TEXT NOT NULL,
    "stored_at" TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "epoch" INTEGER,
    "rate_ppm" INTEGER,
    "draw" TEXT,
    "is_sampled" BOOLEAN NOT NULL DEFAULT FALSE,
    CONSTRAINT "proof_pkey" PRIMARY KEY ("unit_id", "dispatch"),
    CONSTRAINT "proof_drawn_check" CHECK (("epoch" IS NULL) = ("draw" IS NULL)
        AND ("epoch" IS NULL) = ("rate_ppm" IS NULL) AND ("epoch" IS NOT NULL OR NOT "is_sampled")),
    CONSTRAINT "proof_rate_check" CHECK ("rate_ppm" BETWEEN 0 AND 1000000)
);
CREATE INDEX "proof_epoch_idx" ON "proof" ("epoch") WHERE "epoch" IS NOT NULL;
CREATE TRIGGER "proof_append_only" BEFORE UPDATE OR DELETE OR TRUNCATE
    ON "proof" FOR EACH STATEMENT EXECUTE FUNCTION "refuse_change"();

-- How the check of a sampled unit ended, and with it each vote that was accepted.
CREATE TABLE "verification" (
    "unit_id" TEXT NOT NULL,
    "outcome" TEXT NOT NULL,
    -- Of the dispatch whose result stands; null when none does.
    "winner" INTEGER,
    "comparator" TEXT NOT NULL,
    "decided_at" TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    CONSTRAINT "verification_pkey" PRIMARY KEY ("unit_id"),
    CONSTRAINT "verification_outcome_check" CHECK
        ("outcome" IN ('agreed', 'overruled', 'no_majority', 'hash_only')),
    CONSTRAINT "verification_winner_check" CHECK
        (("winner" IS NULL) = ("outcome" = 'no_majority'))
);
CREATE TRIGGER "verification_append_only" BEFORE UPDATE OR DELETE OR TRUNCATE
    ON "verification" FOR EACH STATEMENT EXECUTE FUNCTION "refuse_change"();
CREATE TABLE "vote" (
    "unit_id" TEXT NOT NULL,
    "dispatch" INTEGER NOT NULL,
    "node_id" TEXT NOT NULL,
    -- `majority`, `minority`, or `undecided` where there was no majority, or nobody to compare with.
    "side" TEXT NOT NULL,
    CONSTRAINT "vote_pkey" PRIMARY KEY ("unit_id", "dispatch"),
    CONSTRAINT "vote_side_check" CHECK ("side" IN ('majority', 'minority', 'undecided'))
);
CREATE INDEX "vote_node_id_idx" ON "vote" ("node_id");
CREATE TRIGGER "vote_append_only" BEFORE UPDATE OR DELETE OR TRUNCATE
    ON "vote" FOR EACH STATEMENT EXECUTE FUNCTION "refuse_change"();

-- What is known of a node's honesty, by the class of the work: only checked work moves it.
CREATE TABLE "node_trust" (
    "node_id" TEXT NOT NULL,
    "workload_class" TEXT NOT NULL,
    -- Units that were compared, since it was last let into the pool.
    "checked" INTEGER NOT NULL DEFAULT 0,
    -- Of the sequential test (protocol/sprt.ts).
    "log_ratio" DOUBLE PRECISION NOT NULL DEFAULT 0,
    -- When the test last cleared it.
    "cleared_at" TIMESTAMPTZ(3),
    CONSTRAINT "node_trust_pkey" PRIMARY KEY ("node_id", "workload_class"),
    CONSTRAINT "node_trust_node_id_fkey" FOREIGN KEY ("node_id")
        REFERENCES "node" ("id") ON DELETE CASCADE ON UPDATE CASCADE
);

-- Why a node was removed, and who let it in again and why. Append-only.
CREATE TABLE "node_review" (
    "id" BIGSERIAL NOT NULL,
    "node_id" TEXT NOT NULL,
    "decision" TEXT NOT NULL,
    -- Of a removal: a code of docs/errors.md.
    "code" TEXT,
    -- Of a reinstatement: by whom, and their words.
    "reviewer" TEXT,
    "reason" TEXT,
    "created_at" TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    CONSTRAINT "node_review_pkey" PRIMARY KEY ("id"),
    CONSTRAINT "node_review_decision_check" CHECK (
        ("decision" = 'removed' AND "code" IS NOT NULL)
        OR ("decision" = 'reinstated' AND "reviewer" IS NOT NULL AND "reason" IS NOT NULL))
);
CREATE INDEX "node_review_node_id_id_idx" ON "node_review" ("node_id", "id");
CREATE TRIGGER "node_review_append_only" BEFORE UPDATE OR DELETE OR TRUNCATE
    ON "node_review" FOR EACH STATEMENT EXECUTE FUNCTION "refuse_change"();

-- Since when what a removed node served unchecked is given back; null when nothing is left to do.
ALTER TABLE "node" ADD COLUMN "refund_since" TIMESTAMPTZ(3);
CREATE INDEX "node_refund_idx" ON "node" ("id") WHERE "refund_since" IS NOT NULL;

-- Checks, and the attempts whose time earns no uptime credit (spec 3.4).
ALTER TABLE "dispatch"
    ADD COLUMN "is_check" BOOLEAN NOT NULL DEFAULT FALSE,
    ADD COLUMN "forfeits_uptime" BOOLEAN NOT NULL DEFAULT FALSE;

-- A check waits for a node of another operator, and of the same equivalence class.
ALTER TABLE "waiting"
    ADD COLUMN "used_operators" TEXT[] NOT NULL DEFAULT '{}',
    ADD COLUMN "engine" TEXT;

-- Who may let nodes in again, and sees all draws.
ALTER TABLE "api_key" ADD COLUMN "is_admin" BOOLEAN NOT NULL DEFAULT FALSE;

-- Gives back what a unit was charged. Once, however often it runs.
CREATE FUNCTION "ledger_refund"("unit" TEXT, "account" TEXT, "amount_wei" NUMERIC)
RETURNS VOID LANGUAGE plpgsql AS $$
BEGIN
    IF "ledger_refund"."amount_wei" = 0 THEN RETURN; END IF;
    PERFORM FROM "ledger_account" AS "touched"
        WHERE "touched"."id" IN ("account" || ':available', 'usage')
        ORDER BY "touched"."id" FOR UPDATE;
    INSERT INTO "ledger_transfer" ("key", "purpose", "debit_id", "credit_id", "amount_wei")
    VALUES ("unit" || ':refund', 'refund', 'usage', "account" || ':available',
            "ledger_refund"."amount_wei")
    ON CONFLICT ("key") DO NOTHING;
END $$;
