-- Gives the conversation back when nothing waits: 1, or 0 when mail came meanwhile.
-- KEYS: owner, inbox, ready
-- ARGV: epoch, group, ticket
local epoch = redis.call('HGET', KEYS[1], 'epoch')
if not epoch and redis.call('EXISTS', KEYS[1]) == 0 then
  return 1 -- finished before: by the same call, whose reply was lost, or by a successor
end
if epoch ~= ARGV[1] then
  return redis.error_reply('FENCED the epoch is over')
end
if redis.call('LLEN', KEYS[2]) > 0 then
  return 0
end
redis.call('XACK', KEYS[3], ARGV[2], ARGV[3])
redis.call('XDEL', KEYS[3], ARGV[3])
redis.call('DEL', KEYS[1])
return 1
