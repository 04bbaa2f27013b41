-- Finds the oldest ticket whose lease has run out: {ticket, conversation}, or nothing. `begin` takes it over.
-- KEYS: ready
-- ARGV: group, lease_ms
local overdue = redis.pcall('XPENDING', KEYS[1], ARGV[1], 'IDLE', ARGV[2], '-', '+', 10)
if overdue.err then
  return false -- no group: the server lost its data, and the next read makes the group anew
end
for _, pending in ipairs(overdue) do
  local entry = redis.call('XRANGE', KEYS[1], pending[1], pending[1])[1]
  if entry then
    return { pending[1], entry[2][2] }
  end
  redis.call('XACK', KEYS[1], ARGV[1], pending[1])
end
return false
