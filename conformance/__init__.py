"""A black-box conformance suite for Socket.IO servers (Engine.IO protocol v4, Socket.IO protocol v5).

It takes the URL of a server, or a command that starts one, speaks raw HTTP and WebSocket to it and says which
requirements it meets. What the server must offer is one page, ``APPLICATION.md``. The suite knows nothing of
any implementation: outside ``applications/`` nothing here imports a server.
"""
