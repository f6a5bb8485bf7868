-- tollgate list_holds, version 1
--
-- KEYS: leases
-- ARGV: prefix_of_holds max after_score after_id ('' '' at the beginning)
-- Returns now_ms, the score and id to go on after ('' for the end), then per hold: id progress granted admitted_at
-- lease_until lease_ms wallet node_key_memo n_counters, then per counter: name limit
local call = redis.call
local time = call('TIME')
local answer = {time[1] * 1000 + math.floor(time[2] / 1000), '', ''}
local max, n, offset = tonumber(ARGV[2]), 0, 0
while true do
  local min = ARGV[3] == '' and '-inf' or ARGV[3]
  local page = call('ZRANGEBYSCORE', KEYS[1], min, '+inf', 'WITHSCORES', 'LIMIT', offset, max + 1)
  for i = 1, #page, 2 do
    local id, score = page[i], page[i + 1]
    if score ~= ARGV[3] or id > ARGV[4] then
      if n == max then
        return answer
      end
      local stored = call('GET', ARGV[1] .. id)
      if is_hold(stored) then
        local hold, names, limits, _, at = read_record(stored)
        for _, value in ipairs({id, hold[1], hold[2], hold[3], hold[4], hold[5], hold[10], string.sub(stored, at), #names}) do
          answer[#answer + 1] = value
        end
        for j = 1, #names do
          answer[#answer + 1] = names[j]
          answer[#answer + 1] = limits[j]
        end
      end
      n, answer[2], answer[3] = n + 1, score, id
    end
  end
  if #page < 2 * (max + 1) then
    answer[2], answer[3] = '', ''
    return answer
  end
  offset = offset + max + 1
end
