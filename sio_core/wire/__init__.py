"""Bytes: HTTP/1.1 requests and responses, CORS, WebSocket frames. Knows nothing of Engine.IO; does no I/O."""
