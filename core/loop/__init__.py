"""The loop of feedback, review and correction: who may do what, and what is noted of it."""
