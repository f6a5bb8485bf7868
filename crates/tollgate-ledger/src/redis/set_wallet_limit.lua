-- tollgate set_wallet_limit, version 1
--
-- KEYS: counters
-- ARGV: limit version
-- Returns whether the version was later. What the hash holds is written in admit.
local limit, version = tonumber(ARGV[1]), tonumber(ARGV[2])
local wallet = redis.call('HGET', KEYS[1], 'wallet')
local settled, held = 0, 0
if wallet then
  local _, live_version
  _, live_version, settled, held = struct.unpack('<dddd', wallet)
  if live_version >= version then
    return 0
  end
end
redis.call('HSET', KEYS[1], 'wallet', struct.pack('<dddd', limit, version, settled, held))
return 1
