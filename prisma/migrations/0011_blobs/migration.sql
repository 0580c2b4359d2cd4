-- Data by its digest. Who holds none of it can't tell whether it is here.
CREATE TABLE "blob" (
    "digest" TEXT PRIMARY KEY CHECK ("digest" ~ '^sha256:[0-9a-f]{64}$'),
    "bytes" BIGINT NOT NULL CHECK ("bytes" >= 0),
    "created_at" TIMESTAMPTZ(3) NOT NULL DEFAULT now()
);

-- 'put': the node brought it, and it counts for its quota. 'granted': the node may read it.
CREATE TABLE "blob_holder" (
    "digest" TEXT NOT NULL REFERENCES "blob" ("digest"),
    "node_id" TEXT NOT NULL,
    "kind" TEXT NOT NULL CHECK ("kind" IN ('put', 'granted')),
    "expires_at" TIMESTAMPTZ(3) NOT NULL,
    PRIMARY KEY ("digest", "node_id", "kind")
);
CREATE INDEX "blob_holder_node_id_idx" ON "blob_holder" ("node_id");
CREATE INDEX "blob_holder_expires_at_idx" ON "blob_holder" ("expires_at");
