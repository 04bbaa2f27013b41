-- Moves a log entry to the dead letters: 1, or 0 when it is no longer in the log.
-- KEYS: log, log-dead (or feedback, feedback-dead)
-- ARGV: group, id, entry, reason, kind
if #redis.call('XRANGE', KEYS[1], ARGV[2], ARGV[2]) == 0 then
  return 0
end
redis.call('XADD', KEYS[2], '*', ARGV[5], ARGV[3], 'reason', ARGV[4])
redis.call('XACK', KEYS[1], ARGV[1], ARGV[2])
redis.call('XDEL', KEYS[1], ARGV[2])
return 1
