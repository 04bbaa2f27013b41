"""Where people talk: one adapter per platform, each with a gateway that receives and a courier that delivers."""
