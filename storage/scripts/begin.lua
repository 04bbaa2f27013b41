-- Gives the conversation of a ticket to the worker that read it, or that found it overdue: {epoch, 1 when another one
-- had begun before, and what head gives}, or nothing. Where an edit has not been told yet, the mail is left to head.
-- KEYS: owner, ready, epoch, inbox, history
-- ARGV: attempt, group, ticket, worker, lease_ms of an overdue ticket or -1
local owner = redis.call('HMGET', KEYS[1], 'ticket', 'attempt', 'epoch', 'begun')
local function begun_with(epoch, again)
  local noted = redis.call('HMGET', KEYS[1], 'intent', 'stop', 'withdrawn', 'revised')
  local item = redis.call('LINDEX', KEYS[4], 0)
  if not item or noted[4] then
    return { epoch, again, '', '', '', '', {} }
  end
  local history = redis.call('LRANGE', KEYS[5], 0, -1)
  return { epoch, again, item, noted[1] or '', noted[2] or '', noted[3] or '', history }
end
if owner[1] ~= ARGV[3] then
  -- The conversation was finished, or released under a newer ticket.
  redis.call('XACK', KEYS[2], ARGV[2], ARGV[3])
  redis.call('XDEL', KEYS[2], ARGV[3])
  return false
end
if owner[2] == ARGV[1] then
  return begun_with(tonumber(owner[3]), owner[4] == 'again' and 1 or 0) -- the same call, whose reply was lost
end
-- The holder by the stream's own record: {ticket, worker, idle_ms}. A worker that was frozen between reading the ticket
-- and this step must not take it back from its successor; what was overdue may have been renewed or taken over since.
local held = redis.call('XPENDING', KEYS[2], ARGV[2], ARGV[3], ARGV[3], 1)[1]
local lease_ms = tonumber(ARGV[5])
if not held or (lease_ms < 0 and held[2] ~= ARGV[4]) or held[3] < lease_ms then
  return false
end
redis.call('XCLAIM', KEYS[2], ARGV[2], ARGV[4], 0, ARGV[3], 'JUSTID')
-- An epoch must never come twice, and the owner hash is deleted at finish: so the last one is the shard's. A server that
-- lost its last writes, as a replica may that becomes the primary, is still ahead of them by its clock.
local time = redis.call('TIME')
local last = tonumber(redis.call('GET', KEYS[3]) or 0)
local epoch = string.format('%.0f', math.max(last + 1, time[1] * 1000000 + time[2]))
redis.call('SET', KEYS[3], epoch)
-- An epoch outlives a lease that ran out; after a release only `begun` tells, until the message is committed.
local again = owner[3] or owner[4]
local begun = again and 'again' or 'once'
redis.call('HSET', KEYS[1], 'epoch', epoch, 'worker', ARGV[4], 'attempt', ARGV[1], 'begun', begun)
redis.call('HDEL', KEYS[1], 'committed')
return begun_with(tonumber(epoch), again and 1 or 0)
