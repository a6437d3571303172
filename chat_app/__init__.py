"""A chat on :mod:`sio_core`: what a newcomer runs first."""
