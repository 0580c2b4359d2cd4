-- Secrets that keys had before they were rotated, as long as they are still taken. A key keeps its
-- row, and so its id, its limits and what is used of them.
CREATE TABLE "former_secret" (
    "key_hash" TEXT PRIMARY KEY,
    "key_id" TEXT NOT NULL REFERENCES "api_key" ("id") ON DELETE CASCADE ON UPDATE CASCADE,
    "ends_at" TIMESTAMPTZ(3) NOT NULL
);
CREATE INDEX "former_secret_key_id_idx" ON "former_secret" ("key_id");
