-- Milliseconds since the epoch: what protocol/ reckons in.
CREATE FUNCTION "epoch_ms"("at" TIMESTAMPTZ) RETURNS DOUBLE PRECISION
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$ SELECT (extract(epoch FROM "at") * 1000)::float8 $$;
