"""Socket.IO protocol v5: packets, namespaces of a client, rooms, acknowledgements. Does no I/O."""
