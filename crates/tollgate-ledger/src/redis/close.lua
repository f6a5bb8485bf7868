-- tollgate close, version 2
--
-- KEYS: state
-- ARGV: run
-- Closes the tenant for a reseed and returns the closed epoch; what was closed in this run stays as it is. What was
-- closed in another run is a copy of the past: somebody may have replaced it since, and pods settled under that.
local fenced = ARGV[1] .. ':fenced'
local epoch = redis.call('HGET', KEYS[1], 'e')
if epoch and is_live(epoch, fenced) then
  return epoch
end
epoch = next_epoch(epoch, 0, fenced)
redis.call('HSET', KEYS[1], 'e', epoch)
return epoch
