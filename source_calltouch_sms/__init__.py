"""Airbyte source connector for the statistics of SMS sent through Calltouch."""

from source_calltouch_sms.source import SourceCalltouchSms

__all__ = ["SourceCalltouchSms"]
