"""Where things are kept: mailbox and history in Redis, the ledger in SQL."""
