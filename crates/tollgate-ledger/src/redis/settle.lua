-- tollgate settle, version 1
--
-- KEYS: counters holds leases rates tombstone outbox
-- ARGV: hold actual tokens tombstone_ttl_ms event ('' for none)
-- Returns 0 settled, 1 settled already, 2 unknown hold (the event is recorded, nothing is counted)
local call, format, floor = redis.call, string.format, math.floor
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
local fields, n = {}, 0
if hold[8] == 1 then
  fields[1], fields[2], n = 'wallet:settled', 'wallet:held', 2
end
for i = 1, #names do
  fields[n + 1], fields[n + 2] = names[i] .. ':settled', names[i] .. ':held'
  n = n + 2
end
if n > 0 then
  local values = call('HMGET', counters, unpack(fields))
  local writes, w = {}, 0
  for i = 1, n, 2 do
    -- A counter that is gone stays unknown.
    if values[i] and values[i + 1] then
      writes[w + 1], writes[w + 2] = fields[i], format('%.0f', tonumber(values[i]) + actual)
      writes[w + 3] = fields[i + 1]
      writes[w + 4] = format('%.0f', math.max(tonumber(values[i + 1]) - granted, 0))
      w = w + 4
    end
  end
  if w > 0 then
    call('HSET', counters, unpack(writes))
  end
end

if #limits > 0 then
  local time = call('TIME')
  local now_us = time[1] * 1000000 + time[2]
  local used = tonumber(ARGV[3])
  local rate_fields = {}
  for i = 1, #limits, 4 do
    local m = #rate_fields
    rate_fields[m + 1], rate_fields[m + 2] = limits[i] .. ':t', limits[i] .. ':c'
  end
  local values = call('HMGET', rates, unpack(rate_fields))
  local writes, w = {}, 0
  for i = 1, #limits, 4 do
    local base = (i - 1) / 2
    local per_minute, reserved = limits[i + 1], limits[i + 2]
    if reserved >= 0 and per_minute > 0 and values[base + 1] then
      local rest = math.fmod(used, per_minute)
      local cost = (used - rest) / per_minute * BURST_US + floor(rest * BURST_US / per_minute)
      if used > 0 then cost = math.max(cost, 1) end
      local corrected = math.max(tonumber(values[base + 1]) + cost - reserved, now_us)
      writes[w + 1], writes[w + 2], w = rate_fields[base + 1], format('%.0f', corrected), w + 2
    end
    if limits[i + 3] == 1 and values[base + 2] then
      local in_flight = math.max(tonumber(values[base + 2]) - 1, 0)
      writes[w + 1], writes[w + 2], w = rate_fields[base + 2], format('%.0f', in_flight), w + 2
    end
  end
  if w > 0 then
    call('HSET', rates, unpack(writes))
  end
end

if ARGV[5] ~= '' then
  call('XADD', KEYS[6], '*', 'e', ARGV[5])
end
return 0
