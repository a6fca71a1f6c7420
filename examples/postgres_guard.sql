-- Tables and functions of postgres_guard.py: once for each database.
--
-- Amounts are whole numbers of 1e-12 USD or of tokens. Rows of an account are written by none but
-- the step that has locked it in budget_accounts, and steps lock their accounts in one order. Counts
-- of past windows stay, to be read or deleted.
CREATE TABLE IF NOT EXISTS budget_accounts (account text PRIMARY KEY);
CREATE TABLE IF NOT EXISTS budget_used (
  account text, starts timestamptz, used numeric NOT NULL, uncounted bigint NOT NULL,
  PRIMARY KEY (account, starts));
CREATE TABLE IF NOT EXISTS budget_reserved (
  account text, call bigint, session text NOT NULL, size numeric NOT NULL, amount numeric NOT NULL,
  made timestamptz NOT NULL, expires timestamptz NOT NULL, PRIMARY KEY (account, call));
CREATE SEQUENCE IF NOT EXISTS budget_calls;

CREATE OR REPLACE FUNCTION budget_start(_window text, _now timestamptz) RETURNS timestamptz
LANGUAGE sql AS $$
  SELECT CASE _window WHEN 'ever' THEN '-infinity' ELSE date_trunc(_window, _now, 'UTC') END
$$;

CREATE OR REPLACE FUNCTION budget_look(_accounts text[], _windows text[], _now timestamptz)
RETURNS TABLE (number bigint, now float8, used numeric, reserved numeric, uncounted bigint,
               oldest float8)
LANGUAGE sql AS $$
  SELECT number, extract(epoch FROM _now)::float8, coalesce(used, 0), coalesce(amount, 0),
         coalesce(uncounted, 0), extract(epoch FROM _now - made)::float8
  FROM unnest(_accounts, _windows) WITH ORDINALITY AS asked (account, "window", number)
  LEFT JOIN budget_used
    ON budget_used.account = asked.account AND starts = budget_start("window", _now)
  LEFT JOIN LATERAL (
    SELECT sum(amount) AS amount, min(made) AS made FROM budget_reserved
    WHERE budget_reserved.account = asked.account AND expires > _now) AS held ON true
  ORDER BY number
$$;

CREATE OR REPLACE FUNCTION budget_step(
  _step text, _session text, _size numeric, _lifetime float8,
  _accounts text[], _windows text[], _amounts numeric[], _caps numeric[])
RETURNS TABLE (number bigint, now float8, used numeric, reserved numeric, uncounted bigint,
               oldest float8)
LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
  _now timestamptz;
  _call bigint;
BEGIN
  -- Locks what is there, too; in one order, so that no two steps wait for each other.
  INSERT INTO budget_accounts SELECT unnest(_accounts) ORDER BY 1
    ON CONFLICT (account) DO UPDATE SET account = EXCLUDED.account WHERE false;
  _now := clock_timestamp();
  DELETE FROM budget_reserved WHERE account = ANY (_accounts) AND expires <= _now;
  IF _step = 'settle' THEN
    INSERT INTO budget_used
      SELECT account, budget_start("window", _now), coalesce(amount, 0), (amount IS NULL)::int
      FROM unnest(_accounts, _windows, _amounts) AS asked (account, "window", amount)
      ON CONFLICT (account, starts) DO UPDATE SET used = budget_used.used + EXCLUDED.used,
        uncounted = budget_used.uncounted + EXCLUDED.uncounted;
  END IF;
  IF _step <> 'reserve' THEN
    -- The smallest of the session that covers what was used, of equal ones the newest; or the
    -- smallest.
    SELECT call INTO _call FROM budget_reserved
      WHERE session = _session AND account = ANY (_accounts)
      ORDER BY size < _size, size, call DESC LIMIT 1;
    DELETE FROM budget_reserved WHERE call = _call AND account = ANY (_accounts);
  END IF;
  RETURN QUERY SELECT * FROM budget_look(_accounts, _windows, _now);
  IF _step = 'reserve' AND NOT EXISTS (
    SELECT FROM budget_look(_accounts, _windows, _now) AS found
    JOIN unnest(_amounts, _caps) WITH ORDINALITY AS asked (amount, cap, number) USING (number)
    WHERE used >= cap OR used + reserved + amount > cap) THEN
    _call := nextval('budget_calls');
    INSERT INTO budget_reserved
      SELECT account, _call, _session, _size, amount, _now, _now + _lifetime * interval '1 second'
      FROM unnest(_accounts, _amounts) AS asked (account, amount);
  END IF;
END $$;
