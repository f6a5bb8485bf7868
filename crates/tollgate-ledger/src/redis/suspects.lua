-- tollgate suspects, version 2
--
-- KEYS: state leases index
-- ARGV: run tenant prefix_of_holds expired_for_ms max
-- Returns per hold whose lease ended so long ago: id progress granted admitted_at lease_until node_key_memo. Notes in
-- the index until when none of the tenant's leases ends, and takes tenants without holds out of it.
local call = redis.call
local time = call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)
local earliest = call('ZRANGE', KEYS[2], 0, 0, 'WITHSCORES')
if not earliest[2] then
  call('ZREM', KEYS[3], ARGV[2])
  call('HDEL', KEYS[1], 'i')
  return {}
end
-- as in renew: a full server allows what follows a write that needs no memory
call('ZREM', KEYS[2], '')
call('ZADD', KEYS[3], 'XX', earliest[2], ARGV[2])
if refuses(call('HGET', KEYS[1], 'e'), ARGV[1], '') then
  return {}
end
local answer = {}
local before = string.format('%.0f', now_ms - tonumber(ARGV[4]))
for _, id in ipairs(call('ZRANGEBYSCORE', KEYS[2], '-inf', before, 'LIMIT', 0, ARGV[5])) do
  local stored = call('GET', ARGV[3] .. id)
  if is_hold(stored) then
    local hold, _, _, _, at = read_record(stored)
    for _, value in ipairs({id, hold[1], hold[2], hold[3], hold[4], string.sub(stored, at)}) do
      answer[#answer + 1] = value
    end
  end
end
return answer
