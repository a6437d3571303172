"""The Autobahn test suite against the WebSocket layer, which an echo server of its own puts on a socket."""
