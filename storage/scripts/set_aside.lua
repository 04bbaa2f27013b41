-- Moves a first message that cannot be read to the shard's dead letters, where an operator finds it.
-- KEYS: owner, inbox, inbox-dead
-- ARGV: epoch, item, conversation
if redis.call('HGET', KEYS[1], 'epoch') ~= ARGV[1] then
  return redis.error_reply('FENCED the epoch is over')
end
if redis.call('LINDEX', KEYS[2], 0) == ARGV[2] then
  redis.call('LPOP', KEYS[2])
  redis.call('XADD', KEYS[3], '*', 'conversation', ARGV[3], 'item', ARGV[2])
  redis.call('HDEL', KEYS[1], 'intent', 'stop')
end
return 'done'
