"""The way of one message: intake, prompt, answer, delivery, commit."""
