-- Puts feedback on its way to the ledger, and keeps it as its person's last word unless a later one is there.
-- KEYS: feedback (the stream), verdicts
-- ARGV: id, at, field (turn and person), verdict, entry, keep_s
-- A repeated call adds no second entry while its word is the last; should it add one after all, the ledger knows it by
-- its id.
local at, id = string.match(redis.call('HGET', KEYS[2], ARGV[3]) or '', '^(%S+) %S+ (.*)$')
if id ~= ARGV[1] then
  redis.call('XADD', KEYS[1], '*', 'feedback', ARGV[5])
  if not at or tonumber(at) < tonumber(ARGV[2]) or (tonumber(at) == tonumber(ARGV[2]) and id < ARGV[1]) then
    redis.call('HSET', KEYS[2], ARGV[3], ARGV[2] .. ' ' .. ARGV[4] .. ' ' .. ARGV[1])
  end
end
redis.call('EXPIRE', KEYS[2], ARGV[6]) -- a replica that has this has all before it: the entry, too
return 1
