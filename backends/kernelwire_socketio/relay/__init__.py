"""The relay: brings hosts and clients of a room together, and passes on what they send each other, unread.

::

    door         connections that have not shown yet who they are: how many, for how long
    websocket    one connection: what may come at all, and how fast
    admission    who may come in
    switchboard  who comes into which room
    room         a host, its clients, and from whom to whom
    outbox       what waits for one connection, and how much of it
    limits, log, metrics, server
"""
