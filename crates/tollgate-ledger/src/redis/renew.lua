-- tollgate renew, version 1
--
-- KEYS: leases
-- ARGV: lease_ms, then holds
-- Returns how many of them exist. A lease never becomes shorter.
local call = redis.call
local time = call('TIME')
local expires_at = string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000) + tonumber(ARGV[1]))
local renewed = 0
for i = 2, #ARGV do
  if call('ZSCORE', KEYS[1], ARGV[i]) then
    call('ZADD', KEYS[1], 'XX', 'GT', expires_at, ARGV[i])
    renewed = renewed + 1
  end
end
return renewed
