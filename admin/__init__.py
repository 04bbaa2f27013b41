"""The admin console and its JSON API. It knows core only: stores and settings are handed to it."""
