-- One atomic step on a tenant's daily budget: `reserve` before a call, `settle` after it.
--
-- KEYS  1 counts (hash)   2 open reservations (sorted set by expiry)   3 this session's (list)
-- ARGV  1 reserve|settle  2 nano-USD  3 tokens  4 nano-USD cap  5 token cap (-1: none)
--       6 a reservation's lifetime in ms  7 the time in ms for tests ('': Redis' own clock)
-- Returns refused ('', 'usd', 'tokens'), usd, reserved usd, tokens, reserved tokens, ms to midnight
--
-- Whole numbers only: sums do not depend on the order of adding. Lua's numbers are exact to 2^53
-- (9 million USD a day).
local counts, open, mine = KEYS[1], KEYS[2], KEYS[3]
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
  redis.call('HINCRBY', counts, 'reserved_usd', 0 - tonumber(held_usd))
  redis.call('HINCRBY', counts, 'reserved_tokens', 0 - tonumber(held_tokens))
  return true
end

-- Calls that failed, or whose process died, never settle.
for _, reservation in ipairs(redis.call('ZRANGEBYSCORE', open, '-inf', now)) do
  release(reservation)
end

local refused = ''
local function full(field, need, cap)
  local used = count(field)
  return cap >= 0 and (used >= cap or used + count('reserved_' .. field) + need > cap)
end

if ARGV[1] == 'reserve' then
  if full('usd', usd, usd_cap) then
    refused = 'usd'
  elseif full('tokens', tokens, token_cap) then
    refused = 'tokens'
  else
    local number = redis.call('HINCRBY', counts, 'number', 1)
    local reservation = string.format('%.0f:%s:%s', number, ARGV[2], ARGV[3])
    redis.call('ZADD', open, now + lifetime, reservation)
    redis.call('RPUSH', mine, reservation)
    redis.call('PEXPIRE', mine, lifetime)
    redis.call('HINCRBY', counts, 'reserved_usd', ARGV[2])
    redis.call('HINCRBY', counts, 'reserved_tokens', ARGV[3])
  end
else
  -- A record does not say which check it belongs to. Taking the session's newest reservation leaves
  -- failed calls the one that expires first; once all are settled, the sums are the same.
  repeat
    local reservation = redis.call('RPOP', mine)
  until not reservation or release(reservation)
  redis.call('HINCRBY', counts, 'usd', ARGV[2])
  redis.call('HINCRBY', counts, 'tokens', ARGV[3])
  redis.call('HINCRBY', counts, 'calls', 1)
end

redis.call('PEXPIRE', counts, 2 * DAY)
redis.call('PEXPIRE', open, 2 * DAY)
local midnight = (math.max(today, count('day')) + 1) * DAY
return {
  refused, count('usd'), count('reserved_usd'), count('tokens'), count('reserved_tokens'),
  midnight - now,
}
