"""Does the chat keep its promise under faults? Each message exactly once, in one order, for everybody.

::

    __main__   the command
    run        the chat, its clients and the faults, together
    proxy      between the clients and the chat: cuts, stalls, connections that lead nowhere
    server     the chat, which kills itself at named points
    client     the clients: the official one, with the parts of our own page (JavaScript)
    rules      what must be true of the history that they leave behind
"""
