-- Replaces a message of the inbox where it lies: 'waiting', 'answering' when its worker is told, 'late' when it is gone.
-- KEYS: inbox, owner
-- ARGV: message, item anew, channel, signal
local place, item
for index, each in ipairs(redis.call('LRANGE', KEYS[1], 0, -1)) do
  if string.match(each, '^[^\n]*') == ARGV[1] then
    place, item = index, each
  end
end
if not item then
  return 'late'
end
local owner = redis.call('HMGET', KEYS[2], 'epoch', 'intent')
local change = place == 1 and (owner[1] or owner[2] == ARGV[1]) and 'answering' or 'waiting'
if item == ARGV[2] then
  return change -- nothing new: the same text, or the same call, whose reply was lost
end
redis.call('LSET', KEYS[1], place - 1, ARGV[2])
if change == 'answering' then
  redis.call('HSET', KEYS[2], 'revised', ARGV[1])
  redis.call('PUBLISH', ARGV[3], ARGV[4])
end
return change
