"""The test client: literal bytes out, literal bytes in, at four levels.

``http`` and ``websocket`` are written by hand so that a check can send what no library would let it send;
``engineio`` and ``socketio`` add just enough state to write a check in a few lines.
"""
