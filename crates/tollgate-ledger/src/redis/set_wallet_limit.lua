-- tollgate set_wallet_limit, version 2
--
-- KEYS: state
-- ARGV: limit version
-- Returns whether the version was later. What the state holds is written in admit. Under any epoch: the sum of all
-- credit is what it is, and a reseed keeps the later version.
local limit, version = tonumber(ARGV[1]), tonumber(ARGV[2])
local wallet = redis.call('HGET', KEYS[1], 'w')
local settled, held = 0, 0
if wallet then
  local _, live_version
  _, live_version, settled, held = struct.unpack('<dddd', wallet)
  if live_version >= version then
    return 0
  end
end
redis.call('HSET', KEYS[1], 'w', struct.pack('<dddd', limit, version, settled, held))
return 1
