-- Keeps a message in its conversation's inbox, once, and makes a ticket unless the conversation has one.
-- KEYS: seen, inbox, owner, ready, known
-- ARGV: attempt, seen_s, inbox_limit, item, conversation, history_s, sent_at
-- The attempt names one call of the client: when its reply was lost and the client repeats it, the answer is the same.
local seen = redis.call('GET', KEYS[1])
if seen then
  return seen == ARGV[1] and 'accepted' or 'duplicate'
end
local place = redis.call('LLEN', KEYS[2])
if place >= tonumber(ARGV[3]) then
  return 'full'
end
redis.call('SET', KEYS[1], ARGV[1], 'EX', ARGV[2])
-- Two connections to one platform may deliver two messages in the wrong order: each takes its place by the platform's
-- clock, but never before one that a worker may already have begun, or whose answer may be visible already.
local first = math.max(redis.call('HEXISTS', KEYS[3], 'epoch'), redis.call('HEXISTS', KEYS[3], 'intent'))
local later
while place > first do
  local item = redis.call('LINDEX', KEYS[2], place - 1)
  local text = string.match(item, '"sent_at":([%d%.eE+-]+)')
  if not text or tonumber(text) <= tonumber(ARGV[7]) then
    break
  end
  later = item
  place = place - 1
end
if later then
  redis.call('LINSERT', KEYS[2], 'BEFORE', later, ARGV[4])
else
  redis.call('RPUSH', KEYS[2], ARGV[4])
end
redis.call('SET', KEYS[5], '1', 'EX', ARGV[6])
if redis.call('HEXISTS', KEYS[3], 'ticket') == 0 then
  local ticket = redis.call('XADD', KEYS[4], '*', 'conversation', ARGV[5])
  redis.call('HSET', KEYS[3], 'ticket', ticket)
end
return 'accepted'
