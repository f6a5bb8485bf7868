-- tollgate renew, version 3
--
-- KEYS: state leases, then holds' records
-- ARGV: run lease_ms, then per hold: id cost_so_far
-- Returns the epoch ('' for none, '-' for one that does not answer), then the places of those that do not exist.
-- A lease never becomes shorter, and what was noted of the cost never less.
local call, max, pack, unpack_struct = redis.call, math.max, struct.pack, struct.unpack
local state = KEYS[1]
local epoch = call('HGET', state, 'e')
if epoch and not is_live(epoch, ARGV[1]) then
  return {'-'}
end
-- A server without memory refuses a script at its first write that needs some; after one that needs none, not.
call('ZREM', KEYS[2], '')
local time = call('TIME')
local until_ms = time[1] * 1000 + math.floor(time[2] / 1000) + tonumber(ARGV[2])
local answer = {epoch or ''}
for i = 3, #KEYS do
  local stored = call('GET', KEYS[i])
  if is_hold(stored) then
    local hold, names, limits, rates, at = read_record(stored)
    hold[1] = max(hold[1], tonumber(ARGV[2 * i - 2]))
    hold[4] = max(hold[4], until_ms)
    if hold[11] == 0 then
      for j = 1, #rates, 4 do
        if rates[j + 3] > 0 then
          hold[11] = 1
          local owner = call('HGET', state, rates[j])
          local requests_tat, tokens_tat, in_flight = 0, 0, 0
          if owner then
            requests_tat, tokens_tat, in_flight = unpack_struct('<ddd', owner)
          end
          call('HSET', state, rates[j], pack('<ddd', requests_tat, tokens_tat, in_flight + rates[j + 3]))
        end
      end
    end
    call('SET', KEYS[i], write_record(hold, names, limits, rates, string.sub(stored, at)))
    call('ZADD', KEYS[2], 'XX', 'GT', string.format('%.0f', until_ms), ARGV[2 * i - 3])
  else
    answer[#answer + 1] = i - 3
  end
end
return answer
