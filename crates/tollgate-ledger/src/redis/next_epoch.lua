-- tollgate next_epoch, version 1: shared by the scripts that begin an epoch
--
-- An epoch's number never returns, not even after everything was lost: it is at least the time.
local function next_epoch(epoch, above, run)
  local time = redis.call('TIME')
  local n = math.max(tonumber(epoch and string.match(epoch, '^%d+') or 0), above, time[1] * 1000000 + time[2]) + 1
  return string.format('%.0f', n) .. run
end
