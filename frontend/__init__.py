"""The pages: session log-in, job list and job page, rendered on the server."""
