"""The durable throughput of `chat_app`: messages acknowledged, so on disk, and heard by everybody in a room."""
