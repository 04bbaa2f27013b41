-- Appends an event to a conversation's feed and wakes its readers: the event's id.
-- KEYS: feed
-- ARGV: attempt, kind, turn, text, outcome, max_events, feed_s, channel, conversation
local newest = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)[1]
local last = {}
if newest then
  for index = 1, #newest[2], 2 do
    last[newest[2][index]] = newest[2][index + 1]
  end
  if last.attempt == ARGV[1] then
    return newest[1] -- the same call, whose reply was lost
  end
end
local id = redis.call(
  'XADD', KEYS[1], 'MAXLEN', '~', ARGV[6], '*',
  'attempt', ARGV[1], 'kind', ARGV[2], 'turn', ARGV[3], 'text', ARGV[4], 'outcome', ARGV[5]
)
-- Each growing text holds the one before it, so only the newest is worth its memory.
if last.kind == 'growing' and last.turn == ARGV[3] then
  redis.call('XDEL', KEYS[1], newest[1])
end
redis.call('EXPIRE', KEYS[1], ARGV[7])
redis.call('PUBLISH', ARGV[8], ARGV[9])
return id
