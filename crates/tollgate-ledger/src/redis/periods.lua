-- tollgate periods, version 3: shared by admit, seed and reseed
--
-- Periods are part of a counter's name, so nothing ever resets; what must not grow for ever is removed here.
-- The field `p:<budget>` of the state names a budget's two newest periods; when a newer one is created, the
-- counter of the elder is removed unless something is held there. The period before the present stays for
-- clocks that step back.
local function remember_period(state, name)
  local budget, start = string.match(name, '^(.*):(-?%d+)$')
  local field = 'p:' .. budget
  local pointer = redis.call('HGET', state, field)
  if not pointer then
    redis.call('HSET', state, field, start .. ',')
    return
  end
  local newest, previous = string.match(pointer, '^(-?%d+),(-?%d*)$')
  if tonumber(start) <= tonumber(newest) then
    return
  end
  if previous ~= '' then
    local old = budget .. ':' .. previous
    local counter = redis.call('HGET', state, old)
    local held = 0
    if counter then
      held = select(2, struct.unpack('<dd', counter))
    end
    if held == 0 then
      redis.call('HDEL', state, old)
    end
  end
  redis.call('HSET', state, field, start .. ',' .. newest)
end
-- Whether an absent counter may have been removed so: then nobody knows what was settled there, and what of it is not
-- journaled yet. Somebody whose clock is periods behind asks for it.
local function may_be_removed(state, name)
  local budget, start = string.match(name, '^(.*):(-?%d+)$')
  local pointer = redis.call('HGET', state, 'p:' .. budget)
  local previous = pointer and string.match(pointer, ',(-?%d+)$')
  return previous and tonumber(start) < tonumber(previous)
end
