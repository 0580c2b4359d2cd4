-- The coordination plane's first tables. See prisma/schema.prisma for what each one means.

CREATE TABLE "account" (
    "id" TEXT NOT NULL,
    "name" TEXT NOT NULL,
    "created_at" TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    CONSTRAINT "account_pkey" PRIMARY KEY ("id")
);

CREATE TABLE "api_key" (
    "key_hash" TEXT NOT NULL,
    "account_id" TEXT NOT NULL,
    "created_at" TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    CONSTRAINT "api_key_pkey" PRIMARY KEY ("key_hash"),
    CONSTRAINT "api_key_account_id_fkey" FOREIGN KEY ("account_id")
        REFERENCES "account" ("id") ON DELETE RESTRICT ON UPDATE CASCADE
);

CREATE TABLE "model" (
    "id" TEXT NOT NULL,
    "digest" TEXT NOT NULL,
    "context_tokens" INTEGER NOT NULL,
    "prompt_price_wei" DECIMAL(78,0) NOT NULL,
    "completion_price_wei" DECIMAL(78,0) NOT NULL,
    "created_at" TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    CONSTRAINT "model_pkey" PRIMARY KEY ("id")
);

CREATE TABLE "request" (
    "id" TEXT NOT NULL,
    "intake_key" TEXT NOT NULL,
    "account_id" TEXT NOT NULL,
    "status" TEXT NOT NULL,
    "workload_class" TEXT NOT NULL,
    "model_id" TEXT NOT NULL,
    "parameters" JSONB NOT NULL,
    "requester_key" JSONB NOT NULL,
    "reserved_wei" DECIMAL(78,0) NOT NULL,
    "charged_wei" DECIMAL(78,0) NOT NULL DEFAULT 0,
    "accepted_at" TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "deadline_at" TIMESTAMPTZ(3) NOT NULL,
    "sealed_result" JSONB,
    "proof" JSONB,
    "failure_code" TEXT,
    "timeline" JSONB,
    "validated_at" TIMESTAMPTZ(3),
    "finished_at" TIMESTAMPTZ(3),
    CONSTRAINT "request_pkey" PRIMARY KEY ("id"),
    CONSTRAINT "request_account_id_fkey" FOREIGN KEY ("account_id")
        REFERENCES "account" ("id") ON DELETE RESTRICT ON UPDATE CASCADE,
    CONSTRAINT "request_status_check" CHECK ("status" IN ('accepted', 'running', 'validated',
        'completed', 'rejected', 'failed', 'cancelled', 'invalidated')),
    CONSTRAINT "request_charge_check" CHECK
        ("charged_wei" >= 0 AND "charged_wei" <= "reserved_wei")
);
CREATE UNIQUE INDEX "request_intake_key_key" ON "request" ("intake_key");
CREATE INDEX "request_account_id_accepted_at_idx" ON "request" ("account_id", "accepted_at");
-- The sweeper looks only at what has not ended.
CREATE INDEX "request_open_idx" ON "request" ("accepted_at") WHERE "finished_at" IS NULL;

CREATE TABLE "node" (
    "id" TEXT NOT NULL,
    "name" TEXT NOT NULL,
    "operator_id" TEXT NOT NULL,
    "status" TEXT NOT NULL DEFAULT 'active',
    "tier" INTEGER NOT NULL,
    "workload_classes" TEXT[],
    "model_id" TEXT NOT NULL,
    "model_digest" TEXT NOT NULL,
    "engine" TEXT NOT NULL,
    "tokens_per_second" DOUBLE PRECISION NOT NULL,
    "signing_key" BYTEA NOT NULL,
    "encryption_key" BYTEA NOT NULL,
    "registered_at" TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "last_seen_at" TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    CONSTRAINT "node_pkey" PRIMARY KEY ("id"),
    CONSTRAINT "node_status_check" CHECK ("status" IN ('active', 'draining', 'removed'))
);

CREATE TABLE "slot" (
    "node_id" TEXT NOT NULL,
    "index" INTEGER NOT NULL,
    "unit_id" TEXT,
    "dispatch" INTEGER,
    "lease_until" TIMESTAMPTZ(3),
    CONSTRAINT "slot_pkey" PRIMARY KEY ("node_id", "index"),
    CONSTRAINT "slot_node_id_fkey" FOREIGN KEY ("node_id")
        REFERENCES "node" ("id") ON DELETE RESTRICT ON UPDATE CASCADE,
    CONSTRAINT "slot_lease_check" CHECK
        (("unit_id" IS NULL) = ("dispatch" IS NULL) AND ("unit_id" IS NULL) = ("lease_until" IS NULL))
);
CREATE UNIQUE INDEX "slot_unit_id_dispatch_key" ON "slot" ("unit_id", "dispatch");

CREATE TABLE "dispatch" (
    "unit_id" TEXT NOT NULL,
    "dispatch" INTEGER NOT NULL,
    "node_id" TEXT NOT NULL,
    "coordinator" TEXT NOT NULL,
    "reserved_at" TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "decrypted_at" TIMESTAMPTZ(3),
    "finished_at" TIMESTAMPTZ(3),
    "outcome" TEXT,
    "decided_at" TIMESTAMPTZ(3),
    CONSTRAINT "dispatch_pkey" PRIMARY KEY ("unit_id", "dispatch")
);
CREATE INDEX "dispatch_node_id_reserved_at_idx" ON "dispatch" ("node_id", "reserved_at");

CREATE TABLE "waiting" (
    "unit_id" TEXT NOT NULL,
    "priority" INTEGER NOT NULL,
    "complexity" INTEGER NOT NULL,
    "model_digest" TEXT NOT NULL,
    "tier" INTEGER NOT NULL,
    "since" TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "woken_at" TIMESTAMPTZ(3),
    "deadline_at" TIMESTAMPTZ(3) NOT NULL,
    CONSTRAINT "waiting_pkey" PRIMARY KEY ("unit_id")
);

CREATE TABLE "failure_event" (
    "id" BIGSERIAL NOT NULL,
    "unit_id" TEXT NOT NULL,
    "dispatch" INTEGER NOT NULL,
    "step" TEXT NOT NULL,
    "code" TEXT NOT NULL,
    "node_id" TEXT,
    "recovery" TEXT NOT NULL,
    "created_at" TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    CONSTRAINT "failure_event_pkey" PRIMARY KEY ("id")
);
CREATE UNIQUE INDEX "failure_event_unit_id_dispatch_code_key"
    ON "failure_event" ("unit_id", "dispatch", "code");

CREATE TABLE "node_event" (
    "id" BIGSERIAL NOT NULL,
    "node_id" TEXT NOT NULL,
    "unit_id" TEXT NOT NULL,
    "dispatch" INTEGER NOT NULL,
    "code" TEXT NOT NULL,
    "created_at" TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    CONSTRAINT "node_event_pkey" PRIMARY KEY ("id")
);
CREATE UNIQUE INDEX "node_event_node_id_unit_id_dispatch_code_key"
    ON "node_event" ("node_id", "unit_id", "dispatch", "code");

CREATE TABLE "ledger_account" (
    "id" TEXT NOT NULL,
    "balance_wei" DECIMAL(78,0) NOT NULL DEFAULT 0,
    CONSTRAINT "ledger_account_pkey" PRIMARY KEY ("id"),
    -- `funding` is the mirror of what came in from outside, so it alone runs below zero.
    CONSTRAINT "ledger_account_not_overdrawn" CHECK ("balance_wei" >= 0 OR "id" = 'funding')
);

CREATE TABLE "ledger_transfer" (
    "key" TEXT NOT NULL,
    "purpose" TEXT NOT NULL,
    "debit_id" TEXT NOT NULL,
    "credit_id" TEXT NOT NULL,
    "amount_wei" DECIMAL(78,0) NOT NULL,
    "created_at" TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    CONSTRAINT "ledger_transfer_pkey" PRIMARY KEY ("key"),
    CONSTRAINT "ledger_transfer_positive" CHECK ("amount_wei" > 0),
    CONSTRAINT "ledger_transfer_two_sides" CHECK ("debit_id" <> "credit_id")
);

-- Append-only means that the database refuses anything else, whoever asks.
CREATE FUNCTION "refuse_change"() RETURNS TRIGGER LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% is append-only: % refused', TG_TABLE_NAME, TG_OP;
END $$;
CREATE TRIGGER "ledger_transfer_append_only" BEFORE UPDATE OR DELETE OR TRUNCATE
    ON "ledger_transfer" FOR EACH STATEMENT EXECUTE FUNCTION "refuse_change"();
CREATE TRIGGER "failure_event_append_only" BEFORE UPDATE OR DELETE OR TRUNCATE
    ON "failure_event" FOR EACH STATEMENT EXECUTE FUNCTION "refuse_change"();
CREATE TRIGGER "node_event_append_only" BEFORE UPDATE OR DELETE OR TRUNCATE
    ON "node_event" FOR EACH STATEMENT EXECUTE FUNCTION "refuse_change"();

-- The balance moves in the same statement as the transfer, so that no code path can forget it.
CREATE FUNCTION "post_transfer"() RETURNS TRIGGER LANGUAGE plpgsql AS $$
BEGIN
    -- Always in the order of the ids: two transfers between the same accounts can't deadlock.
    IF NEW."debit_id" < NEW."credit_id" THEN
        UPDATE "ledger_account" SET "balance_wei" = "balance_wei" - NEW."amount_wei"
            WHERE "id" = NEW."debit_id";
        IF NOT FOUND THEN RAISE EXCEPTION 'no ledger account %', NEW."debit_id"; END IF;
    END IF;
    UPDATE "ledger_account" SET "balance_wei" = "balance_wei" + NEW."amount_wei"
        WHERE "id" = NEW."credit_id";
    IF NOT FOUND THEN RAISE EXCEPTION 'no ledger account %', NEW."credit_id"; END IF;
    IF NEW."debit_id" > NEW."credit_id" THEN
        UPDATE "ledger_account" SET "balance_wei" = "balance_wei" - NEW."amount_wei"
            WHERE "id" = NEW."debit_id";
        IF NOT FOUND THEN RAISE EXCEPTION 'no ledger account %', NEW."debit_id"; END IF;
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER "ledger_transfer_post" AFTER INSERT ON "ledger_transfer"
    FOR EACH ROW EXECUTE FUNCTION "post_transfer"();

INSERT INTO "ledger_account" ("id") VALUES ('funding'), ('usage');
