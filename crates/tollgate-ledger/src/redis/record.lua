-- tollgate record, version 2: shared by all scripts about holds
--
-- A hold is a string: `H`, numbers as packed doubles, lists as MessagePack, then 16 bytes each of its pod and its
-- key and the memo. What is left of it when it is settled is `T` and the outbox id of its event, for a while.
--   numbers  progress granted admitted_at lease_until lease_ms requests_limit requests_backlog tokens_limit
--            tokens_backlog wallet(0 none, 1 enforced, 2 counted) has_places
--   lists    counters' names, their limits, {field of the rate owner, token limit, reserved_us, places ...}
local RECORD = '<Bddddddddddd'
local function is_hold(stored)
  return stored and string.byte(stored) == 72
end
local function write_record(numbers, names, limits, held, rest)
  return struct.pack(RECORD, 72, unpack(numbers)) .. cmsgpack.pack({names, limits, held}) .. rest
end
-- The numbers, the three lists, and where the rest begins.
local function read_record(stored)
  local numbers = {select(2, struct.unpack(RECORD, stored))}
  local next_at, lists = cmsgpack.unpack_one(stored, numbers[12] - 1)
  numbers[12] = nil
  if next_at < 0 then
    next_at = #stored
  end
  return numbers, lists[1], lists[2], lists[3], next_at + 1
end
