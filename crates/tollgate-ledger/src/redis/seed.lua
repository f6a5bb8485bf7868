-- tollgate seed, version 1
--
-- KEYS: counters epoch
-- ARGV: wallet_limit wallet_version wallet_settled, then per counter: name settled
-- Writes only what is absent; a wallet limit also where its version is later.
local call = redis.call
local counters, epoch = KEYS[1], KEYS[2]

local version = call('HGET', counters, 'wallet:version')
if not version or tonumber(version) < tonumber(ARGV[2]) then
  call('HSET', counters, 'wallet:limit', ARGV[1], 'wallet:version', ARGV[2])
end
call('HSETNX', counters, 'wallet:settled', ARGV[3])
call('HSETNX', counters, 'wallet:held', '0')
for i = 4, #ARGV, 2 do
  if call('HSETNX', counters, ARGV[i] .. ':settled', ARGV[i + 1]) == 1 then
    call('HSETNX', counters, ARGV[i] .. ':held', '0')
    remember_period(counters, ARGV[i])
  end
end
-- Last: what is seeded is known completely.
call('HSETNX', epoch, 'n', '1')
local time = call('TIME')
call('HSETNX', epoch, 'seeded_at', string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000)))
return 0
