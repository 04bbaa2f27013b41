-- Gives the conversation back with its mail: a new ticket wakes a waiting worker at once. 1, or 0 when fenced.
-- KEYS: owner, ready
-- ARGV: epoch, group, ticket, conversation
if redis.call('HGET', KEYS[1], 'epoch') ~= ARGV[1] then
  return 0
end
redis.call('XACK', KEYS[2], ARGV[2], ARGV[3])
redis.call('XDEL', KEYS[2], ARGV[3])
local ticket = redis.call('XADD', KEYS[2], '*', 'conversation', ARGV[4])
redis.call('HDEL', KEYS[1], 'epoch', 'worker', 'attempt', 'committed')
redis.call('HSET', KEYS[1], 'ticket', ticket)
return 1
