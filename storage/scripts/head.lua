-- Reads the first waiting message: {item or '', intent or '', stop or '', withdrawn or '', history}.
-- KEYS: owner, inbox, history
-- ARGV: epoch
local owner = redis.call('HMGET', KEYS[1], 'epoch', 'intent', 'stop', 'withdrawn', 'revised')
if owner[1] ~= ARGV[1] then
  return redis.error_reply('FENCED the epoch is over')
end
local item = redis.call('LINDEX', KEYS[2], 0)
if not item then
  return { '', '', '', '', {} }
end
if owner[5] then
  redis.call('HDEL', KEYS[1], 'revised') -- the worker has the new text now
end
return { item, owner[2] or '', owner[3] or '', owner[4] or '', redis.call('LRANGE', KEYS[3], 0, -1) }
