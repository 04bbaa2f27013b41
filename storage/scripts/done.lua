-- Takes entries that are in the ledger out of the log, and out of what its readers hold. In one step: a writer that died
-- between the two would leave entries that nobody reads again.
-- KEYS: log
-- ARGV: group, ids...
redis.call('XACK', KEYS[1], unpack(ARGV))
redis.call('XDEL', KEYS[1], unpack(ARGV, 2))
return 1
