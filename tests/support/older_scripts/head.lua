-- Reads the first waiting message: {item or '', intent or '', stop or '', history}.
-- KEYS: owner, inbox, history
-- ARGV: epoch
local owner = redis.call('HMGET', KEYS[1], 'epoch', 'intent', 'stop')
if owner[1] ~= ARGV[1] then
  return redis.error_reply('FENCED the epoch is over')
end
local item = redis.call('LINDEX', KEYS[2], 0)
if not item then
  return { '', '', '', {} }
end
return { item, owner[2] or '', owner[3] or '', redis.call('LRANGE', KEYS[3], 0, -1) }
