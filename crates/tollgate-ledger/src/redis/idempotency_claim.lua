-- tollgate idempotency_claim, version 1
--
-- ARGV 4-7: fingerprint owner lease_ms max_names
-- Returns {0} claimed, {1, lease_left_ms} running, {2} another request, {3, answer}, {4, why} without an answer,
-- {5} too many names.
local stored = call('GET', KEYS[1])
if stored then
  if string.sub(stored, 2, 33) ~= ARGV[4] then
    return {2}
  end
  local state, rest = string.sub(stored, 1, 1), string.sub(stored, 34)
  if state == 'A' then
    return {3, rest}
  end
  if state == 'N' then
    return {4, rest}
  end
  if rest ~= ARGV[5] then
    return {1, math.max(call('PTTL', KEYS[1]), 0)}
  end
elseif call('HEXISTS', KEYS[2], name) == 0 and sum(key_of(name)) >= tonumber(ARGV[7]) then
  return {5}
end
remember('R' .. ARGV[4] .. ARGV[5], 0, ARGV[6])
return {0}
