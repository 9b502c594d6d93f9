"""Tests of the hooks, and what they share."""
