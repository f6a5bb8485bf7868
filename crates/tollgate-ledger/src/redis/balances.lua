-- tollgate balances, version 1
--
-- KEYS: counters epoch
-- ARGV: wallet(0|1), then per budget: current_ends_at current_name next_name
-- Returns integers: wallet limit settled held (-1 each where unknown or not asked), then settled held per budget
local call = redis.call
local time = call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)
local answer = {-1, -1, -1}
if ARGV[1] == '1' and call('HEXISTS', KEYS[2], 'seeded_at') == 1 then
  local wallet = call('HGET', KEYS[1], 'wallet')
  if wallet then
    local limit, _, settled, held = struct.unpack('<dddd', wallet)
    answer = {limit, settled, held}
  end
end
for i = 2, #ARGV, 3 do
  local name = ARGV[i + 2]
  if now_ms < tonumber(ARGV[i]) then
    name = ARGV[i + 1]
  end
  local counter = call('HGET', KEYS[1], name)
  local settled, held = 0, 0
  if counter then
    settled, held = struct.unpack('<dd', counter)
  end
  answer[#answer + 1] = settled
  answer[#answer + 1] = held
end
return answer
