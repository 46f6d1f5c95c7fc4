"""A Calltouch to run on your own machine: the SMS-statistics method, as its page documents it.

Start it with ``python -m sandbox --port 8077 --sms 25000`` (``--help`` lists the
options), open the URL it prints, and give the connector the config.json that the page shows. Tests
and the demo start it with ``sandbox.process.running``.

Beside the method there are control calls. They need no token, count to no limit and to no number:

``GET /_sandbox/stats``
    ``{"served", "limited", "refused", "faulted", "points", "bodies"}``: calls answered with a page,
    with 429, with a documented error, by a fault; points spent; the bodies of the last 200 calls
    that the rate limit let in.
``POST /_sandbox/reset-stats``
    All numbers back to 0. The points of the day are then unspent again.
``POST /_sandbox/clock`` ``{"forward_seconds": n}``
    Move the clock that the statuses settle by n seconds ahead.
``POST /_sandbox/faults`` ``[{"kind": "503", "at": 1}, ...]``
    Replace the plan of faults; ``[]`` ends them. See ``faults.py`` for the kinds.
``GET /_sandbox/sms``
    Every SMS as it is now, one JSON object a line, by time: the truth to compare with.
``POST /_sandbox/sms`` ``[{"phoneNumber": ..., "dateSent": ..., ...}, ...]``
    Add rows, late or odd; they are sent just as given, and their status stays. A row whose
    ``dateSent`` is no date stands at the second in which it was added.
"""
