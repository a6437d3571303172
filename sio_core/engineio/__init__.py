"""Engine.IO protocol v4: sessions carried by long-polling or WebSocket. Does no I/O, reads no clock."""
