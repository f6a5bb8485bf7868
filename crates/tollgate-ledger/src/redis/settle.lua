-- tollgate settle, version 1
--
-- KEYS: counters holds leases rates tombstone outbox
-- ARGV: hold actual tokens tombstone_ttl_ms event ('' for none)
-- Returns 0 settled, 1 settled already, 2 unknown hold (the event is recorded, nothing is counted)
-- What the hashes hold is written in admit.
local call, floor, max, pack, unpack_struct = redis.call, math.floor, math.max, struct.pack, struct.unpack
local counters, rates = KEYS[1], KEYS[4]
local BURST_US = 60000000

local stored = call('HGET', KEYS[2], ARGV[1])
if not stored then
  if not call('SET', KEYS[5], '1', 'NX', 'PX', ARGV[4]) then
    return 1
  end
  if ARGV[5] ~= '' then
    call('XADD', KEYS[6], '*', 'e', ARGV[5])
  end
  return 2
end
-- First a write that Redis allows when it is out of memory: what follows in the script is allowed then, too,
-- and a settlement frees more than it takes.
call('HDEL', KEYS[2], ARGV[1])
call('ZREM', KEYS[3], ARGV[1])
call('SET', KEYS[5], '1', 'PX', ARGV[4])

local hold = cmsgpack.unpack(stored)
local granted, names, limits = hold[1], hold[7], hold[9]
local actual = tonumber(ARGV[2])
if hold[8] == 1 or #names > 0 then
  local values = call('HMGET', counters, 'wallet', unpack(names))
  local writes, n = {}, 0
  if hold[8] == 1 and values[1] then
    local limit, version, settled, held = unpack_struct('<dddd', values[1])
    writes[1], writes[2], n = 'wallet', pack('<dddd', limit, version, settled + actual, max(held - granted, 0)), 2
  end
  for i = 1, #names do
    -- A counter that is gone stays unknown.
    if values[i + 1] then
      local settled, held = unpack_struct('<dd', values[i + 1])
      writes[n + 1], writes[n + 2], n = names[i], pack('<dd', settled + actual, max(held - granted, 0)), n + 2
    end
  end
  if n > 0 then
    call('HSET', counters, unpack(writes))
  end
end

if #limits > 0 then
  local time = call('TIME')
  local now_us = time[1] * 1000000 + time[2]
  local used = tonumber(ARGV[3])
  local owners = {}
  for i = 1, #limits, 4 do
    owners[#owners + 1] = limits[i]
  end
  local states = call('HMGET', rates, unpack(owners))
  local writes, n = {}, 0
  for index = 1, #owners do
    if states[index] then
      local requests_tat, tokens_tat, in_flight = unpack_struct('<ddd', states[index])
      local i = (index - 1) * 4 + 1
      local per_minute, reserved = limits[i + 1], limits[i + 2]
      if per_minute > 0 then
        local rest = math.fmod(used, per_minute)
        local cost = (used - rest) / per_minute * BURST_US + floor(rest * BURST_US / per_minute)
        if used > 0 then cost = max(cost, 1) end
        tokens_tat = max(tokens_tat + cost - reserved, now_us)
      end
      if limits[i + 3] == 1 then
        in_flight = max(in_flight - 1, 0)
      end
      writes[n + 1], writes[n + 2], n = owners[index], pack('<ddd', requests_tat, tokens_tat, in_flight), n + 2
    end
  end
  if n > 0 then
    call('HSET', rates, unpack(writes))
  end
end

if ARGV[5] ~= '' then
  call('XADD', KEYS[6], '*', 'e', ARGV[5])
end
return 0
