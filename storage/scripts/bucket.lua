-- Changes token buckets, all or none: '0' when done, else the microseconds after which another try is worth it.
-- KEYS: buckets...
-- ARGV: attempt, how (spend, charge or hold), then for each bucket: amount (of a hold its seconds), per_s, burst
-- A bucket is kept as "full_at held_until attempt", in microseconds by the server's clock; a full one is not kept.
-- What was spent lately need not outlive the server: it stays out of the append-only file and away from replicas, so
-- that no turn waits for a disk.
redis.set_repl(redis.REPL_NONE)
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local wait_us = 0
local changed = {}
for index, key in ipairs(KEYS) do
  local amount, per_s, burst = tonumber(ARGV[3 * index]), tonumber(ARGV[3 * index + 1]), tonumber(ARGV[3 * index + 2])
  local full_at, held_until, attempt = string.match(redis.call('GET', key) or '', '(%S+) (%S+) (%S+)')
  if attempt == ARGV[1] then
    return '0' -- the same call, whose reply was lost
  end
  full_at, held_until = math.max(now, full_at or 0), tonumber(held_until or 0)
  if ARGV[2] == 'hold' then
    held_until = math.max(held_until, now + amount * 1000000)
  else
    full_at = full_at + amount / per_s * 1000000
  end
  if ARGV[2] == 'spend' then
    -- A full bucket gives even more than it holds, for otherwise it never would.
    local holds_us = math.max(burst, amount) / per_s * 1000000
    wait_us = math.max(wait_us, held_until - now, full_at - now - holds_us)
  end
  if amount ~= 0 then
    changed[key] = { full_at, held_until }
  end
end
if wait_us >= 1 then
  return string.format('%.0f', math.ceil(wait_us))
end
for key, bucket in pairs(changed) do
  local until_us = math.max(bucket[1], bucket[2])
  if until_us > now then
    local kept = string.format('%.0f %.0f %s', bucket[1], bucket[2], ARGV[1])
    redis.call('SET', key, kept, 'PXAT', string.format('%.0f', math.ceil(until_us / 1000)))
  else
    redis.call('DEL', key)
  end
end
return '0'
