-- tollgate set_aside, version 1
--
-- KEYS: outbox dead
-- ARGV: group max_dead, then ids
-- Returns how many entries went over. Where `dead` is full they stay; each keeps its id as a field.
local call = redis.call
local moved = 0
for i = 3, #ARGV do
  local entry = call('XRANGE', KEYS[1], ARGV[i], ARGV[i])[1]
  if entry then
    if call('XLEN', KEYS[2]) >= tonumber(ARGV[2]) then
      return moved
    end
    call('XADD', KEYS[2], '*', 'outbox_id', ARGV[i], unpack(entry[2]))
    call('XDEL', KEYS[1], ARGV[i])
    call('XACK', KEYS[1], ARGV[1], ARGV[i])
    moved = moved + 1
  end
end
return moved
