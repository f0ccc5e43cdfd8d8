"""Organizations, users, memberships and roles, sessions, API keys."""
