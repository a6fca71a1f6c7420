-- One atomic step on all budgets of a call: `reserve` before it, `settle` after it, `release` if it
-- ended without a record, `look` to tell what they hold. The budgets of a call may be in two slots of
-- a cluster: then it is a step in each.
--
-- KEYS  1 the session's calls in progress (hash: id -> number:usd:tokens:expires)
--       then for each budget: counts (hash), its reservations by expiry and by when they were made
--       (sorted sets of id:usd:tokens)
-- ARGV  1 the step  2 the call's id ('': the one that fits best)  3, 4 nano-USD and tokens
--       5, 6 whether these are unknown (0 or 1)  7 what usage is compared by: usd or tokens
--       8 a reservation's lifetime in ms  9 the time in ms for tests ('': Redis' own clock)
--       10 ms without a record after which a budget that never resets is forgotten
--       then for each budget: its unit, its cap, and the four edges in ms of the windows before,
--       at and after the time as the caller knows it
-- Returns a status and the time in ms; then for each budget the window (1 to 3), used, reserved for
-- other calls, uncounted calls, age of the oldest reservation in ms (-1: there is none); then the id
-- of the call that was ended ('': none)
--
-- Whole numbers only: sums do not depend on the order of adding. Lua's numbers are exact to 2^53.
local OK, REFUSED, TOO_MANY, OTHER_TIME, ENDED = 0, 1, 2, 3, 4
local MOST_OF_A_SESSION, MOST = 1000, 9007199254740991
local step, id, mine = ARGV[1], ARGV[2], KEYS[1]
local amount = { usd = tonumber(ARGV[3]), tokens = tonumber(ARGV[4]) }
local unknown = { usd = ARGV[5] == '1', tokens = ARGV[6] == '1' }
local by, lifetime, now, idle = ARGV[7], tonumber(ARGV[8]), tonumber(ARGV[9]), tonumber(ARGV[10])

if not now then -- one clock for all processes, whatever their own clocks show
  local time = redis.call('TIME')
  now = time[1] * 1000 + math.floor(time[2] / 1000)
end

-- -- budgets ------------------------------------------------------------------------------
local budgets = {}
for number = 1, (#KEYS - 1) / 3 do
  local key, arg = 3 * number - 1, 5 + 6 * number
  local budget = {
    counts = KEYS[key], open = KEYS[key + 1], made = KEYS[key + 2],
    unit = ARGV[arg], cap = tonumber(ARGV[arg + 1]),
  }
  for window = 1, 3 do
    local start, stop = tonumber(ARGV[arg + 1 + window]), tonumber(ARGV[arg + 2 + window])
    if not budget.window and start <= now and now < stop then
      budget.window, budget.start, budget.stop = window, start, stop
    end
  end
  -- Nothing is done yet: the caller may ask again with the windows of this time.
  if not budget.window then return { OTHER_TIME, now } end
  budgets[number] = budget
end

local function end_in(budget, member)
  if redis.call('ZREM', budget.open, member) == 0 then return end
  redis.call('ZREM', budget.made, member)
  local usd, tokens = member:match(':(%d+):(%d+)$')
  local held = tonumber(budget.unit == 'usd' and usd or tokens)
  redis.call('HINCRBY', budget.counts, 'reserved', 0 - held)
end

-- Counts are kept of the last two windows in use. A clock that steps back into one of them goes on
-- with its counts; into one that a kept window follows, with those that follow.
local function read(budget)
  for _, member in ipairs(redis.call('ZRANGEBYSCORE', budget.open, '-inf', now)) do
    end_in(budget, member)
  end
  local kept = redis.call('HMGET', budget.counts,
    'start', 'used', 'uncounted', 'start_before', 'used_before', 'uncounted_before', 'reserved')
  budget.latest = { start = tonumber(kept[1]), used = kept[2], uncounted = kept[3] }
  budget.before = { start = tonumber(kept[4]), used = kept[5], uncounted = kept[6] }
  budget.reserved = tonumber(kept[7] or 0)
  for _, start in ipairs({ budget.start, budget.stop }) do
    for _, counts in ipairs({ budget.latest, budget.before }) do
      if not budget.current and counts.start == start then budget.current = counts end
    end
  end
  budget.used = tonumber(budget.current and budget.current.used or 0)
  budget.uncounted = tonumber(budget.current and budget.current.uncounted or 0)
end

local function charge(budget)
  if budget.current ~= budget.latest or not budget.current then
    local before = budget.latest
    if before.start then
      redis.call('HSET', budget.counts, 'start_before', before.start,
        'used_before', before.used or 0, 'uncounted_before', before.uncounted or 0)
    end
    local start = budget.current and budget.current.start or budget.start
    redis.call('HSET', budget.counts, 'start', start)
  end
  budget.used = math.min(budget.used + amount[budget.unit], MOST)
  budget.uncounted = budget.uncounted + (unknown[budget.unit] and 1 or 0)
  redis.call('HSET', budget.counts, 'used', budget.used, 'uncounted', budget.uncounted)
end

for _, budget in ipairs(budgets) do read(budget) end

-- -- the session's calls in progress --------------------------------------------------------
local calls, latest_expiry = {}, now
if step ~= 'look' then
  local fields = redis.call('HGETALL', mine)
  for index = 1, #fields, 2 do
    local expires = tonumber(fields[index + 1]:match(':(%d+)$'))
    if expires and expires <= now then
      redis.call('HDEL', mine, fields[index])
    elseif expires then
      calls[fields[index]] = fields[index + 1]
      latest_expiry = math.max(latest_expiry, expires)
    end
  end
end

local function member_of(call, text)
  local number, usd, tokens = text:match('^(%d+):(%d+):(%d+):')
  if number then return call .. ':' .. usd .. ':' .. tokens, tonumber(number), usd, tokens end
end

-- A call is no longer held that has expired in the budgets, which a clock that stepped back does not
-- undo, or whose budgets are others than those of this step.
local function is_held(member)
  for _, budget in ipairs(budgets) do
    if redis.call('ZSCORE', budget.open, member) then return true end
  end
  return false
end

local ended = ''

local function end_call(call, member)
  ended = call
  redis.call('HDEL', mine, call)
  for _, budget in ipairs(budgets) do end_in(budget, member) end
end

-- A record does not say which check it belongs to. It ends the smallest reservation of its session
-- that covers what was used (of equal ones the newest), or the smallest if none does: what is still
-- held then covers the calls that are still in progress.
local function is_better(one, other)
  if one.covers ~= other.covers then return one.covers end
  if one.size ~= other.size then return one.size < other.size end
  return one.number > other.number
end

local function end_best(used)
  local candidates = {}
  for call, text in pairs(calls) do
    local member, number, usd, tokens = member_of(call, text)
    if member then
      local size = tonumber(by == 'tokens' and tokens or usd)
      candidates[#candidates + 1] =
        { call = call, member = member, number = number, size = size, covers = size >= used }
    end
  end
  table.sort(candidates, is_better)
  for _, candidate in ipairs(candidates) do
    if is_held(candidate.member) then return end_call(candidate.call, candidate.member) end
  end
end

local function end_own()
  local own = calls[id] and member_of(id, calls[id])
  if own then end_call(id, own) end
end

-- -- the step -------------------------------------------------------------------------------
local status = OK
if step == 'reserve' then
  local known, open = calls[id], 0
  local own = known and member_of(id, known)
  if own and not is_held(own) then known, own = nil, nil end
  for _ in pairs(calls) do open = open + 1 end
  for _, budget in ipairs(budgets) do
    if own then -- asked again: it is not among the others
      budget.reserved = math.max(0, budget.reserved - amount[budget.unit])
    elseif budget.used >= budget.cap
      or budget.used + budget.reserved + amount[budget.unit] > budget.cap then
      status = REFUSED
    end
  end
  if known then
    status = own and OK or ENDED
  elseif status == OK and open >= MOST_OF_A_SESSION then
    status = TOO_MANY
  elseif status == OK then
    local number = redis.call('HINCRBY', mine, 'number', 1)
    local expires, amounts = now + lifetime, ARGV[3] .. ':' .. ARGV[4]
    latest_expiry = math.max(latest_expiry, expires)
    redis.call('HSET', mine, id, string.format('%.0f:%s:%.0f', number, amounts, expires))
    for _, budget in ipairs(budgets) do
      redis.call('ZADD', budget.open, expires, id .. ':' .. amounts)
      redis.call('ZADD', budget.made, now, id .. ':' .. amounts)
      redis.call('HINCRBY', budget.counts, 'reserved', amount[budget.unit])
    end
  end
elseif step == 'settle' then
  for _, budget in ipairs(budgets) do charge(budget) end
  if id == '' then end_best(amount[by]) else end_own() end
elseif step == 'release' and id == '' then
  end_best(0)
elseif step == 'release' then
  end_own()
  if ended == '' then
    -- Its reserve may arrive after this, by another connection: then it must reserve nothing.
    redis.call('HSET', mine, id, string.format('ended:%.0f', now + lifetime))
    latest_expiry = math.max(latest_expiry, now + lifetime)
  end
end

local reply = { status, now }
for _, budget in ipairs(budgets) do
  if step ~= 'look' then
    local life = idle
    if budget.stop < MOST then life = 2 * budget.stop - budget.start - now + lifetime end
    for _, key in ipairs({ budget.counts, budget.open, budget.made }) do
      redis.call('PEXPIRE', key, life)
    end
  end
  if step ~= 'reserve' then
    budget.reserved = tonumber(redis.call('HGET', budget.counts, 'reserved') or 0)
  end
  local oldest = redis.call('ZRANGE', budget.made, 0, 0, 'WITHSCORES')[2]
  local age = oldest and math.max(0, now - tonumber(oldest)) or -1
  for _, value in ipairs({ budget.window, budget.used, budget.reserved, budget.uncounted, age }) do
    reply[#reply + 1] = value
  end
end
if step ~= 'look' then redis.call('PEXPIRE', mine, math.max(1, latest_expiry - now)) end
reply[#reply + 1] = ended
return reply
