"""Runs as one HTML page that needs nothing beside itself: pictures, tables, settings, commands."""
