"""The framework's floor: what the CDK needs for records that cost nothing to get."""

import itertools
import sys
import uuid
from collections.abc import Iterable, Mapping
from typing import Any

import requests
from airbyte_cdk.entrypoint import launch
from airbyte_cdk.sources.streams import Stream

from benchmarks.tutorial import SmsMessages, SourceTutorial


class ReadyRecords(SmsMessages):
    """As many records as the range holds SMS, of the size of ours, from one call for them all."""

    name = "sms_messages"

    def parse_response(self, response: requests.Response, **_: Any) -> Iterable[Mapping[str, Any]]:
        """Yield the first page's records again and again."""
        data = response.json()["data"]
        ready = [
            {
                **row,
                "dateSent": f"{row['dateSent']}+03:00",
                "siteId": self._config["site_id"],
                "smsKey": uuid.uuid4().hex,
            }
            for row in data["smsDetails"]
        ]
        return itertools.islice(itertools.cycle(ready), data["totalCountSms"])

    def next_page_token(self, response: requests.Response) -> None:
        """The one call was all."""


class SourceFloor(SourceTutorial):
    """The one stream."""

    def streams(self, config: Mapping[str, Any]) -> list[Stream]:
        """Return the stream."""
        return [ReadyRecords(config)]


if __name__ == "__main__":
    launch(SourceFloor(), sys.argv[1:])
