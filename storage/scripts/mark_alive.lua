-- Moves a mark forward, never back.
-- KEYS: mark
-- ARGV: at
local at = redis.call('GET', KEYS[1])
if not at or tonumber(at) < tonumber(ARGV[1]) then
  redis.call('SET', KEYS[1], ARGV[1])
end
return 1
