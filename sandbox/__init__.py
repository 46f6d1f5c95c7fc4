"""A Calltouch to run on your own machine: the SMS-statistics method, as its page documents it.

Start it with ``python -m sandbox --port 8077 --sms 25000`` (``--help`` lists the
options), open the URL it prints, and give the connector the config.json that the page shows. Tests
and the demo start it with ``sandbox.process.running``.

Beside the method there are control calls. They need no token, count to no limit and to no number:

``GET /_sandbox/stats``
    ``{"served", "limited", "refused", "faulted", "points", "bodies", "calls"}``: calls answered
    with a page, with 429, with a documented error, by a fault or as too long a range; points spent;
    the bodies of the last 200 calls that the rate limit let in; the last 5,000 calls that have been
    answered, each as the seconds from the start or the last reset to its arrival, and its HTTP
    status, 0 where there was none.
``POST /_sandbox/reset-stats``
    All numbers back to 0. The points of the day are then unspent again.
``POST /_sandbox/clock`` ``{"forward_seconds": n}``
    Move the account's clock n seconds ahead: statuses settle, SMS that were ``--ahead`` appear, and
    the current day, which no date may be after, moves too.
``POST /_sandbox/faults`` ``[{"kind": "503", "at": 1}, ...]``
    Replace the plan of faults; ``[]`` ends them. See ``faults.py`` for the kinds.
``GET /_sandbox/sms``
    Every SMS as it is now, one JSON object a line, by time: the truth to compare with.
``POST /_sandbox/sms`` ``[{"phoneNumber": ..., "dateSent": ..., ...}, ...]``
    Add rows, late or odd; they are sent just as given, and their status stays. A row whose
    ``dateSent`` is no date is found where the made SMS end, some two minutes before the start.
``DELETE /_sandbox/sms`` ``[{"phoneNumber": ..., "dateSent": ..., "smsMessage": ...}, ...]``
    Delete one SMS for each row, by these three fields as ``GET`` shows them.
"""
