"""What an application sees: namespaces, sockets, operators, handlers, middlewares."""
