"""Does the chat keep its promise under faults? Each message exactly once, in one order, for everybody.

::

    __main__   the command
    run        the chat, its clients and the faults, together
    server     the chat, which kills itself at named points
    client     the clients: the official one, with the parts of our own page (JavaScript)
    rules      what must be true of the history that they leave behind

The faults of the network are those of :mod:`tests.faults.proxy`.
"""
