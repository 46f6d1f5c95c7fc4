"""The framework's floor: what the CDK needs for records that cost nothing to get."""

import itertools
import sys
import uuid
from collections.abc import Iterable, Mapping
from typing import Any

import requests
from airbyte_cdk.entrypoint import launch

from benchmarks.tutorial import SmsMessages, SourceTutorial


class ReadyRecords(SmsMessages):
    """As many records as the range holds SMS, of the size of ours, from one request."""

    name = "sms_messages"

    def parse_response(self, response: requests.Response, **_: Any) -> Iterable[Mapping[str, Any]]:
        data = response.json()["data"]
        more = {"siteId": self._config["site_id"], "smsKey": uuid.uuid4().hex}
        ready = [
            {**row, "dateSent": f"{row['dateSent']}+03:00", **more} for row in data["smsDetails"]
        ]
        return itertools.islice(itertools.cycle(ready), data["totalCountSms"])

    def next_page_token(self, response: requests.Response) -> None:
        """The one request was all."""


class SourceFloor(SourceTutorial):
    """The one stream."""

    stream = ReadyRecords


if __name__ == "__main__":
    launch(SourceFloor(), sys.argv[1:])
