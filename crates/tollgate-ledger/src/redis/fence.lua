-- tollgate fence, version 1: shared by all scripts about a tenant
--
-- The field `e` of a tenant's state is its epoch, `<n>:<run>`. A state of another run than the caller's server is
-- a copy of the past (or is being replaced, then its run is `fenced`), and whoever holds something of another
-- epoch may hold what this state does not know.
-- `run` comes with its colon; `known` is the epoch that the caller holds something of, or empty.
local function is_live(epoch, run)
  return string.sub(epoch, -#run) == run
end
local function is_known(epoch, known)
  return known == '' or epoch == known
end
local function refuses(epoch, run, known)
  if epoch then
    return not is_live(epoch, run) or not is_known(epoch, known)
  end
  return known ~= ''
end
-- An epoch's number never returns, not even after everything was lost: it is at least the time.
local function next_epoch(epoch, above, run)
  local time = redis.call('TIME')
  local n = math.max(tonumber(epoch and string.match(epoch, '^%d+') or 0), above, time[1] * 1000000 + time[2]) + 1
  return string.format('%.0f', n) .. run
end
