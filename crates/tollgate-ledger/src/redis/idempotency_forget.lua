-- tollgate idempotency_forget, version 1
--
-- ARGV 4: max
-- Forgets about so many of the tenant's names; returns how many are left.
local some = call('HSCAN', KEYS[2], '0', 'COUNT', ARGV[4])[2]
for i = 1, #some, 2 do
  forget(tenant, some[i])
end
return call('HLEN', KEYS[2])
