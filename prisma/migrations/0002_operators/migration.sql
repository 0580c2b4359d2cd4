-- Operators become accounts: a node belongs to one that is known here, instead of naming a text.

CREATE TABLE "operator" (
    "id" TEXT NOT NULL,
    "name" TEXT NOT NULL,
    "created_at" TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    CONSTRAINT "operator_pkey" PRIMARY KEY ("id")
);

-- Networks that run already keep their nodes: whoever one of them names is an operator.
INSERT INTO "operator" ("id", "name") SELECT DISTINCT "operator_id", "operator_id" FROM "node";

ALTER TABLE "node" ADD CONSTRAINT "node_operator_id_fkey" FOREIGN KEY ("operator_id")
    REFERENCES "operator" ("id") ON DELETE RESTRICT ON UPDATE CASCADE;
CREATE INDEX "node_operator_id_idx" ON "node" ("operator_id");
