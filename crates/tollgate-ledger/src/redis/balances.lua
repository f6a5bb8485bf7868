-- tollgate balances, version 2
--
-- KEYS: state
-- ARGV: run wallet(0|1), then per budget: current_ends_at current_name next_name
-- Returns integers: cold(0|1: the tenant, or a budget in its period, is not known), wallet limit settled held
-- (-1 each where unknown or not asked), then settled held per budget
local call = redis.call
local time = call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)
local values = call('HMGET', KEYS[1], 'e', 's', 'w')
local seeded_at = not refuses(values[1], ARGV[1], '') and values[2]
local answer = {seeded_at and 0 or 1, -1, -1, -1}
if ARGV[2] == '1' and seeded_at and values[3] then
  local limit, _, settled, held = struct.unpack('<dddd', values[3])
  answer = {0, limit, settled, held}
end
for i = 3, #ARGV, 3 do
  local name = ARGV[i + 2]
  if now_ms < tonumber(ARGV[i]) then
    name = ARGV[i + 1]
  end
  local counter = call('HGET', KEYS[1], name)
  local settled, held = 0, 0
  if counter then
    settled, held = struct.unpack('<dd', counter)
  elseif seeded_at and tonumber(string.match(name, ':(-?%d+)$')) < tonumber(seeded_at) then
    answer[1] = 1
  end
  answer[#answer + 1] = settled
  answer[#answer + 1] = held
end
return answer
