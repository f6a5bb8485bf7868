-- tollgate settle, version 2
--
-- KEYS: state hold leases outbox
-- ARGV: run known_epoch hold actual tokens tombstone_ttl_ms event ('' for none)
-- Returns a code, and the outbox id of the event ('' for none):
--   0 settled, 1 settled already, 2 unknown hold (the event is recorded, nothing is counted), 3 wrong epoch
-- What the state holds is written in admit.
local call, floor, max, pack, unpack_struct = redis.call, math.floor, math.max, struct.pack, struct.unpack
local state = KEYS[1]
local BURST_US = 60000000

local function record_event()
  if ARGV[7] == '' then
    return ''
  end
  return call('XADD', KEYS[4], '*', 'e', ARGV[7])
end
local function leave_tombstone(id)
  call('SET', KEYS[2], 'T' .. id, 'PX', ARGV[6])
end

local stored = call('GET', KEYS[2])
if not is_hold(stored) then
  local epoch = call('HGET', state, 'e')
  if epoch and not is_live(epoch, ARGV[1]) then
    return {3, ''}
  end
  if stored then
    return {1, string.sub(stored, 2)}
  end
  if refuses(epoch, ARGV[1], ARGV[2]) then
    return {3, ''}
  end
  local id = record_event()
  leave_tombstone(id)
  return {2, id}
end

local _, _, granted, _, _, _, _, _, _, _, wallet, has_places, at = unpack_struct(RECORD, stored)
local _, lists = cmsgpack.unpack_one(stored, at - 1)
local names, limits, actual = lists[1], lists[3], tonumber(ARGV[4])
local fields = {'e', 'w', unpack(names)}
local first_owner = #fields
for i = 1, #limits, 4 do
  fields[#fields + 1] = limits[i]
end
local values = call('HMGET', state, unpack(fields))
-- A hold that is here under a live epoch was carried over to it.
if values[1] and not is_live(values[1], ARGV[1]) or not values[1] and ARGV[2] ~= '' then
  return {3, ''}
end
-- First a write that Redis allows when it is out of memory: what follows in the script is allowed then, too,
-- and a settlement frees more than it takes.
call('ZREM', KEYS[3], ARGV[3])
local writes, n = {}, 0
if wallet > 0 and values[2] then
  local limit, version, settled, held = unpack_struct('<dddd', values[2])
  writes[1], writes[2], n = 'w', pack('<dddd', limit, version, settled + actual, max(held - granted, 0)), 2
end
for i = 1, #names do
  -- A counter that is gone stays unknown.
  if values[i + 2] then
    local settled, held = unpack_struct('<dd', values[i + 2])
    writes[n + 1], writes[n + 2], n = names[i], pack('<dd', settled + actual, max(held - granted, 0)), n + 2
  end
end
if #limits > 0 then
  local time = call('TIME')
  local now_us = time[1] * 1000000 + time[2]
  local used = tonumber(ARGV[5])
  for i = 1, #limits, 4 do
    local rates = values[first_owner + (i + 3) / 4]
    if rates then
      local requests_tat, tokens_tat, in_flight = unpack_struct('<ddd', rates)
      local per_minute, reserved = limits[i + 1], limits[i + 2]
      if per_minute > 0 then
        local rest = math.fmod(used, per_minute)
        local cost = (used - rest) / per_minute * BURST_US + floor(rest * BURST_US / per_minute)
        if used > 0 then cost = max(cost, 1) end
        tokens_tat = max(tokens_tat + cost - reserved, now_us)
      end
      if limits[i + 3] > 0 and has_places == 1 then
        in_flight = max(in_flight - limits[i + 3], 0)
      end
      writes[n + 1], writes[n + 2], n = limits[i], pack('<ddd', requests_tat, tokens_tat, in_flight), n + 2
    end
  end
end
if n > 0 then
  call('HSET', state, unpack(writes))
end
local id = record_event()
leave_tombstone(id)
return {0, id}
