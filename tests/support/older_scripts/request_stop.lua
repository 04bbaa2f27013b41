-- Marks the first waiting message as one to stop, and tells who listens: 1, or 0 when nothing waits.
-- KEYS: owner, inbox
-- ARGV: channel, conversation
local item = redis.call('LINDEX', KEYS[2], 0)
if not item then
  return 0
end
redis.call('HSET', KEYS[1], 'stop', string.match(item, '^[^\n]*'))
redis.call('PUBLISH', ARGV[1], ARGV[2])
return 1
