-- Extends the lease of a claim: 1 when a stop of the first waiting message was requested, else 0.
-- KEYS: owner, inbox, ready
-- ARGV: epoch, group, ticket
local owner = redis.call('HMGET', KEYS[1], 'epoch', 'worker', 'stop')
if owner[1] ~= ARGV[1] then
  return redis.error_reply('FENCED the epoch is over')
end
-- Without the look at the epoch this would steal the ticket back from whoever took it over.
redis.call('XCLAIM', KEYS[3], ARGV[2], owner[2], 0, ARGV[3], 'JUSTID')
local item = redis.call('LINDEX', KEYS[2], 0)
if item and owner[3] and string.match(item, '^[^\n]*') == owner[3] then
  return 1
end
return 0
