-- tollgate ended_leases, version 1
--
-- KEYS: index
-- ARGV: expired_for_ms
-- Returns the shard's tenants of whose holds a lease may have ended so long ago.
local time = redis.call('TIME')
local before = time[1] * 1000 + math.floor(time[2] / 1000) - tonumber(ARGV[1])
return redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', string.format('%.0f', before))
