"""What several test folders use."""

from sio_core.engineio import session

COMPILED = not str(session.__file__).endswith(".py")
"""Whether the core under test is the compiled one: it refuses an argument of the wrong type without looking at it."""
