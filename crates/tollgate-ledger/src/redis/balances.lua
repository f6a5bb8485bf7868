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
  local wallet = call('HMGET', KEYS[1], 'wallet:limit', 'wallet:settled', 'wallet:held')
  if wallet[1] then
    answer = {tonumber(wallet[1]), tonumber(wallet[2]), tonumber(wallet[3])}
  end
end
for i = 2, #ARGV, 3 do
  local name = ARGV[i + 2]
  if now_ms < tonumber(ARGV[i]) then
    name = ARGV[i + 1]
  end
  local counter = call('HMGET', KEYS[1], name .. ':settled', name .. ':held')
  answer[#answer + 1] = tonumber(counter[1] or '0')
  answer[#answer + 1] = tonumber(counter[2] or '0')
end
return answer
