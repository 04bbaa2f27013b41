-- Notes that the answer to a message is about to become visible.
-- KEYS: owner
-- ARGV: epoch, turn
if redis.call('HGET', KEYS[1], 'epoch') ~= ARGV[1] then
  return redis.error_reply('FENCED the epoch is over')
end
redis.call('HSET', KEYS[1], 'intent', ARGV[2])
return 1
