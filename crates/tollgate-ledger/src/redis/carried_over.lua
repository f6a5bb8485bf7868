-- tollgate carried_over, version 1
--
-- KEYS: state, then holds' records
-- ARGV: run
-- Returns the epoch where it answers and has every one of the holds (or knows that it was settled), else ''.
local epoch = redis.call('HGET', KEYS[1], 'e')
if not epoch or not is_live(epoch, ARGV[1]) then
  return ''
end
for i = 2, #KEYS do
  if redis.call('EXISTS', KEYS[i]) == 0 then
    return ''
  end
end
return epoch
