-- tollgate admit, version 5
--
-- KEYS: state hold leases index
-- ARGV: run known_epoch tenant hold revoked_field node_key_memo numbers, then per budget: current_name next_name,
--       then the fields of rate owners
--       a counter's name is <budget>:<period start>
--       numbers, as packed 64-bit integers, which costs a third of what text does:
--         lease_ms amount minimum wallet(0 none, 1 enforced, 2 counted) tokens n_budgets n_owners max_clock_lead_ms
--         per budget: limit current_ends_at current_starts_at
--         per owner: requests tokens concurrent (-1: not limited)
-- Returns integers (exact below 2^53):
--   0 epoch_n(0: none, or the known one) granted admitted_at_ms [requests_limit requests_backlog_us tokens_limit
--     tokens_backlog_us]  (-1: none)
--   1|2 node (0 wallet, else budget) limit settled held is_next       spent | held
--   3 owner kind(1 requests, 2 tokens, 3 concurrency) excess_us
--   4 cold   5 revoked   6 settled already   7 wrong epoch   8 budget: its period has not begun
--
-- The state of a tenant is one hash, so that it is there or lost as a whole, and is read and written at once.
-- Numbers are packed doubles, which costs half of what text does:
--   e = epoch   s = when it was seeded   i = 1: it is in the shard's index   c = places were freed until then
--   w = limit version settled held   <budget>:<period start> = settled held   p:<budget> = its newest periods
--   x:<key> = 1: revoked   l:<rate owner> = requests_tat_us tokens_tat_us in_flight
-- `leases` of a tenant holds its holds by the end of their leases, the shard's `index` its tenants with holds by a
-- time before which none of those ends.
local call, floor, max, pack, unpack_struct = redis.call, math.floor, math.max, struct.pack, struct.unpack
local state = KEYS[1]
local BURST_US, NEVER_FITS_US = 60000000, 120000000
local MAX_FREED, CLEAN_ABOVE, CLEAN_SAMPLE = 1000, 20000, 16
-- A month and some: no calendar period that began before is the present one, or the one before it.
local FORGOTTEN_AFTER_MS = 70 * 86400000

local numbers = {unpack_struct('<' .. string.rep('i8', #ARGV[7] / 8), ARGV[7])}
local has_wallet, n_budgets, n_owners = numbers[4] > 0, numbers[6], numbers[7]
local time = call('TIME')
local now_us = time[1] * 1000000 + time[2]
local now_ms = floor(now_us / 1000)

-- What is known.
local names, is_next, fields = {}, {}, {'e', 's', 'i', 'w', ARGV[5]}
for i = 1, n_budgets do
  if now_ms >= numbers[7 + 3 * i] then
    is_next[i] = 1
  end
  names[i] = ARGV[i + i + 6 + (is_next[i] or 0)]
  fields[5 + i] = names[i]
end
local first_owner = 5 + n_budgets
for index = 1, n_owners do
  fields[first_owner + index] = ARGV[7 + 2 * n_budgets + index]
end
local values = call('HMGET', state, unpack(fields))
local epoch, seeded_at = values[1], values[2]
-- As in fence.lua; here and below without a function, which would cost each call its making.
local is_right = ARGV[2] == ''
if epoch then
  is_right = string.sub(epoch, -#ARGV[1]) == ARGV[1] and (is_right or epoch == ARGV[2])
end
if not is_right then
  return {7}
end
local epoch_n = 0
if epoch and ARGV[2] == '' then
  epoch_n = tonumber(string.match(epoch, '^%d+'))
end
local stored = call('GET', KEYS[2])
if stored then
  --[[include record.lua]]
  if not is_hold(stored) then
    return {6}
  end
  local hold = read_record(stored)
  return {0, epoch_n, hold[2], hold[3], hold[6], hold[7], hold[8], hold[9]}
end
if values[5] then
  return {5}
end

-- Money as it stands; anything unknown is cold, never "nothing spent".
local limits, settled, held = {}, {}, {}
local wallet_version, created
if has_wallet or n_budgets > 0 then
  if not seeded_at or (has_wallet and not values[4]) then
    return {4}
  end
  if has_wallet then
    limits[0], wallet_version, settled[0], held[0] = unpack_struct('<dddd', values[4])
  end
  for i = 1, n_budgets do
    limits[i] = numbers[6 + 3 * i]
    if numbers[8 + 3 * i] > now_ms + numbers[8] then
      return {8, i}
    end
    local counter = values[5 + i]
    if counter then
      settled[i], held[i] = unpack_struct('<dd', counter)
    else
      -- Nothing can have been settled in a period that began after the seed was read.
      if tonumber(string.match(names[i], ':(-?%d+)$')) < tonumber(seeded_at) then
        return {4}
      end
      --[[include periods.lua]]
      if may_be_removed(state, names[i]) then
        return {4}
      end
      settled[i], held[i] = 0, 0
      created = created or {}
      created[#created + 1] = names[i]
    end
  end
end

-- Rates: requests, then tokens, then concurrency; the longest wait of a kind is the answer.
local writes, n_writes, held_limits = {}, 0, {}
local requests_limit, requests_backlog, tokens_limit, tokens_backlog = -1, -1, -1, -1
local has_places, has_new_owner = 0, false
for attempt = 1, n_owners > 0 and 2 or 0 do
  local tokens, n_held = numbers[5], 0
  local excess, refused = {0, 0, 0}, {}
  n_writes = 0
  requests_backlog, tokens_backlog = -1, -1
  for index = 1, n_owners do
    local at = 6 + 3 * n_budgets + 3 * index
    local field, rates = fields[first_owner + index], values[first_owner + index]
    local requests_tat, tokens_tat, in_flight = 0, 0, 0
    if rates then
      requests_tat, tokens_tat, in_flight = unpack_struct('<ddd', rates)
    else
      has_new_owner = true
    end
    local per_minute = numbers[at]
    if per_minute >= 0 then
      local cost = NEVER_FITS_US
      if per_minute > 0 then cost = max(floor(BURST_US / per_minute), 1) end
      local backlog = max(requests_tat - now_us, 0) + cost
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
        if reserved > 0 then reserved = max(floor(reserved), 1) end
      end
      local backlog = max(tokens_tat - now_us, 0) + reserved
      if backlog - BURST_US > excess[2] then excess[2], refused[2] = backlog - BURST_US, index end
      if backlog > tokens_backlog then tokens_limit, tokens_backlog = per_minute, backlog end
      tokens_tat = now_us + backlog
    end
    local concurrent = numbers[at + 2]
    if concurrent >= 0 then
      if in_flight >= concurrent and not refused[3] then refused[3] = index end
      in_flight, has_places = in_flight + 1, 1
    end
    writes[n_writes + 1], writes[n_writes + 2] = field, pack('<ddd', requests_tat, tokens_tat, in_flight)
    n_writes = n_writes + 2
    if per_minute >= 0 or concurrent >= 0 then
      held_limits[n_held + 1], held_limits[n_held + 2] = field, per_minute
      held_limits[n_held + 3], held_limits[n_held + 4] = reserved, concurrent >= 0 and 1 or 0
      n_held = n_held + 4
    end
  end
  local kind = refused[1] and 1 or refused[2] and 2 or refused[3] and 3
  if not kind then
    break
  end
  local is_any_free = false
  if kind == 3 and attempt == 1 then
    --[[include record.lua]]
    -- Gives up the places of holds whose lease ended: their pod is gone, and with it their requests. Their money is
    -- held on. Ends of leases that were looked at are not looked at again, but for those of the present moment: a hold
    -- whose lease ends at once may still come.
    local function free_expired_places()
      local since = call('HGET', state, 'c')
      if not since or tonumber(since) > now_ms then
        since = '-inf'
      end
      local expired = call('ZRANGEBYSCORE', KEYS[3], '(' .. since, now_ms, 'WITHSCORES', 'LIMIT', 0, MAX_FREED)
      if #expired == 0 then
        return false
      end
      local seen_until = now_ms - 1
      if #expired == 2 * MAX_FREED then
        -- What ended together is seen together: nothing is passed over.
        local last = expired[#expired]
        seen_until = math.min(seen_until, tonumber(last))
        for _, value in ipairs(call('ZRANGEBYSCORE', KEYS[3], last, last, 'WITHSCORES')) do
          expired[#expired + 1] = value
        end
      end
      local prefix, is_any_free = string.sub(KEYS[2], 1, -37), false
      for i = 1, #expired, 2 do
        local key = prefix .. expired[i]
        local record = call('GET', key)
        if is_hold(record) then
          local of_hold, of_names, of_limits, of_rates, at = read_record(record)
          if of_hold[11] == 1 then
            is_any_free, of_hold[11] = true, 0
            for j = 1, #of_rates, 4 do
              local rates = of_rates[j + 3] > 0 and call('HGET', state, of_rates[j])
              if rates then
                local requests_tat, tokens_tat, in_flight = unpack_struct('<ddd', rates)
                call('HSET', state, of_rates[j], pack('<ddd', requests_tat, tokens_tat,
                  max(in_flight - of_rates[j + 3], 0)))
              end
            end
            call('SET', key, write_record(of_hold, of_names, of_limits, of_rates, string.sub(record, at)))
          end
        end
      end
      call('HSET', state, 'c', string.format('%.0f', seen_until))
      return is_any_free
    end
    is_any_free = free_expired_places()
  end
  if not is_any_free then
    return {3, refused[kind], kind, excess[kind]}
  end
  -- Places came back: once more, with what is there now.
  values = call('HMGET', state, unpack(fields))
end

-- Money: what the tightest level has, or who refuses. A wallet that is only counted has no say.
local granted, minimum = numbers[2], numbers[3]
local first_node = numbers[4] == 1 and 0 or 1
local last_node = n_budgets
for i = first_node, last_node do
  local rest = limits[i] - settled[i] - held[i]
  if rest < granted then granted = rest end
end
if granted < minimum then
  local spent, tightest
  for i = first_node, last_node do
    local unsettled = limits[i] - settled[i]
    if unsettled < minimum and (not spent or unsettled < limits[spent] - settled[spent]) then
      spent = i
    end
    if not tightest or limits[i] - settled[i] - held[i] < limits[tightest] - settled[tightest] - held[tightest] then
      tightest = i
    end
  end
  local node = spent or tightest
  return {spent and 1 or 2, node, limits[node], settled[node], held[node], is_next[node] or 0}
end

-- Everything fits: write it all. The first write is one that Redis refuses when it is out of memory.
local lease_until = now_ms + numbers[1]
local wallet_limit = limits[0]
limits[0] = nil
call('SET', KEYS[2], pack('<Bddddddddddd', 72, 0, granted, now_ms, lease_until, numbers[1], requests_limit, requests_backlog,
  tokens_limit, tokens_backlog, numbers[4], has_places) .. cmsgpack.pack({names, limits, held_limits}) .. ARGV[6])
call('ZADD', KEYS[3], lease_until, ARGV[4])
if has_wallet then
  writes[n_writes + 1], writes[n_writes + 2] = 'w', pack('<dddd', wallet_limit, wallet_version, settled[0],
    held[0] + granted)
  n_writes = n_writes + 2
end
for i = 1, n_budgets do
  writes[n_writes + 1], writes[n_writes + 2] = names[i], pack('<dd', settled[i], held[i] + granted)
  n_writes = n_writes + 2
end
if not values[3] then
  call('ZADD', KEYS[4], lease_until, ARGV[3])
  writes[n_writes + 1], writes[n_writes + 2] = 'i', '1'
  n_writes = n_writes + 2
end
if n_writes > 0 then
  call('HSET', state, unpack(writes))
end
if created then
  --[[include periods.lua]]
  for _, name in ipairs(created) do
    remember_period(state, name)
  end
end
-- End users come and go: what has nothing to remember is forgotten, some with each new one. An end user's budget is
-- named by a derived id (version 8); one over all time begins at 0 and stays.
if (has_new_owner or created) and call('HLEN', state) > CLEAN_ABOVE then
  local sample = call('HRANDFIELD', state, CLEAN_SAMPLE, 'WITHVALUES')
  for i = 1, #sample, 2 do
    if string.sub(sample[i], 1, 2) == 'l:' then
      local requests_tat, tokens_tat, in_flight = unpack_struct('<ddd', sample[i + 1])
      if requests_tat <= now_us and tokens_tat <= now_us and in_flight == 0 then
        call('HDEL', state, sample[i])
      end
    else
      local budget, start = string.match(sample[i], '^(%x+%-%x+%-8%x+%-%x+%-%x+):(%d+)$')
      if budget and start ~= '0' and now_ms - start > FORGOTTEN_AFTER_MS then
        local _, still_held = unpack_struct('<dd', sample[i + 1])
        if still_held == 0 then
          call('HDEL', state, sample[i])
          local pointer = call('HGET', state, 'p:' .. budget)
          if pointer and string.match(pointer, '^%d+') == start then
            call('HDEL', state, 'p:' .. budget)
          end
        end
      end
    end
  end
end
if n_owners == 0 then
  return {0, epoch_n, granted, now_ms}
end
return {0, epoch_n, granted, now_ms, requests_limit, requests_backlog, tokens_limit, tokens_backlog}
