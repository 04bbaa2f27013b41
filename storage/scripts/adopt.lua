-- Moves the oldest ticket whose lease has run out to this worker: {ticket, conversation}, or nothing.
-- KEYS: ready
-- ARGV: group, worker, lease_ms
local overdue = redis.pcall('XPENDING', KEYS[1], ARGV[1], 'IDLE', ARGV[3], '-', '+', 10)
if overdue.err then
  return false -- no group: the server lost its data, and the next read makes the group anew
end
for _, pending in ipairs(overdue) do
  local entry = redis.call('XRANGE', KEYS[1], pending[1], pending[1])[1]
  if entry then
    redis.call('XCLAIM', KEYS[1], ARGV[1], ARGV[2], ARGV[3], pending[1], 'JUSTID')
    return { pending[1], entry[2][2] }
  end
  redis.call('XACK', KEYS[1], ARGV[1], pending[1])
end
return false
