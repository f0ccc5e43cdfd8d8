"""A team's workspace inside an organization."""
