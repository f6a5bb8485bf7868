-- tollgate close, version 1
--
-- KEYS: state
-- Closes the tenant for a reseed and returns the closed epoch; what is closed stays as it is.
local epoch = redis.call('HGET', KEYS[1], 'e')
if epoch and is_live(epoch, ':fenced') then
  return epoch
end
epoch = next_epoch(epoch, 0, ':fenced')
redis.call('HSET', KEYS[1], 'e', epoch)
return epoch
