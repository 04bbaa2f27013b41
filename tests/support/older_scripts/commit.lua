-- Takes the first message out of the inbox, changes the history, adds the log entry.
-- KEYS: owner, inbox, history, log, known
-- ARGV: epoch, turn, drop (-1 clears), history_s, interaction or '', turns...
local owner = redis.call('HMGET', KEYS[1], 'epoch', 'committed')
if owner[1] ~= ARGV[1] then
  return redis.error_reply('FENCED the epoch is over')
end
if owner[2] == ARGV[2] then
  return 'repeated'
end
local item = redis.call('LINDEX', KEYS[2], 0)
if not item or string.match(item, '^[^\n]*') ~= ARGV[2] then
  return redis.error_reply('FENCED the message is not the first that waits')
end
redis.call('LPOP', KEYS[2])
local drop = tonumber(ARGV[3])
if drop < 0 then
  redis.call('DEL', KEYS[3])
elseif drop > 0 then
  redis.call('LTRIM', KEYS[3], drop, -1)
end
for index = 6, #ARGV do
  redis.call('RPUSH', KEYS[3], ARGV[index])
end
redis.call('EXPIRE', KEYS[3], ARGV[4])
redis.call('SET', KEYS[5], '1', 'EX', ARGV[4])
if ARGV[5] ~= '' then
  redis.call('XADD', KEYS[4], '*', 'interaction', ARGV[5])
end
redis.call('HDEL', KEYS[1], 'intent', 'stop')
redis.call('HSET', KEYS[1], 'committed', ARGV[2])
return 'committed'
