"""Emitters: events from processes that are no server, one module for each engine."""
