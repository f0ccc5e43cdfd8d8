"""Tests mirror the rooms they test."""
