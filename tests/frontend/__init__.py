"""Tests of the dashboard: rendering and security without a server, and pages in a real browser."""
