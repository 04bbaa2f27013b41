-- Keeps a message in its conversation's inbox, once, and makes a ticket unless the conversation has one.
-- KEYS: seen, inbox, owner, ready, known
-- ARGV: attempt, seen_s, inbox_limit, item, conversation, history_s
-- The attempt names one call of the client: when its reply was lost and the client repeats it, the answer is the same.
local seen = redis.call('GET', KEYS[1])
if seen then
  return seen == ARGV[1] and 'accepted' or 'duplicate'
end
if redis.call('LLEN', KEYS[2]) >= tonumber(ARGV[3]) then
  return 'full'
end
redis.call('SET', KEYS[1], ARGV[1], 'EX', ARGV[2])
redis.call('RPUSH', KEYS[2], ARGV[4])
redis.call('SET', KEYS[5], '1', 'EX', ARGV[6])
if redis.call('HEXISTS', KEYS[3], 'ticket') == 0 then
  local ticket = redis.call('XADD', KEYS[4], '*', 'conversation', ARGV[5])
  redis.call('HSET', KEYS[3], 'ticket', ticket)
end
return 'accepted'
