"""Makes a trained model smaller and faster, and refuses when it loses too much."""
