-- tollgate admit, version 1
--
-- KEYS: counters holds leases epoch rates tombstone
-- ARGV: hold revoked_field owner_note numbers, then per budget: current_name next_name, then the owners of rates
--       a counter's name is <budget>:<period start>
--       numbers, as packed 64-bit integers, which costs a third of what text does:
--         lease_ms amount minimum wallet(0 none, 1 enforced, 2 counted) tokens n_budgets n_owners
--         per budget: limit current_ends_at     per owner: requests tokens concurrent (-1: not limited)
-- Returns integers (exact below 2^53):
--   0 granted admitted_at_ms [requests_limit requests_backlog_us tokens_limit tokens_backlog_us]  (-1: none)
--   1|2 node (0 wallet, else budget) limit settled held is_next       spent | held
--   3 owner kind(1 requests, 2 tokens, 3 concurrency) excess_us
--   4 cold   5 revoked   6 settled already
--
-- Hashes hold packed doubles, which costs half of what text does:
--   counters  <budget>:<period start> = settled held;  wallet = limit version settled held;  revoked:<key> = 1
--   rates     <owner> = requests_tat_us tokens_tat_us in_flight
--   holds     <hold> = granted admitted_at requests_limit requests_backlog tokens_limit tokens_backlog
--             {counters} wallet {owner token_limit reserved_us is_concurrent ...} note, as MessagePack
local call, floor, pack, unpack_struct = redis.call, math.floor, struct.pack, struct.unpack
local counters, holds, rates = KEYS[1], KEYS[2], KEYS[5]
local BURST_US, NEVER_FITS_US = 60000000, 120000000

local stored = call('HGET', holds, ARGV[1])
if stored then
  local hold = cmsgpack.unpack(stored)
  return {0, hold[1], hold[2], hold[3], hold[4], hold[5], hold[6]}
end
if call('EXISTS', KEYS[6]) == 1 then
  return {6}
end

-- What is known.
local numbers = {unpack_struct('<' .. string.rep('i8', #ARGV[4] / 8), ARGV[4])}
local has_wallet, n_budgets, n_owners = numbers[4] > 0, numbers[6], numbers[7]
local time = call('TIME')
local now_us = time[1] * 1000000 + time[2]
local now_ms = floor(now_us / 1000)

local names, is_next = {}, {}
for i = 1, n_budgets do
  if now_ms < numbers[6 + 2 * i + 1] then
    names[i] = ARGV[3 + 2 * i]
  else
    names[i], is_next[i] = ARGV[4 + 2 * i], 1
  end
end
local values = call('HMGET', counters, ARGV[2], 'wallet', unpack(names))
if values[1] then
  return {5}
end

-- Money as it stands; anything unknown is cold, never "nothing spent".
local limits, settled, held = {}, {}, {}
local wallet_version, created
if has_wallet or n_budgets > 0 then
  local seeded_at = call('HGET', KEYS[4], 'seeded_at')
  if not seeded_at or (has_wallet and not values[2]) then
    return {4}
  end
  if has_wallet then
    limits[0], wallet_version, settled[0], held[0] = unpack_struct('<dddd', values[2])
  end
  for i = 1, n_budgets do
    limits[i] = numbers[6 + 2 * i]
    local counter = values[i + 2]
    if counter then
      settled[i], held[i] = unpack_struct('<dd', counter)
    else
      -- Nothing can have been settled in a period that began after the seed was read.
      local starts_at = tonumber(string.match(names[i], ':(-?%d+)$'))
      if starts_at < tonumber(seeded_at) then
        return {4}
      end
      settled[i], held[i] = 0, 0
      created = created or {}
      created[#created + 1] = names[i]
    end
  end
end

-- Rates: requests, then tokens, then concurrency; the longest wait of a kind is the answer.
local new_rates, held_limits = {}, {}
local requests_limit, requests_backlog, tokens_limit, tokens_backlog = -1, -1, -1, -1
if n_owners > 0 then
  local tokens = numbers[5]
  local owners = {}
  for index = 1, n_owners do
    owners[index] = ARGV[4 + 2 * n_budgets + index]
  end
  local states = call('HMGET', rates, unpack(owners))
  local excess, refused = {0, 0, 0}, {}
  for index = 1, n_owners do
    local at = 5 + 2 * n_budgets + 3 * index
    local requests_tat, tokens_tat, in_flight = 0, 0, 0
    if states[index] then
      requests_tat, tokens_tat, in_flight = unpack_struct('<ddd', states[index])
    end
    local per_minute = numbers[at]
    if per_minute >= 0 then
      local cost = NEVER_FITS_US
      if per_minute > 0 then cost = math.max(floor(BURST_US / per_minute), 1) end
      local backlog = math.max(requests_tat - now_us, 0) + cost
      if backlog - BURST_US > excess[1] then excess[1], refused[1] = backlog - BURST_US, index end
      if backlog > requests_backlog then requests_limit, requests_backlog = per_minute, backlog end
      requests_tat = now_us + backlog
    end
    per_minute = numbers[at + 1]
    local reserved = -1
    if per_minute >= 0 then
      reserved = NEVER_FITS_US
      if per_minute > 0 then
        reserved = math.min(tokens, per_minute) * BURST_US / per_minute
        if reserved > 0 then reserved = math.max(floor(reserved), 1) end
      end
      local backlog = math.max(tokens_tat - now_us, 0) + reserved
      if backlog - BURST_US > excess[2] then excess[2], refused[2] = backlog - BURST_US, index end
      if backlog > tokens_backlog then tokens_limit, tokens_backlog = per_minute, backlog end
      tokens_tat = now_us + backlog
    end
    local concurrent = numbers[at + 2]
    if concurrent >= 0 then
      if in_flight >= concurrent and not refused[3] then refused[3] = index end
      in_flight = in_flight + 1
    end
    new_rates[index * 2 - 1], new_rates[index * 2] = owners[index], pack('<ddd', requests_tat, tokens_tat, in_flight)
    if per_minute >= 0 or concurrent >= 0 then
      local n = #held_limits
      held_limits[n + 1], held_limits[n + 2] = owners[index], per_minute
      held_limits[n + 3], held_limits[n + 4] = reserved, concurrent >= 0 and 1 or 0
    end
  end
  for kind = 1, 3 do
    if refused[kind] then
      return {3, refused[kind], kind, excess[kind]}
    end
  end
end

-- Money: what the tightest level has, or who refuses. A wallet that is only counted has no say.
local granted, minimum = numbers[2], numbers[3]
local first_node = numbers[4] == 1 and 0 or 1
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
call('HSET', holds, ARGV[1], cmsgpack.pack({granted, now_ms, requests_limit, requests_backlog, tokens_limit,
  tokens_backlog, names, has_wallet and 1 or 0, held_limits, ARGV[3]}))
call('ZADD', KEYS[3], now_ms + numbers[1], ARGV[1])
local writes, n = {}, 0
if has_wallet then
  writes[1], writes[2], n = 'wallet', pack('<dddd', limits[0], wallet_version, settled[0], held[0] + granted), 2
end
for i = 1, n_budgets do
  writes[n + 1], writes[n + 2], n = names[i], pack('<dd', settled[i], held[i] + granted), n + 2
end
if n > 0 then
  call('HSET', counters, unpack(writes))
end
if created then
  for _, name in ipairs(created) do
    remember_period(counters, KEYS[4], name)
  end
end
if #new_rates == 0 then
  return {0, granted, now_ms}
end
call('HSET', rates, unpack(new_rates))
return {0, granted, now_ms, requests_limit, requests_backlog, tokens_limit, tokens_backlog}
