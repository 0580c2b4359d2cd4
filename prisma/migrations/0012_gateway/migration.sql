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

-- Nonces of sign-in messages (EIP-4361); each is used once.
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
    UNIQUE ("key_id", "period_began_at", "percent", "budget_wei")
);
CREATE INDEX "budget_alert_account_id_id_idx" ON "budget_alert" ("account_id", "id");

-- Prices by model, tier and priority. A version is never changed: a later one takes its place.
CREATE TABLE "price" (
    "model_id" TEXT NOT NULL REFERENCES "model" ("id") ON DELETE CASCADE,
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
    -- Of what was delivered; null before its end, and when nothing was.
    ADD COLUMN "prompt_tokens" INTEGER,
    ADD COLUMN "completion_tokens" INTEGER,
    -- What more there is to say of its failure: no payload, no secret.
    ADD COLUMN "failure_detail" JSONB;
CREATE INDEX "request_key_id_accepted_at_idx" ON "request" ("key_id", "accepted_at");

-- Among those that wait, no account gets in everybody else's way.
ALTER TABLE "waiting" ADD COLUMN "account_id" TEXT NOT NULL DEFAULT '';

-- What a node's backend can do besides chat: 'completion', 'logprobs', 'choices'.
ALTER TABLE "node" ADD COLUMN "features" TEXT[] NOT NULL DEFAULT '{}';
ALTER TABLE "waiting" ADD COLUMN "features" TEXT[] NOT NULL DEFAULT '{}';
