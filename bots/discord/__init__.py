"""Discord: the gateway that listens, the courier that answers, and a check of what the bot is allowed to do."""
