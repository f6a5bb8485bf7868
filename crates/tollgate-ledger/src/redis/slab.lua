-- tollgate slab, version 2
--
-- KEYS: state slab leases outbox, then the records of opened holds, then of ended ones
-- ARGV: run known_epoch revoked_field tombstone_ttl_ms n_opened n_owners, then per opened: id node_key_memo numbers,
--       per ended: numbers event ('' for none), and where a block is asked for: numbers, then fields of rate owners
--       numbers, as packed 64-bit integers; of an opened hold: amount admitted_at lease_ms tokens
--         of an ended one: amount actual tokens_reserved tokens_used
--         of a block: requests places, per owner: requests tokens concurrent (-1: not limited)
-- Returns 1 for a slab that was settled, and per opened and ended one whether it is a hold by itself (or was);
-- 2 for a wrong epoch, else integers and outbox ids ('' for none):
--   0 available is_low is_revoked has_block, per ended: 0 settled | 1 settled already | 2 is a hold, id
-- What is opened is moved out of the slab's record into one of its own, what has ended is settled out of it. A slab is
-- a hold; what the records and the state hold is written in record and in admit.
local call, floor, max, pack, unpack_struct = redis.call, math.floor, math.max, struct.pack, struct.unpack
local state = KEYS[1]
local BURST_US, NEVER_FITS_US, MOST = 60000000, 120000000, 9007199254740991
local LOW_SHARE, FREE_SHARE = 10, 2

local stored = call('GET', KEYS[2])
if not is_hold(stored) then
  local epoch = call('HGET', state, 'e')
  if epoch and not is_live(epoch, ARGV[1]) or not stored and refuses(epoch, ARGV[1], ARGV[2]) then
    return {2}
  end
  local gone = {1}
  for i = 5, #KEYS do
    gone[i - 3] = call('EXISTS', KEYS[i])
  end
  return gone
end
local slab, names, limits, rates, rest_at = read_record(stored)
local n_opened, n_owners = tonumber(ARGV[5]), tonumber(ARGV[6])
local n_ended = #KEYS - 4 - n_opened
local block_at = 7 + 3 * n_opened + 2 * n_ended
local fields = {'e', 'w', ARGV[3], unpack(names)}
local owners, n_fields = {}, #fields
for i = 1, #rates, 4 do
  fields[#fields + 1] = rates[i]
end
for i = 1, n_owners do
  fields[#fields + 1] = ARGV[block_at + i]
end
local values = call('HMGET', state, unpack(fields))
if values[1] and not is_live(values[1], ARGV[1]) or not values[1] and ARGV[2] ~= '' then
  return {2}
end
for i = n_fields + 1, #fields do
  local requests_tat, tokens_tat, in_flight = 0, 0, 0
  if values[i] then
    requests_tat, tokens_tat, in_flight = unpack_struct('<ddd', values[i])
  end
  owners[fields[i]] = {requests_tat, tokens_tat, in_flight}
end
-- As in settle: what is announced has been sent, so that a full server takes it, too.
call('ZREM', KEYS[3], '')
local time = call('TIME')
local now_us = time[1] * 1000000 + time[2]
local now_ms = floor(now_us / 1000)

local function numbers_of(packed)
  return unpack_struct('<' .. string.rep('i8', #packed / 8), packed)
end
-- Takes what was reserved for some tokens out of the slab's reservation.
local function take_reserved(i, tokens)
  local per_minute, reserved = rates[i + 1], rates[i + 2]
  if per_minute < 0 then
    return -1
  end
  local wanted = NEVER_FITS_US
  if per_minute > 0 then
    wanted = math.min(tokens, per_minute) * BURST_US / per_minute
    if wanted > 0 then wanted = max(floor(wanted), 1) end
  end
  wanted = math.min(wanted, reserved)
  rates[i + 2] = reserved - wanted
  return wanted
end

-- What the slab has not is held beyond it: it was spent, and is to be seen.
local held_more, settled_more = 0, 0
local function take_money(amount)
  held_more = held_more + max(amount - slab[2], 0)
  slab[2] = max(slab[2] - amount, 0)
end

for i = 1, n_opened do
  local key, at = KEYS[4 + i], 4 + 3 * i
  if call('EXISTS', key) == 0 then
    local amount, admitted_at, lease_ms, tokens = numbers_of(ARGV[at + 2])
    take_money(amount)
    local own = {}
    for j = 1, #rates, 4 do
      local place = slab[11] == 1 and rates[j + 3] > 0 and 1 or 0
      own[j], own[j + 1], own[j + 2], own[j + 3] = rates[j], rates[j + 1], take_reserved(j, tokens), place
      rates[j + 3] = rates[j + 3] - place
    end
    local lease_until = now_ms + lease_ms
    call('SET', key, write_record({0, amount, admitted_at, lease_until, lease_ms, -1, -1, -1, -1, slab[10], slab[11]},
      names, limits, own, ARGV[at + 1]))
    call('ZADD', KEYS[3], lease_until, ARGV[at])
  end
end

local answer = {0, MOST, 0, values[3] and 1 or 0, 0}
for i = 1, n_ended do
  local key, at = KEYS[4 + n_opened + i], 5 + 3 * n_opened + 2 * i
  local left, code, id = call('GET', key), 0, ''
  if is_hold(left) then
    code = 2
  elseif left then
    code, id = 1, string.sub(left, 2)
  else
    local amount, actual, reserved, used = numbers_of(ARGV[at])
    take_money(amount)
    held_more, settled_more = held_more - amount, settled_more + actual
    for j = 1, #rates, 4 do
      local per_minute, owner = rates[j + 1], owners[rates[j]]
      local taken = take_reserved(j, reserved)
      if per_minute > 0 then
        local rest = math.fmod(used, per_minute)
        local cost = (used - rest) / per_minute * BURST_US + floor(rest * BURST_US / per_minute)
        if used > 0 then cost = max(cost, 1) end
        owner[2] = max(owner[2] + cost - taken, now_us)
      end
    end
    if ARGV[at + 1] ~= '' then
      id = call('XADD', KEYS[4], '*', 'e', ARGV[at + 1])
    end
    call('SET', key, 'T' .. id, 'PX', ARGV[4])
  end
  answer[4 + 2 * i], answer[5 + 2 * i] = code, id
end

-- The block: all of it or nothing, and only where much stays free.
if n_owners > 0 then
  local block = {numbers_of(ARGV[block_at])}
  local requests, places, fits = block[1], block[2], true
  for attempt = 1, 2 do
    for i = 1, n_owners do
      local owner = owners[ARGV[block_at + i]]
      local per_minute, tokens, concurrent = block[3 * i], block[3 * i + 1], block[3 * i + 2]
      if per_minute >= 0 then
        local cost = NEVER_FITS_US
        if per_minute > 0 then cost = requests * max(floor(BURST_US / per_minute), 1) end
        local backlog = max(owner[1] - now_us, 0) + cost
        fits = fits and backlog <= BURST_US / FREE_SHARE
        if attempt == 2 then owner[1] = now_us + backlog end
      end
      fits = fits and (tokens < 0 or owner[2] - now_us <= BURST_US / FREE_SHARE)
      if concurrent >= 0 then
        fits = fits and owner[3] + places <= concurrent / FREE_SHARE
        if attempt == 2 then
          owner[3] = owner[3] + places
          for j = 1, #rates, 4 do
            if rates[j] == ARGV[block_at + i] then rates[j + 3] = rates[j + 3] + places end
          end
        end
      end
    end
    if not fits then
      break
    end
  end
  answer[5] = fits and 1 or 0
end

-- Everything back; what is left on each level.
call('SET', KEYS[2], write_record(slab, names, limits, rates, string.sub(stored, rest_at)))
local writes, n = {}, 0
local settled, held = {}, {}
local version
if slab[10] > 0 and values[2] then
  limits[0], version, settled[0], held[0] = unpack_struct('<dddd', values[2])
  settled[0], held[0] = settled[0] + settled_more, max(held[0] + held_more, 0)
  writes[1], writes[2], n = 'w', pack('<dddd', limits[0], version, settled[0], held[0]), 2
end
for i = 1, #names do
  if values[i + 3] then
    settled[i], held[i] = unpack_struct('<dd', values[i + 3])
    settled[i], held[i] = settled[i] + settled_more, max(held[i] + held_more, 0)
    writes[n + 1], writes[n + 2], n = names[i], pack('<dd', settled[i], held[i]), n + 2
  end
end
for field, owner in pairs(owners) do
  writes[n + 1], writes[n + 2], n = field, pack('<ddd', owner[1], owner[2], owner[3]), n + 2
end
if n > 0 then
  call('HSET', state, unpack(writes))
end
for i = slab[10] == 1 and 0 or 1, #names do
  if limits[i] and settled[i] then
    local left = limits[i] - settled[i] - held[i]
    answer[2] = math.min(answer[2], left)
    if left < limits[i] / LOW_SHARE then answer[3] = 1 end
  end
end
return answer
