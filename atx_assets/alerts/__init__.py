"""Alerts: their causes, each reported once, their messages, and sending them."""
