"""Rooms and broadcasts, in this process or across several."""
