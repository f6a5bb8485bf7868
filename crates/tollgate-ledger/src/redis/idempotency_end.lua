-- tollgate idempotency_end, version 1
--
-- ARGV 4-10: fingerprint owner lifetime_ms state rest max_tenant_bytes max_shard_bytes; the state is a record's letter,
-- or `-` where it is to be forgotten
-- Returns 0 remembered, 1 remembered without its answer, 2 somebody else has it.
local stored = call('GET', KEYS[1])
if stored then
  local state, fingerprint, rest = string.sub(stored, 1, 1), string.sub(stored, 2, 33), string.sub(stored, 34)
  if fingerprint ~= ARGV[4] or (state == 'R' and rest ~= ARGV[5]) then
    return 2
  end
  if state ~= 'R' then
    return 0
  end
end
local state, rest = ARGV[7], ARGV[8]
if state == '-' then
  forget(tenant, name)
  return 0
end
local bytes, answer = 0, 0
if state == 'A' then
  bytes = #rest
  if sum('t:' .. tenant) + bytes > tonumber(ARGV[9]) or sum('all') + bytes > tonumber(ARGV[10]) then
    state, rest, bytes, answer = 'N', 'r', 0, 1
  end
end
remember(state .. ARGV[4] .. rest, bytes, ARGV[6])
return answer
