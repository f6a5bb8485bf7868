-- tollgate journaled, version 1
--
-- KEYS: outbox mark
-- ARGV: run
-- Returns the mark of the stream's life, which never returns once the stream is lost or of another run, and the id
-- below which every entry is journaled, and whether that one is, too.
local call = redis.call
local mark = call('GET', KEYS[2])
if not mark or not is_live(mark, ARGV[1]) then
  mark = next_epoch(mark, 0, ARGV[1])
  call('SET', KEYS[2], mark)
end
local first = call('XRANGE', KEYS[1], '-', '+', 'COUNT', 1)[1]
if first then
  return {mark, first[1], 0}
end
if call('EXISTS', KEYS[1]) == 0 then
  return {mark, '0-0', 0}
end
local info = call('XINFO', 'STREAM', KEYS[1])
for i = 1, #info, 2 do
  if info[i] == 'last-generated-id' then
    return {mark, info[i + 1], 1}
  end
end
return {mark, '0-0', 0}
