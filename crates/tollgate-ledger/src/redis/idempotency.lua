-- tollgate idempotency, version 1: shared by the scripts about idempotency keys
--
-- KEYS: record names ends sums
-- ARGV: prefix_of_the_shard tenant name, then what each script says. A name is `<API key>:<hash>`.
--
-- A record is a letter, 32 bytes of fingerprint, and for `R` (running) the owner, for `A` (answered) the answer, for
-- `N` (no answer) a letter that says why; Redis ends it. `names` is a tenant's hash of what is remembered, with the
-- bytes of its answer. `ends` orders `<tenant>:<name>` of the shard by their ends. `sums` has the bytes in `all` and
-- per tenant (`t:`), and the names per API key (`k:`).
local call = redis.call
local prefix, tenant, name = ARGV[1], ARGV[2], ARGV[3]
local time = call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)
-- So many that what ends is gone sooner than new names come.
local max_pruned = 16

local function key_of(name)
  return 'k:' .. string.match(name, '^[^:]*')
end

local function sum(field)
  return tonumber(call('HGET', KEYS[4], field) or 0)
end

local function add(field, amount)
  if amount ~= 0 and call('HINCRBY', KEYS[4], field, string.format('%.0f', amount)) <= 0 then
    call('HDEL', KEYS[4], field)
  end
end

local function forget(tenant, name)
  local names = prefix .. tenant .. ':idempotency'
  local bytes = call('HGET', names, name)
  if bytes then
    call('HDEL', names, name)
    add('all', -tonumber(bytes))
    add('t:' .. tenant, -tonumber(bytes))
    add(key_of(name), -1)
  end
  call('ZREM', KEYS[3], tenant .. ':' .. name)
  call('DEL', names .. ':' .. name)
end

local function remember(value, bytes, ms)
  forget(tenant, name)
  call('SET', KEYS[1], value, 'PX', ms)
  call('HSET', KEYS[2], name, bytes)
  call('ZADD', KEYS[3], string.format('%.0f', now_ms + tonumber(ms)), tenant .. ':' .. name)
  add('all', bytes)
  add('t:' .. tenant, bytes)
  add(key_of(name), 1)
end

for _, member in ipairs(call('ZRANGEBYSCORE', KEYS[3], '-inf', string.format('%.0f', now_ms), 'LIMIT', 0, max_pruned)) do
  local at = string.find(member, ':', 1, true)
  forget(string.sub(member, 1, at - 1), string.sub(member, at + 1))
end
