-- tollgate epoch, version 1
--
-- KEYS: state
-- ARGV: run
-- Returns whether the epoch answers, and the epoch ('' for none).
local epoch = redis.call('HGET', KEYS[1], 'e')
return {epoch and is_live(epoch, ARGV[1]) and 1 or 0, epoch or ''}
