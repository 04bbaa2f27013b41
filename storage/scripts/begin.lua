-- Gives the conversation of a ticket to the worker that read it: the new epoch, or nothing.
-- KEYS: owner, ready, epoch
-- ARGV: group, ticket, worker
if redis.call('HGET', KEYS[1], 'ticket') ~= ARGV[2] then
  -- The conversation was finished, or released under a newer ticket.
  redis.call('XACK', KEYS[2], ARGV[1], ARGV[2])
  redis.call('XDEL', KEYS[2], ARGV[2])
  return false
end
-- A worker that was frozen between reading the ticket and this step must not take it back from its successor.
local held = redis.call('XPENDING', KEYS[2], ARGV[1], ARGV[2], ARGV[2], 1)[1]
if not held or held[2] ~= ARGV[3] then
  return false
end
-- The counter belongs to the shard: the owner hash is deleted at finish, and an epoch must never come twice.
local epoch = redis.call('INCR', KEYS[3])
redis.call('HSET', KEYS[1], 'epoch', epoch, 'worker', ARGV[3])
redis.call('HDEL', KEYS[1], 'committed')
return epoch
