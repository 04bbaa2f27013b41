-- Extends the lease of a claim: what befell the first waiting message, the gravest if several, or ''.
-- KEYS: owner, inbox, ready
-- ARGV: epoch, group, ticket
local owner = redis.call('HMGET', KEYS[1], 'epoch', 'worker', 'withdrawn', 'stop', 'revised')
if owner[1] ~= ARGV[1] then
  return redis.error_reply('FENCED the epoch is over')
end
-- Without the look at the epoch this would steal the ticket back from whoever took it over.
redis.call('XCLAIM', KEYS[3], ARGV[2], owner[2], 0, ARGV[3], 'JUSTID')
local item = redis.call('LINDEX', KEYS[2], 0)
local first = item and string.match(item, '^[^\n]*')
for index, signal in ipairs({ 'withdrawn', 'stop', 'revised' }) do
  if first and owner[index + 2] == first then
    return signal
  end
end
return ''
