-- Takes the first message out of the inbox, changes the history, adds the log entry: 1, or 0 when the message was
-- withdrawn and the worker does not know of it.
-- KEYS: owner, inbox, history, log, known, seen, then as many keys that lead from posts to the conversation as keys
--   that lead from them to the answer
-- ARGV: epoch, turn, drop (-1 clears), history_s, interaction or '', withdrawn (1 or 0), posts as JSON, seen_s,
--   conversation, answer or '', place (-1 appends), turns...
local owner = redis.call('HMGET', KEYS[1], 'epoch', 'committed', 'withdrawn')
if owner[1] ~= ARGV[1] then
  return redis.error_reply('FENCED the epoch is over')
end
if owner[2] == ARGV[2] then
  redis.call('HSET', KEYS[1], 'committed', ARGV[2]) -- a replica that has this has all before it: the commit, too
  return 1 -- the same call, whose reply was lost
end
local item = redis.call('LINDEX', KEYS[2], 0)
if not item or string.match(item, '^[^\n]*') ~= ARGV[2] then
  return redis.error_reply('FENCED the message is not the first that waits')
end
if owner[3] == ARGV[2] and ARGV[6] == '0' then
  return 0
end
redis.call('LPOP', KEYS[2])
local drop = tonumber(ARGV[3])
if drop < 0 then
  redis.call('DEL', KEYS[3])
elseif drop > 0 then
  redis.call('LTRIM', KEYS[3], drop, -1)
end
local place = tonumber(ARGV[11])
if place < 0 then
  for index = 12, #ARGV do
    redis.call('RPUSH', KEYS[3], ARGV[index])
  end
elseif place < redis.call('LLEN', KEYS[3]) then
  redis.call('LSET', KEYS[3], place, ARGV[12])
end
redis.call('EXPIRE', KEYS[3], ARGV[4])
redis.call('SET', KEYS[5], '1', 'EX', ARGV[4])
if ARGV[5] ~= '' then
  redis.call('XADD', KEYS[4], '*', 'interaction', ARGV[5])
end
-- A worker that lost the conversation to this one reads here which posts count.
local accepted = string.match(redis.call('GET', KEYS[6]) or '', '^[^\n]*')
redis.call('SET', KEYS[6], accepted .. '\nposts ' .. ARGV[7], 'EX', ARGV[8])
local posts = (#KEYS - 6) / 2
for index = 7, 6 + posts do
  redis.call('SET', KEYS[index], ARGV[9], 'EX', ARGV[4])
  if ARGV[10] ~= '' then
    redis.call('SET', KEYS[index + posts], ARGV[10], 'EX', ARGV[4])
  end
end
redis.call('HDEL', KEYS[1], 'intent', 'stop', 'revised', 'withdrawn', 'begun')
redis.call('HSET', KEYS[1], 'committed', ARGV[2])
return 1
