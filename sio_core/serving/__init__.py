"""The shells that move bytes: standalone on asyncio and trio, and ASGI."""
