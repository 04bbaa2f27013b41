-- Counts what waits in a shard: {tickets, age_ms of the oldest, log entries, age_ms of the oldest, dead letters}.
-- KEYS: ready, log, log-dead, inbox-dead
local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)
local found = {}
for index = 1, 2 do
  local oldest = redis.call('XRANGE', KEYS[index], '-', '+', 'COUNT', 1)[1]
  found[#found + 1] = redis.call('XLEN', KEYS[index])
  found[#found + 1] = oldest and math.max(0, now_ms - string.match(oldest[1], '^%d+')) or 0
end
found[#found + 1] = redis.call('XLEN', KEYS[3]) + redis.call('XLEN', KEYS[4])
return found
