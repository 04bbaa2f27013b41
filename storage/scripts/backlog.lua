-- Counts what waits in a shard: {tickets, age_ms of the oldest, log entries, age_ms of the oldest, dead letters}.
-- KEYS: ready, log, feedback, then the dead letters
local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)
local function waiting(stream)
  local oldest = redis.call('XRANGE', stream, '-', '+', 'COUNT', 1)[1]
  return redis.call('XLEN', stream), oldest and math.max(0, now_ms - string.match(oldest[1], '^%d+')) or 0
end
local tickets, waits_ms = waiting(KEYS[1])
local answers, answers_ms = waiting(KEYS[2])
local feedback, feedback_ms = waiting(KEYS[3])
local dead = 0
for index = 4, #KEYS do
  dead = dead + redis.call('XLEN', KEYS[index])
end
return {tickets, waits_ms, answers + feedback, math.max(answers_ms, feedback_ms), dead}
