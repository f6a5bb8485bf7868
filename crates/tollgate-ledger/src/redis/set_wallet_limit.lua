-- tollgate set_wallet_limit, version 1
--
-- KEYS: counters
-- ARGV: limit version
local version = redis.call('HGET', KEYS[1], 'wallet:version')
if version and tonumber(version) >= tonumber(ARGV[2]) then
  return 0
end
redis.call('HSET', KEYS[1], 'wallet:limit', ARGV[1], 'wallet:version', ARGV[2])
return 1
