-- Takes a deleted message back: 'waiting' when it is gone, 'answering' when its worker is told, else 'late'.
-- KEYS: seen, inbox, owner
-- ARGV: attempt, seen_s, message, channel, signal
local seen = redis.call('GET', KEYS[1])
local earlier, change = string.match(seen or '', '\nwithdrawn (%S+) (%S+)')
if earlier == ARGV[1] then
  return change -- the same call, whose reply was lost
end
local place, item
for index, each in ipairs(redis.call('LRANGE', KEYS[2], 0, -1)) do
  if string.match(each, '^[^\n]*') == ARGV[3] then
    place, item = index, each
  end
end
if not item and seen then
  return 'late'
end
local owner = redis.call('HMGET', KEYS[3], 'epoch', 'intent')
change = 'late'
if item and place == 1 and (owner[1] or owner[2] == ARGV[3]) then
  change = 'answering'
  redis.call('HSET', KEYS[3], 'withdrawn', ARGV[3])
  redis.call('PUBLISH', ARGV[4], ARGV[5])
elseif item then
  change = 'waiting'
  redis.call('LREM', KEYS[2], 1, item)
end
-- A message that is yet to come finds itself barred by this.
local accepted = string.match(seen or '', '^[^\n]*')
redis.call('SET', KEYS[1], accepted .. '\nwithdrawn ' .. ARGV[1] .. ' ' .. change, 'EX', ARGV[2])
return change
