"""The connector as the CDK's tutorial would have it: a page at a time, rows as they come."""

import logging
import sys
from collections.abc import Iterable, Mapping
from datetime import date
from typing import Any

import requests
from airbyte_cdk.entrypoint import launch
from airbyte_cdk.models import ConnectorSpecification
from airbyte_cdk.sources import AbstractSource
from airbyte_cdk.sources.streams import Stream
from airbyte_cdk.sources.streams.http import HttpStream

PAGE_SIZE = 10_000


class SmsMessages(HttpStream):
    """The whole range as one slice; no key, no time zone, no completeness."""

    primary_key = None
    http_method = "POST"
    url_base = ""

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__()
        self.url_base = config["api_url"]
        self._config = config
        self._data: dict[str, Any] = {}

    def path(self, **_: Any) -> str:
        return ""

    def request_headers(self, *_: Any, **__: Any) -> Mapping[str, Any]:
        config = self._config
        return {"Access-Token": config["access_token"], "SiteId": config["site_id"]}

    def request_body_json(
        self, *_: Any, next_page_token: Mapping[str, Any] | None = None, **__: Any
    ) -> Mapping[str, Any]:
        first, last = (date.fromisoformat(self._config[k]) for k in ("start_date", "end_date"))
        return {
            "dateFrom": f"{first:%d-%m-%Y} 00:00:00",
            "dateTo": f"{last:%d-%m-%Y} 23:59:59",
            **(next_page_token or {}),
        }

    def parse_response(self, response: requests.Response, **_: Any) -> Iterable[Mapping[str, Any]]:
        self._data = response.json()["data"]
        yield from self._data["smsDetails"]

    def next_page_token(self, response: requests.Response) -> Mapping[str, Any] | None:
        page, total = self._data["pageOfResult"], self._data["totalCountSms"]
        return {"pageOfResult": page + 1} if page * PAGE_SIZE < total else None

    def get_json_schema(self) -> Mapping[str, Any]:  # type: ignore[override] # there: lru_cache
        return {"type": "object"}


class SourceTutorial(AbstractSource):
    """The one stream."""

    def spec(self, logger: logging.Logger) -> ConnectorSpecification:
        return ConnectorSpecification(connectionSpecification={"type": "object"})

    def check_connection(self, *_: Any) -> tuple[bool, Any | None]:
        return True, None

    def streams(self, config: Mapping[str, Any]) -> list[Stream]:
        return [SmsMessages(config)]


if __name__ == "__main__":
    launch(SourceTutorial(), sys.argv[1:])
