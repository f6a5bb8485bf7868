-- tollgate reseed, version 2
--
-- KEYS: state leases index
-- ARGV: run expected_epoch above tenant prefix_of_holds tombstone_ttl_ms wallet_limit wallet_version
--       wallet_settled n_counters n_revoked n_settled n_holds, then per counter: name settled, revoked fields,
--       settled holds, and per hold: id node_key_memo numbers, then the names of its counters;
--       numbers, as packed 64-bit integers: progress amount admitted_at(-1: unknown) lease_ms wallet n_names limits
-- Replaces everything of the tenant. Returns a code and an epoch: 0 written, 1 the epoch is another one or of another
-- run, 2 it is live.
local call, pack = redis.call, struct.pack
local state, leases = KEYS[1], KEYS[2]
local values = call('HMGET', state, 'e', 'w')
local epoch = values[1]
if (epoch or '') ~= ARGV[2] then
  return {1, epoch or ''}
end
if epoch and is_live(epoch, ARGV[1]) then
  return {2, epoch}
end
if not epoch or not is_live(epoch, ARGV[1] .. ':fenced') then
  return {1, epoch or ''}
end
local time = call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)
local new_epoch = next_epoch(epoch, tonumber(ARGV[3]), ARGV[1])
local limit, version, held = tonumber(ARGV[7]), tonumber(ARGV[8]), 0
if values[2] then
  local live_limit, live_version = struct.unpack('<dddd', values[2])
  if live_version > version then
    limit, version = live_limit, live_version
  end
end
for _, id in ipairs(call('ZRANGE', leases, 0, -1)) do
  call('DEL', ARGV[5] .. id)
end
call('DEL', state, leases)

local at, counters = 14, {}
for _ = 1, ARGV[10] do
  counters[ARGV[at]] = {tonumber(ARGV[at + 1]), 0}
  at = at + 2
end
for _ = 1, ARGV[11] do
  call('HSET', state, ARGV[at], '1')
  at = at + 1
end
for _ = 1, ARGV[12] do
  call('SET', ARGV[5] .. ARGV[at], 'T', 'PX', ARGV[6])
  at = at + 1
end
local earliest
for _ = 1, ARGV[13] do
  local id, note, packed = ARGV[at], ARGV[at + 1], ARGV[at + 2]
  local numbers = {struct.unpack('<' .. string.rep('i8', #packed / 8), packed)}
  local n_names, amount = numbers[6], numbers[2]
  local names, limits = {}, {}
  for i = 1, n_names do
    names[i], limits[i] = ARGV[at + 2 + i], numbers[6 + i]
    local counter = counters[names[i]]
    counter[2] = counter[2] + amount
  end
  at = at + 3 + n_names
  if numbers[5] > 0 then
    held = held + amount
  end
  local admitted_at, lease_until = numbers[3], now_ms + numbers[4]
  if admitted_at < 0 then
    admitted_at = now_ms
  end
  -- Rates begin anew: what was reserved is forgotten on both sides.
  call('SET', ARGV[5] .. id, write_record({numbers[1], amount, admitted_at, lease_until, numbers[4], -1, -1, -1, -1,
    numbers[5], 0}, names, limits, {}, note))
  call('ZADD', leases, lease_until, id)
  earliest = math.min(earliest or lease_until, lease_until)
end
for name, counter in pairs(counters) do
  call('HSET', state, name, pack('<dd', counter[1], counter[2]))
  remember_period(state, name)
end
call('HSET', state, 'w', pack('<dddd', limit, version, tonumber(ARGV[9]), held))
if earliest then
  call('ZADD', KEYS[3], earliest, ARGV[4])
  call('HSET', state, 'i', '1')
else
  call('ZREM', KEYS[3], ARGV[4])
end
call('HSET', state, 's', string.format('%.0f', now_ms), 'e', new_epoch)
return {0, new_epoch}
