-- API keys with an id, scopes, an end, and limits. Accounts are addresses; older ones keep their ids.
ALTER TABLE "api_key"
    ADD COLUMN "id" TEXT,
    ADD COLUMN "name" TEXT NOT NULL DEFAULT '',
    -- The first characters of the key, by which people tell theirs apart.
    ADD COLUMN "hint" TEXT NOT NULL DEFAULT '',
    ADD COLUMN "scopes" TEXT[] NOT NULL DEFAULT '{inference,read}',
    ADD COLUMN "expires_at" TIMESTAMPTZ(3),
    ADD COLUMN "revoked_at" TIMESTAMPTZ(3),
    -- Limits; null is none.
    ADD COLUMN "budget_wei" DECIMAL(78,0) CHECK ("budget_wei" >= 0),
    ADD COLUMN "budget_period" TEXT NOT NULL DEFAULT 'month'
        CHECK ("budget_period" IN ('day', 'month', 'total')),
    ADD COLUMN "requests_per_minute" INTEGER CHECK ("requests_per_minute" > 0),
    ADD COLUMN "tokens_per_minute" INTEGER CHECK ("tokens_per_minute" > 0),
    ADD COLUMN "concurrency" INTEGER CHECK ("concurrency" > 0),
    -- What is used of them.
    ADD COLUMN "in_flight" INTEGER NOT NULL DEFAULT 0 CHECK ("in_flight" >= 0),
    ADD COLUMN "reserved_wei" DECIMAL(78,0) NOT NULL DEFAULT 0 CHECK ("reserved_wei" >= 0),
    ADD COLUMN "spent_wei" DECIMAL(78,0) NOT NULL DEFAULT 0 CHECK ("spent_wei" >= 0),
    ADD COLUMN "period_began_at" TIMESTAMPTZ(3) NOT NULL DEFAULT now(),
    ADD COLUMN "window_began_at" TIMESTAMPTZ(3) NOT NULL DEFAULT now(),
    ADD COLUMN "window_requests" INTEGER NOT NULL DEFAULT 0,
    ADD COLUMN "window_tokens" BIGINT NOT NULL DEFAULT 0;
UPDATE "api_key" SET "id" = 'key_' || left("key_hash", 24);
ALTER TABLE "api_key" ALTER COLUMN "id" SET NOT NULL;
ALTER TABLE "api_key" ALTER COLUMN "id"
    SET DEFAULT 'key_' || replace(gen_random_uuid()::text, '-', '');
CREATE UNIQUE INDEX "api_key_id_key" ON "api_key" ("id");
CREATE INDEX "api_key_account_id_idx" ON "api_key" ("account_id");

-- Nonces of sign-in messages (EIP-4361) that were used, until they would have ended.
CREATE TABLE "sign_in_nonce" (
    "nonce" TEXT PRIMARY KEY,
    "expires_at" TIMESTAMPTZ(3) NOT NULL
);
CREATE INDEX "sign_in_nonce_expires_at_idx" ON "sign_in_nonce" ("expires_at");

-- A key has used 80 or 100 % of its budget of one period.
CREATE TABLE "budget_alert" (
    "id" BIGSERIAL PRIMARY KEY,
    "key_id" TEXT NOT NULL,
    "account_id" TEXT NOT NULL,
    "period_began_at" TIMESTAMPTZ(3) NOT NULL,
    "percent" INTEGER NOT NULL CHECK ("percent" IN (80, 100)),
    "spent_wei" DECIMAL(78,0) NOT NULL,
    "budget_wei" DECIMAL(78,0) NOT NULL,
    "created_at" TIMESTAMPTZ(3) NOT NULL DEFAULT now(),
    -- When a coordinator told its log of it.
    "told_at" TIMESTAMPTZ(3),
    UNIQUE ("key_id", "period_began_at", "percent", "budget_wei")
);
CREATE INDEX "budget_alert_account_id_id_idx" ON "budget_alert" ("account_id", "id");
CREATE INDEX "budget_alert_untold_idx" ON "budget_alert" ("id") WHERE "told_at" IS NULL;

-- Prices by model, tier and priority. A version is never changed: a later one takes its place.
CREATE TABLE "price" (
    "model_id" TEXT NOT NULL REFERENCES "model" ("id") ON DELETE RESTRICT,
    "version" INTEGER NOT NULL CHECK ("version" > 0),
    "hardware_tier" INTEGER NOT NULL CHECK ("hardware_tier" BETWEEN 1 AND 5),
    "priority" TEXT NOT NULL CHECK ("priority" IN ('standard', 'expedited', 'urgent')),
    "prompt_price_wei" DECIMAL(78,0) NOT NULL CHECK ("prompt_price_wei" >= 0),
    "completion_price_wei" DECIMAL(78,0) NOT NULL CHECK ("completion_price_wei" >= 0),
    "begins_at" TIMESTAMPTZ(3) NOT NULL DEFAULT now(),
    PRIMARY KEY ("model_id", "hardware_tier", "priority", "version")
);

-- What a request was metered by, and what makes a repeated one the same.
ALTER TABLE "request"
    ADD COLUMN "key_id" TEXT,
    -- With an Idempotency-Key: what was asked for, keyed by it.
    ADD COLUMN "body_digest" TEXT,
    ADD COLUMN "price_version" INTEGER,
    -- Of what is charged for; null when nothing is.
    ADD COLUMN "prompt_tokens" BIGINT,
    ADD COLUMN "completion_tokens" BIGINT,
    -- What more there is to say of its failure: no payload, no secret.
    ADD COLUMN "failure_detail" JSONB;
CREATE INDEX "request_key_id_accepted_at_idx" ON "request" ("key_id", "accepted_at");

-- Among those that wait, no account gets in everybody else's way.
ALTER TABLE "waiting" ADD COLUMN "account_id" TEXT NOT NULL DEFAULT '';

-- What a node's backend can do besides chat: 'completion', 'logprobs', 'choices'.
ALTER TABLE "node" ADD COLUMN "features" TEXT[] NOT NULL DEFAULT '{}';
ALTER TABLE "waiting" ADD COLUMN "features" TEXT[] NOT NULL DEFAULT '{}';

-- Counters change with every request: room on the page lets rows change in place.
ALTER TABLE "api_key" SET (fillfactor = 50);
-- What an account was given; of all transfers only these are looked for by account.
CREATE INDEX "ledger_transfer_deposit_idx" ON "ledger_transfer" ("credit_id")
    WHERE "purpose" = 'deposit';

-- Models of an older network keep their price, whatever the tier and the priority.
INSERT INTO "price" ("model_id", "version", "hardware_tier", "priority", "prompt_price_wei",
                     "completion_price_wei", "begins_at")
SELECT "id", 1, "tier", "priority", "prompt_price_wei", "completion_price_wei", "created_at"
FROM "model", generate_series(1, 5) AS "tier",
     unnest('{standard,expedited,urgent}'::text[]) AS "priority";
CREATE TRIGGER "price_append_only" BEFORE UPDATE OR DELETE OR TRUNCATE
    ON "price" FOR EACH STATEMENT EXECUTE FUNCTION "refuse_change"();

-- When a budget period began that is under way: days and months are UTC's.
CREATE FUNCTION "budget_period_began"("key" "api_key", "at" TIMESTAMPTZ)
RETURNS TIMESTAMPTZ LANGUAGE sql STABLE AS $$
    SELECT CASE WHEN "key"."budget_period" = 'total' THEN "key"."period_began_at"
        ELSE greatest("key"."period_began_at",
                      date_trunc("key"."budget_period", "at", 'UTC')) END
$$;

-- A key as it is now, whether or not a period has ended since its row was written.
CREATE FUNCTION "key_now"("key" "api_key") RETURNS "api_key" LANGUAGE plpgsql STABLE AS $$
DECLARE
    "period" TIMESTAMPTZ := "budget_period_began"("key", now());
BEGIN
    IF "period" > "key"."period_began_at" THEN
        "key"."period_began_at" := "period";
        "key"."spent_wei" := 0;
    END IF;
    IF "key"."window_began_at" <= now() - interval '1 minute' THEN
        "key"."window_began_at" := now();
        "key"."window_requests" := 0;
        "key"."window_tokens" := 0;
    END IF;
    RETURN "key";
END $$;

-- Which of its limits keeps a key from one more request; null: none.
CREATE FUNCTION "key_refusal"(
    "key" "api_key", "account" TEXT, "amount_wei" NUMERIC, "tokens" BIGINT)
RETURNS TEXT LANGUAGE sql STABLE AS $$
    SELECT CASE
        WHEN "key"."revoked_at" <= now() OR "key"."expires_at" <= now() THEN 'key'
        WHEN "key"."account_id" <> "account" THEN 'account'
        WHEN "key"."spent_wei" + "key"."reserved_wei" + "amount_wei" > "key"."budget_wei"
            THEN 'budget'
        WHEN "key"."window_requests" >= "key"."requests_per_minute" THEN 'requests_per_minute'
        WHEN "key"."window_tokens" + "tokens" > "key"."tokens_per_minute" THEN 'tokens_per_minute'
        WHEN "key"."in_flight" >= "key"."concurrency" THEN 'concurrency' END
$$;

-- What a caller may know of its key's limits, and which of them refused it.
CREATE FUNCTION "key_state"("key" "api_key", "refused" TEXT)
RETURNS JSONB LANGUAGE sql STABLE AS $$
    SELECT jsonb_build_object('refused', "refused",
        'requestsPerMinute', "key"."requests_per_minute",
        'tokensPerMinute', "key"."tokens_per_minute",
        'concurrency', "key"."concurrency",
        'budgetWei', "key"."budget_wei"::text,
        'budgetPeriod', "key"."budget_period",
        'inFlight', "key"."in_flight",
        'usedWei', ("key"."spent_wei" + "key"."reserved_wei")::text,
        'windowRequests', "key"."window_requests",
        'windowTokens', "key"."window_tokens",
        'windowSeconds', extract(epoch FROM "key"."window_began_at" + interval '1 minute' - now()),
        'periodSeconds', CASE WHEN "key"."budget_period" <> 'total' THEN extract(epoch FROM
            date_trunc("key"."budget_period", now(), 'UTC')
            + ('1 ' || "key"."budget_period")::interval - now()) END)
$$;

-- Writes down, once, that a key has used so much of its budget of one period.
CREATE FUNCTION "budget_alert_at"("key" "api_key", "percent" INTEGER)
RETURNS VOID LANGUAGE sql AS $$
    INSERT INTO "budget_alert"
        ("key_id", "account_id", "period_began_at", "percent", "spent_wei", "budget_wei")
    SELECT "key"."id", "key"."account_id", "key"."period_began_at", "percent",
           "key"."spent_wei", "key"."budget_wei"
    WHERE "key"."budget_wei" > 0
    ON CONFLICT DO NOTHING
$$;

-- Sets a request's price aside, and counts it against its key. All of it or nothing: "refused" of
-- the answer says why nothing. Accounts are locked before keys, here and wherever a request ends.
CREATE FUNCTION "request_admit"(
    "unit" TEXT, "account" TEXT, "key_id" TEXT, "amount_wei" NUMERIC, "tokens" BIGINT)
RETURNS JSONB LANGUAGE plpgsql AS $$
DECLARE
    "key" "api_key";
    "refused" TEXT;
BEGIN
    IF "request_admit"."key_id" IS NULL THEN
        RETURN CASE WHEN "ledger_reserve"("unit", "account", "amount_wei") THEN '{}'::jsonb
            ELSE '{"refused": "credit"}'::jsonb END;
    END IF;
    -- A look without locks: what is refused anyway holds up nobody.
    SELECT * INTO "key" FROM "api_key" WHERE "id" = "request_admit"."key_id";
    IF NOT FOUND THEN RETURN '{"refused": "key"}'; END IF;
    "key" := "key_now"("key");
    "refused" := "key_refusal"("key", "account", "amount_wei", "tokens");
    IF "refused" IS NULL THEN
        PERFORM FROM "ledger_account" AS "payer"
            WHERE "payer"."id" IN ("account" || ':available', "account" || ':reserved')
            ORDER BY "payer"."id" FOR UPDATE;
        PERFORM FROM "ledger_account" AS "payer"
            WHERE "payer"."id" = "account" || ':available'
              AND "payer"."balance_wei" >= "request_admit"."amount_wei";
        IF NOT FOUND THEN RETURN '{"refused": "credit"}'; END IF;
        SELECT * INTO "key" FROM "api_key" WHERE "id" = "request_admit"."key_id"
            FOR NO KEY UPDATE;
        IF NOT FOUND THEN RETURN '{"refused": "key"}'; END IF;
        "key" := "key_now"("key");
        "refused" := "key_refusal"("key", "account", "amount_wei", "tokens");
    END IF;
    IF "refused" IS NOT NULL THEN
        -- Whatever is still open: what is spent leaves no room for a request of that size.
        IF "refused" = 'budget' AND "amount_wei" <= "key"."budget_wei"
            AND "key"."spent_wei" + "amount_wei" > "key"."budget_wei"
            AND "key"."spent_wei" * 100 >= "key"."budget_wei" * 80 THEN
            PERFORM "budget_alert_at"("key", 100);
        END IF;
        RETURN "key_state"("key", "refused");
    END IF;
    PERFORM "ledger_reserve"("unit", "account", "amount_wei");
    "key"."in_flight" := "key"."in_flight" + 1;
    "key"."reserved_wei" := "key"."reserved_wei" + "amount_wei";
    "key"."window_requests" := "key"."window_requests" + 1;
    "key"."window_tokens" := "key"."window_tokens" + "tokens";
    UPDATE "api_key" AS "counted" SET
        "in_flight" = "key"."in_flight", "reserved_wei" = "key"."reserved_wei",
        "spent_wei" = "key"."spent_wei", "period_began_at" = "key"."period_began_at",
        "window_began_at" = "key"."window_began_at",
        "window_requests" = "key"."window_requests", "window_tokens" = "key"."window_tokens"
    WHERE "counted"."id" = "request_admit"."key_id";
    RETURN "key_state"("key", NULL);
END $$;

-- A key's counters follow its requests, whatever ends or refunds them, so that no code path can
-- forget it. A charge counts in the period in which its request ended.
CREATE FUNCTION "count_request"() RETURNS TRIGGER LANGUAGE plpgsql AS $$
DECLARE
    "key" "api_key";
    "ends" BOOLEAN := OLD."finished_at" IS NULL AND NEW."finished_at" IS NOT NULL;
    "spent" NUMERIC := CASE WHEN NEW."finished_at" IS NULL THEN 0
                            ELSE NEW."charged_wei" - NEW."refunded_wei" END
                     - CASE WHEN OLD."finished_at" IS NULL THEN 0
                            ELSE OLD."charged_wei" - OLD."refunded_wei" END;
BEGIN
    SELECT * INTO "key" FROM "api_key" WHERE "id" = NEW."key_id" FOR NO KEY UPDATE;
    IF NOT FOUND THEN RETURN NULL; END IF;
    "key" := "key_now"("key");
    IF "ends" THEN
        "key"."in_flight" := "key"."in_flight" - 1;
        "key"."reserved_wei" := "key"."reserved_wei" - NEW."reserved_wei";
    END IF;
    IF NEW."finished_at" >= "key"."period_began_at" THEN
        -- A charge at the very end of a period can have its time rounded up into the next one, in
        -- which it was never counted, and is given back.
        "key"."spent_wei" := greatest(0, "key"."spent_wei" + "spent");
    END IF;
    UPDATE "api_key" AS "counted" SET
        "in_flight" = "key"."in_flight", "reserved_wei" = "key"."reserved_wei",
        "spent_wei" = "key"."spent_wei", "period_began_at" = "key"."period_began_at"
    WHERE "counted"."id" = NEW."key_id";
    IF "spent" > 0 AND "key"."spent_wei" * 100 >= "key"."budget_wei" * 80 THEN
        PERFORM "budget_alert_at"("key", 80);
    END IF;
    IF "spent" > 0 AND "key"."spent_wei" >= "key"."budget_wei" THEN
        PERFORM "budget_alert_at"("key", 100);
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER "request_count" AFTER UPDATE OF "finished_at", "charged_wei", "refunded_wei"
    ON "request" FOR EACH ROW
    WHEN (NEW."key_id" IS NOT NULL
          AND (OLD."finished_at", OLD."charged_wei", OLD."refunded_wei")
              IS DISTINCT FROM (NEW."finished_at", NEW."charged_wei", NEW."refunded_wei"))
    EXECUTE FUNCTION "count_request"();
