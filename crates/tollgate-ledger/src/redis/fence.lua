-- tollgate fence, version 2: shared by all scripts about a tenant
--
-- The field `e` of a tenant's state is its epoch, `<n>:<run>`. A state of another run than the caller's server is
-- a copy of the past (or is being replaced, then `:fenced` follows the run), and whoever holds something of another
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
