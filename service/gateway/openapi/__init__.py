"""The description of the routes, which `/docs` shows."""
