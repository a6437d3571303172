"""The servers under measurement: one small program each, all with the same application.

Every program takes `--port`, `--ping-interval` and `--recovery`, listens on the loopback address and
answers the same events:

    echo DATA               emits `echo DATA` back
    ack DATA                acknowledges with DATA
    broadcast DATA          emits `broadcast DATA` to everyone
    join ROOM               joins, and acknowledges
    join_many PREFIX COUNT  joins the rooms PREFIX-0 ... PREFIX-(COUNT-1), and acknowledges
    room ROOM DATA          emits `room DATA` to the room
    sink                    makes this socket the receiver of `direct`, and acknowledges
    direct DATA             emits `direct DATA` to the receiver
"""
