-- Reserving and settling as one statement each: a round trip costs more than the work, and rows
-- that many requests want are locked for as short as can be. Both lock the ledger's accounts in the
-- order of their ids, as "post_transfer" does, so that they can't deadlock with each other.

-- Sets money aside for a unit. False, and nothing has changed, when the payer hasn't that much.
CREATE FUNCTION "ledger_reserve"("unit" TEXT, "account" TEXT, "amount_wei" NUMERIC)
RETURNS BOOLEAN LANGUAGE plpgsql AS $$
BEGIN
    PERFORM FROM "ledger_account" AS "payer"
        WHERE "payer"."id" = "ledger_reserve"."account" || ':available'
          AND "payer"."balance_wei" >= "ledger_reserve"."amount_wei"
        FOR UPDATE;
    IF NOT FOUND THEN RETURN FALSE; END IF;
    IF "ledger_reserve"."amount_wei" <> 0 THEN
        INSERT INTO "ledger_transfer" ("key", "purpose", "debit_id", "credit_id", "amount_wei")
        VALUES ("unit" || ':reserve', 'reserve', "account" || ':available',
                "account" || ':reserved', "ledger_reserve"."amount_wei")
        ON CONFLICT ("key") DO NOTHING;
    END IF;
    RETURN TRUE;
END $$;

-- Ends a reservation: "capture_wei" is paid for delivered work, "release_wei" goes back.
CREATE FUNCTION "ledger_settle"(
    "unit" TEXT, "account" TEXT, "capture_wei" NUMERIC, "release_wei" NUMERIC)
RETURNS VOID LANGUAGE plpgsql AS $$
BEGIN
    PERFORM FROM "ledger_account" AS "touched"
        WHERE "touched"."id" IN ("account" || ':available', "account" || ':reserved')
           OR ("touched"."id" = 'usage' AND "ledger_settle"."capture_wei" <> 0)
        ORDER BY "touched"."id" FOR UPDATE;
    INSERT INTO "ledger_transfer" ("key", "purpose", "debit_id", "credit_id", "amount_wei")
    SELECT "unit" || ':' || "move"."purpose", "move"."purpose", "account" || ':reserved',
           "move"."credit_id", "move"."wei"
    FROM (VALUES ('capture', 'usage', "ledger_settle"."capture_wei"),
                 ('release', "account" || ':available', "ledger_settle"."release_wei"))
         AS "move" ("purpose", "credit_id", "wei")
    WHERE "move"."wei" <> 0
    ON CONFLICT ("key") DO NOTHING;
END $$;
