-- One atomic step on a tenant's daily budget: `reserve` before a call, `settle` after it, `release`
-- if it ended without a record, `look` to tell the levels.
--
-- KEYS  1 counts (hash)  2 open reservations by expiry  3 the same by when they were made
--       4 this session's by expiry (2 to 4: sorted sets)
-- ARGV  1 the step  2 nano-USD  3 tokens  4 nano-USD cap  5 token cap (-1: none)
--       6 a reservation's lifetime in ms  7 the time in ms for tests ('': Redis' own clock)
-- Returns refused ('', 'usd', 'tokens'), usd, reserved usd, tokens, reserved tokens, ms to
-- midnight, age of the oldest reservation in ms (-1: there is none)
--
-- Whole numbers only: sums do not depend on the order of adding. Lua's numbers are exact to 2^53
-- (9 million USD a day).
local step, counts, open, made, mine = ARGV[1], KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local usd, tokens = tonumber(ARGV[2]), tonumber(ARGV[3])
local usd_cap, token_cap = tonumber(ARGV[4]), tonumber(ARGV[5])
local lifetime, now = tonumber(ARGV[6]), tonumber(ARGV[7])
local DAY = 86400000

if not now then -- one clock for all processes, whatever their own clocks show
  local time = redis.call('TIME')
  now = time[1] * 1000 + math.floor(time[2] / 1000)
end

local function count(field)
  return tonumber(redis.call('HGET', counts, field) or 0)
end

-- A new day begins (a clock that steps back does not begin one). Reservations stay: a call that is
-- in progress at midnight is recorded, and so paid, on the day on which it ends.
local today = math.floor(now / DAY)
if today > count('day') then
  redis.call('HSET', counts, 'day', today, 'usd', 0, 'tokens', 0, 'calls', 0)
end

local function release(reservation)
  if redis.call('ZREM', open, reservation) == 0 then return false end
  local held_usd, held_tokens = reservation:match('^%d+:(%d+):(%d+)$')
  redis.call('ZREM', made, reservation)
  redis.call('HINCRBY', counts, 'reserved_usd', 0 - tonumber(held_usd))
  redis.call('HINCRBY', counts, 'reserved_tokens', 0 - tonumber(held_tokens))
  return true
end

-- Calls that failed, or whose process died, never settle.
for _, reservation in ipairs(redis.call('ZRANGEBYSCORE', open, '-inf', now)) do
  release(reservation)
end

-- A record does not say which check it belongs to. It ends the smallest reservation of its session
-- that covers what was used (of equal ones the newest), or the smallest: what is still held then
-- covers the calls that are still in progress.
local function is_better(one, other)
  if one.covers ~= other.covers then return one.covers end
  if one.size ~= other.size then return one.size < other.size end
  return one.number > other.number
end

local function end_one(used)
  local best
  redis.call('ZREMRANGEBYSCORE', mine, '-inf', now)
  for _, reservation in ipairs(redis.call('ZRANGE', mine, 0, -1)) do
    local number, held_usd, held_tokens = reservation:match('^(%d+):(%d+):(%d+)$')
    local size = tonumber(token_cap >= 0 and held_tokens or held_usd)
    local candidate = {
      reservation = reservation, number = tonumber(number), size = size, covers = size >= used,
    }
    if not best or is_better(candidate, best) then best = candidate end
  end
  if best then
    redis.call('ZREM', mine, best.reservation)
    -- After a clock that stepped back, it may have expired.
    if not release(best.reservation) then end_one(used) end
  end
end

local refused = ''
local function full(field, need, cap)
  local used = count(field)
  return cap >= 0 and (used >= cap or used + count('reserved_' .. field) + need > cap)
end

if step == 'reserve' then
  if full('usd', usd, usd_cap) then
    refused = 'usd'
  elseif full('tokens', tokens, token_cap) then
    refused = 'tokens'
  else
    local number = redis.call('HINCRBY', counts, 'number', 1)
    local reservation = string.format('%.0f:%s:%s', number, ARGV[2], ARGV[3])
    redis.call('ZADD', open, now + lifetime, reservation)
    redis.call('ZADD', made, now, reservation)
    redis.call('ZADD', mine, now + lifetime, reservation)
    redis.call('PEXPIRE', mine, lifetime)
    redis.call('HINCRBY', counts, 'reserved_usd', ARGV[2])
    redis.call('HINCRBY', counts, 'reserved_tokens', ARGV[3])
  end
elseif step ~= 'look' then
  end_one(token_cap >= 0 and tokens or usd)
end
if step == 'settle' then
  redis.call('HINCRBY', counts, 'usd', ARGV[2])
  redis.call('HINCRBY', counts, 'tokens', ARGV[3])
  redis.call('HINCRBY', counts, 'calls', 1)
end

redis.call('PEXPIRE', counts, 2 * DAY)
redis.call('PEXPIRE', open, 2 * DAY)
redis.call('PEXPIRE', made, 2 * DAY)
local midnight = (math.max(today, count('day')) + 1) * DAY
local oldest = redis.call('ZRANGE', made, 0, 0, 'WITHSCORES')[2]
return {
  refused, count('usd'), count('reserved_usd'), count('tokens'), count('reserved_tokens'),
  midnight - now, oldest and math.max(0, now - tonumber(oldest)) or -1,
}
