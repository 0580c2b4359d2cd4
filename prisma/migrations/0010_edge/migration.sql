-- Operators sign for their nodes; an address is that of one account.
ALTER TABLE "operator" ADD COLUMN "address" TEXT
    CHECK ("address" ~ '^0x[0-9a-f]{40}$');
CREATE UNIQUE INDEX "operator_address_key" ON "operator" ("address");

-- Each heartbeat answers a nonce, and each nonce is answered once.
ALTER TABLE "node"
    ADD COLUMN "heartbeat_sequence" INTEGER NOT NULL DEFAULT 0,
    ADD COLUMN "binding" JSONB;

CREATE TABLE "node_certificate" (
    "serial" TEXT PRIMARY KEY,
    "node_id" TEXT NOT NULL,
    "issued_at" TIMESTAMPTZ(3) NOT NULL DEFAULT now(),
    "expires_at" TIMESTAMPTZ(3) NOT NULL
);
CREATE INDEX "node_certificate_node_id_idx" ON "node_certificate" ("node_id");

CREATE TABLE "join_token" (
    "hash" TEXT PRIMARY KEY,
    "uses_left" INTEGER NOT NULL CHECK ("uses_left" >= 0),
    "created_at" TIMESTAMPTZ(3) NOT NULL DEFAULT now(),
    "expires_at" TIMESTAMPTZ(3) NOT NULL
);
