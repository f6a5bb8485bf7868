-- tollgate admit, version 1
--
-- KEYS: counters holds leases epoch rates tombstone
-- ARGV: hold lease_ms amount minimum revoked_field owner_note wallet(0|1) n_budgets tokens
--       per budget: limit current_ends_at current_name next_name      (name: <budget>:<period start>)
--       per rate limit to the end: owner requests tokens concurrent   ('' where there is none)
-- Returns integers (exact below 2^53):
--   0 granted admitted_at_ms requests_limit requests_backlog_us tokens_limit tokens_backlog_us  (-1: none)
--   1|2 node (0 wallet, else budget) limit settled held is_next       spent | held
--   3 owner kind(1 requests, 2 tokens, 3 concurrency) excess_us
--   4 cold   5 revoked   6 settled already
-- Money in string form is always made by '%.0f': Lua's own conversion keeps only 14 digits.
local call, format, floor = redis.call, string.format, math.floor
local counters, holds, rates = KEYS[1], KEYS[2], KEYS[5]
local BURST_US = 60000000
local NEVER_FITS_US = 120000000

local stored = call('HGET', holds, ARGV[1])
if stored then
  local hold = cmsgpack.unpack(stored)
  return {0, hold[1], hold[2], hold[3], hold[4], hold[5], hold[6]}
end
if call('EXISTS', KEYS[6]) == 1 then
  return {6}
end

-- What is known.
local has_wallet = ARGV[7] == '1'
local n_budgets = tonumber(ARGV[8])
local time = call('TIME')
local now_us = time[1] * 1000000 + time[2]
local now_ms = floor(now_us / 1000)

local fields = {ARGV[5]}
local names, is_next = {}, {}
if has_wallet then
  fields[2], fields[3], fields[4] = 'wallet:limit', 'wallet:settled', 'wallet:held'
end
local at = 9
for i = 1, n_budgets do
  local name
  if now_ms < tonumber(ARGV[at + 2]) then
    name, is_next[i] = ARGV[at + 3], 0
  else
    name, is_next[i] = ARGV[at + 4], 1
  end
  names[i] = name
  fields[#fields + 1] = name .. ':settled'
  fields[#fields + 1] = name .. ':held'
  at = at + 4
end
local first_limit = at + 1
local values = call('HMGET', counters, unpack(fields))
if values[1] then
  return {5}
end

-- Money as it stands; anything unknown is cold, never "nothing spent".
local limits, settled, held = {}, {}, {}
local created
if has_wallet or n_budgets > 0 then
  local seeded_at = call('HGET', KEYS[4], 'seeded_at')
  if not seeded_at then
    return {4}
  end
  local value = 2
  if has_wallet then
    if not values[2] then
      return {4}
    end
    limits[0], settled[0], held[0] = tonumber(values[2]), tonumber(values[3]), tonumber(values[4])
    value = 5
  end
  for i = 1, n_budgets do
    limits[i] = tonumber(ARGV[9 + (i - 1) * 4 + 1])
    if values[value] then
      settled[i], held[i] = tonumber(values[value]), tonumber(values[value + 1])
    else
      -- Nothing can have been settled in a period that began after the seed was read.
      local starts_at = tonumber(string.match(names[i], ':(-?%d+)$'))
      if starts_at < tonumber(seeded_at) then
        return {4}
      end
      settled[i], held[i] = 0, 0
      created = created or {}
      created[#created + 1] = i
    end
    value = value + 2
  end
end

-- Rates: requests, then tokens, then concurrency; the longest wait of a kind is the answer.
local n_args = #ARGV
local rate_fields, new_rates = {}, {}
local requests_limit, requests_backlog, tokens_limit, tokens_backlog = -1, -1, -1, -1
local held_limits = {}
if first_limit <= n_args then
  local tokens = tonumber(ARGV[9])
  for i = first_limit, n_args, 4 do
    local owner, n = ARGV[i], #rate_fields
    rate_fields[n + 1], rate_fields[n + 2], rate_fields[n + 3] = owner .. ':r', owner .. ':t', owner .. ':c'
  end
  local rate_values = call('HMGET', rates, unpack(rate_fields))
  local excess, refused = {0, 0, 0}, {}
  local index = 0
  for i = first_limit, n_args, 4 do
    local base = index * 3
    index = index + 1
    local per_minute = tonumber(ARGV[i + 1])
    if per_minute then
      local cost = NEVER_FITS_US
      if per_minute > 0 then cost = math.max(floor(BURST_US / per_minute), 1) end
      local backlog = math.max((tonumber(rate_values[base + 1] or 0)) - now_us, 0) + cost
      if backlog - BURST_US > excess[1] then excess[1], refused[1] = backlog - BURST_US, index end
      if backlog > requests_backlog then requests_limit, requests_backlog = per_minute, backlog end
      new_rates[#new_rates + 1] = rate_fields[base + 1]
      new_rates[#new_rates + 1] = format('%.0f', now_us + backlog)
    end
    per_minute = tonumber(ARGV[i + 2])
    local reserved = -1
    if per_minute then
      reserved = NEVER_FITS_US
      if per_minute > 0 then
        reserved = math.min(tokens, per_minute) * BURST_US / per_minute
        if reserved > 0 then reserved = math.max(floor(reserved), 1) end
      end
      local backlog = math.max((tonumber(rate_values[base + 2] or 0)) - now_us, 0) + reserved
      if backlog - BURST_US > excess[2] then excess[2], refused[2] = backlog - BURST_US, index end
      if backlog > tokens_backlog then tokens_limit, tokens_backlog = per_minute, backlog end
      new_rates[#new_rates + 1] = rate_fields[base + 2]
      new_rates[#new_rates + 1] = format('%.0f', now_us + backlog)
    end
    local concurrent = tonumber(ARGV[i + 3])
    if concurrent then
      local in_flight = tonumber(rate_values[base + 3] or 0)
      if in_flight >= concurrent and not refused[3] then refused[3] = index end
      new_rates[#new_rates + 1] = rate_fields[base + 3]
      new_rates[#new_rates + 1] = format('%.0f', in_flight + 1)
    end
    if reserved >= 0 or concurrent then
      local n = #held_limits
      held_limits[n + 1], held_limits[n + 2] = ARGV[i], per_minute or -1
      held_limits[n + 3], held_limits[n + 4] = reserved, concurrent and 1 or 0
    end
  end
  for kind = 1, 3 do
    if refused[kind] then
      return {3, refused[kind], kind, excess[kind]}
    end
  end
end

-- Money: what the tightest level has, or who refuses.
local amount, minimum = tonumber(ARGV[3]), tonumber(ARGV[4])
local granted = amount
local first_node = has_wallet and 0 or 1
for i = first_node, n_budgets do
  local available = limits[i] - settled[i] - held[i]
  if available < granted then granted = available end
end
if granted < minimum then
  local spent, tightest
  for i = first_node, n_budgets do
    local unsettled = limits[i] - settled[i]
    if unsettled < minimum and (not spent or unsettled < limits[spent] - settled[spent]) then
      spent = i
    end
    if not tightest or unsettled - held[i] < limits[tightest] - settled[tightest] - held[tightest] then
      tightest = i
    end
  end
  local node = spent or tightest
  return {spent and 1 or 2, node, limits[node], settled[node], held[node], is_next[node] or 0}
end

-- Everything fits: write it all. The first write is one that Redis refuses when it is out of memory.
local hold = {granted, now_ms, requests_limit, requests_backlog, tokens_limit, tokens_backlog,
  names, has_wallet and 1 or 0, held_limits, ARGV[6]}
call('HSET', holds, ARGV[1], cmsgpack.pack(hold))
call('ZADD', KEYS[3], format('%.0f', now_ms + tonumber(ARGV[2])), ARGV[1])
if has_wallet or n_budgets > 0 then
  local writes = {}
  if has_wallet then
    writes[1], writes[2] = 'wallet:held', format('%.0f', held[0] + granted)
  end
  for i = 1, n_budgets do
    local n = #writes
    writes[n + 1], writes[n + 2] = names[i] .. ':held', format('%.0f', held[i] + granted)
  end
  if created then
    for _, i in ipairs(created) do
      local n = #writes
      writes[n + 1], writes[n + 2] = names[i] .. ':settled', '0'
    end
  end
  call('HSET', counters, unpack(writes))
  if created then
    for _, i in ipairs(created) do
      remember_period(counters, names[i])
    end
  end
end
if #new_rates > 0 then
  call('HSET', rates, unpack(new_rates))
end
return {0, granted, now_ms, requests_limit, requests_backlog, tokens_limit, tokens_backlog}
