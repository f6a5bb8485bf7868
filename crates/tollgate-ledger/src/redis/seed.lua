-- tollgate seed, version 1
--
-- KEYS: counters epoch
-- ARGV: wallet_limit wallet_version wallet_settled, then per counter: name settled
-- Writes only what is absent; a wallet limit also where its version is later.
-- What the hashes hold is written in admit.
local call, pack = redis.call, struct.pack
local counters, epoch = KEYS[1], KEYS[2]

local is_seeded = call('HEXISTS', epoch, 'seeded_at') == 1
local limit, version, settled, held = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), 0
local wallet = call('HGET', counters, 'wallet')
if wallet then
  local live_limit, live_version, live_settled, live_held = struct.unpack('<dddd', wallet)
  if live_version >= version then
    limit, version = live_limit, live_version
  end
  if is_seeded then
    settled, held = live_settled, live_held
  end
end
call('HSET', counters, 'wallet', pack('<dddd', limit, version, settled, held))
for i = 4, #ARGV, 2 do
  if call('HSETNX', counters, ARGV[i], pack('<dd', tonumber(ARGV[i + 1]), 0)) == 1 then
    remember_period(counters, epoch, ARGV[i])
  end
end
-- Last: what is seeded is known completely.
if not is_seeded then
  local time = call('TIME')
  local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)
  call('HSETNX', epoch, 'n', '1')
  call('HSET', epoch, 'seeded_at', string.format('%.0f', now_ms))
end
return 0
