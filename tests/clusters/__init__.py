"""Servers of ours and official ones on one engine, with the official client on each."""
