-- tollgate seed, version 4
--
-- KEYS: state
-- ARGV: run known_epoch('': any that answers, or none) wallet_limit wallet_version wallet_settled, then per counter:
--       name settled
-- Writes only what is absent and was not removed; a wallet limit also where its version is later. Returns 0, or 1 for a wrong epoch.
-- What the state holds is written in admit.
local call, pack = redis.call, struct.pack
local state = KEYS[1]
local values = call('HMGET', state, 'e', 's', 'w')
local epoch, is_seeded = values[1], values[2]
if refuses(epoch, ARGV[1], ARGV[2]) then
  return 1
end
local limit, version, settled, held = tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5]), 0
if values[3] then
  local live_limit, live_version, live_settled, live_held = struct.unpack('<dddd', values[3])
  if live_version >= version then
    limit, version = live_limit, live_version
  end
  if is_seeded then
    settled, held = live_settled, live_held
  end
end
call('HSET', state, 'w', pack('<dddd', limit, version, settled, held))
for i = 6, #ARGV, 2 do
  if not may_be_removed(state, ARGV[i])
      and call('HSETNX', state, ARGV[i], pack('<dd', tonumber(ARGV[i + 1]), 0)) == 1 then
    remember_period(state, ARGV[i])
  end
end
if not is_seeded then
  local time = call('TIME')
  local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)
  call('HSET', state, 's', string.format('%.0f', now_ms), 'e', epoch or next_epoch(nil, 0, ARGV[1]))
end
return 0
