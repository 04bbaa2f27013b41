"""The pages of the console that belong to everybody's getting in and out, and to the audit trail."""
