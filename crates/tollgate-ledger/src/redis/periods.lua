-- tollgate periods, version 1: shared by admit and seed
--
-- Periods are part of a counter's name, so nothing ever resets; what must not grow for ever is removed here.
-- `<budget>:periods` names the two newest periods; when a newer one is created, the counters of the elder are
-- removed unless something is held there. The period before the present stays for clocks that step back.
local function remember_period(counters, name)
  local budget, start = string.match(name, '^(.*):(-?%d+)$')
  local field = budget .. ':periods'
  local pointer = redis.call('HGET', counters, field)
  if not pointer then
    redis.call('HSET', counters, field, start .. ',')
    return
  end
  local newest, previous = string.match(pointer, '^(-?%d+),(-?%d*)$')
  if tonumber(start) <= tonumber(newest) then
    return
  end
  if previous ~= '' then
    local old = budget .. ':' .. previous
    if tonumber(redis.call('HGET', counters, old .. ':held') or '0') == 0 then
      redis.call('HDEL', counters, old .. ':settled', old .. ':held')
    end
  end
  redis.call('HSET', counters, field, start .. ',' .. newest)
end
