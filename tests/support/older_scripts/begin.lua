-- Gives the conversation of a ticket to the worker that read it, or that found it overdue: the new epoch, or nothing.
-- KEYS: owner, ready, epoch
-- ARGV: attempt, group, ticket, worker, lease_ms of an overdue ticket or -1
local owner = redis.call('HMGET', KEYS[1], 'ticket', 'attempt', 'epoch')
if owner[1] ~= ARGV[3] then
  -- The conversation was finished, or released under a newer ticket.
  redis.call('XACK', KEYS[2], ARGV[2], ARGV[3])
  redis.call('XDEL', KEYS[2], ARGV[3])
  return false
end
if owner[2] == ARGV[1] then
  return tonumber(owner[3]) -- the same call, whose reply was lost
end
-- The holder by the stream's own record: {ticket, worker, idle_ms}. A worker that was frozen between reading the ticket
-- and this step must not take it back from its successor; what was overdue may have been renewed or taken over since.
local held = redis.call('XPENDING', KEYS[2], ARGV[2], ARGV[3], ARGV[3], 1)[1]
local lease_ms = tonumber(ARGV[5])
if not held or (lease_ms < 0 and held[2] ~= ARGV[4]) or held[3] < lease_ms then
  return false
end
redis.call('XCLAIM', KEYS[2], ARGV[2], ARGV[4], 0, ARGV[3], 'JUSTID')
-- The counter belongs to the shard: the owner hash is deleted at finish, and an epoch must never come twice.
local epoch = redis.call('INCR', KEYS[3])
redis.call('HSET', KEYS[1], 'epoch', epoch, 'worker', ARGV[4], 'attempt', ARGV[1])
redis.call('HDEL', KEYS[1], 'committed')
return epoch
