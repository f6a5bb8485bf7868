-- tollgate grow, version 1
--
-- KEYS: state hold
-- ARGV: run known_epoch new_total
-- Returns 0 granted | 1|2 counter ('' for the wallet) limit settled held (spent | held) | 3 unknown hold
--   | 4 wrong epoch. The limits of budgets are those of the admission.
local call, pack, unpack_struct = redis.call, struct.pack, struct.unpack
local state, new_total = KEYS[1], tonumber(ARGV[3])
local stored = call('GET', KEYS[2])
if not is_hold(stored) then
  local epoch = call('HGET', state, 'e')
  if epoch and not is_live(epoch, ARGV[1]) then
    return {4}
  end
  return {not stored and refuses(epoch, ARGV[1], ARGV[2]) and 4 or 3}
end
local hold, names, limits, rates, at = read_record(stored)
local values = call('HMGET', state, 'e', 'w', unpack(names))
if values[1] and not is_live(values[1], ARGV[1]) or not values[1] and ARGV[2] ~= '' then
  return {4}
end
local granted = hold[2]
local more = new_total - granted
if more <= 0 then
  return {0, granted}
end
local first_node, last_node = hold[10] == 1 and 0 or 1, #names
local version
local settled, held = {}, {}
if hold[10] > 0 and values[2] then
  limits[0], version, settled[0], held[0] = unpack_struct('<dddd', values[2])
end
for i = 1, #names do
  settled[i], held[i] = 0, 0
  if values[i + 2] then
    settled[i], held[i] = unpack_struct('<dd', values[i + 2])
  end
end
local function available(i)
  return limits[i] - settled[i] - held[i]
end
local spent, tightest
for i = first_node, last_node do
  if available(i) < more then
    local unsettled = limits[i] - settled[i]
    if unsettled < new_total and (not spent or unsettled < limits[spent] - settled[spent]) then
      spent = i
    end
    if not tightest or available(i) < available(tightest) then
      tightest = i
    end
  end
end
local node = spent or tightest
if node then
  return {spent and 1 or 2, names[node] or '', limits[node], settled[node], held[node]}
end
hold[2] = new_total
local wallet_limit = limits[0]
limits[0] = nil
call('SET', KEYS[2], write_record(hold, names, limits, rates, string.sub(stored, at)))
local writes = {}
if version then
  writes[1], writes[2] = 'w', pack('<dddd', wallet_limit, version, settled[0], held[0] + more)
end
for i = 1, #names do
  if values[i + 2] then
    writes[#writes + 1] = names[i]
    writes[#writes + 1] = pack('<dd', settled[i], held[i] + more)
  end
end
if #writes > 0 then
  call('HSET', state, unpack(writes))
end
return {0, new_total}
