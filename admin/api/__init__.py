"""The JSON API of the console: the same actions by bearer token; /console/api/v1/openapi.json describes it."""
