-- tollgate forget, version 1
--
-- KEYS: state leases index
-- ARGV: tenant prefix of holds' records
-- Removes everything about a tenant. The tombstones go by themselves.
for _, id in ipairs(redis.call('ZRANGE', KEYS[2], 0, -1)) do
  redis.call('DEL', ARGV[2] .. id)
end
redis.call('DEL', KEYS[1], KEYS[2])
redis.call('ZREM', KEYS[3], ARGV[1])
return 0
