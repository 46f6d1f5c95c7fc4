"""What is published: version, description, requirements, and the command that it installs.

Its name and its Pythons are in `pyproject.toml`, where uv reads them.
"""

import os
import re
from pathlib import Path

from setuptools import find_namespace_packages, setup

FILES = os.environ.get("FILES_URL", "https://github.com/OWNER/source-calltouch-sms/blob/main")
"""Where the repository's files can be read; a release gives its own."""


def page() -> str:
    """Return the README with links that work on PyPI's page, too."""
    text = Path(__file__).with_name("README.md").read_text(encoding="utf-8")
    text = re.sub(r"\]\((?=#)", f"]({FILES}/README.md", text)
    text = re.sub(r"(?<=\]\()(?!https?:)([^)]+\.(?:png|svg))", rf"{FILES}/\1?raw=true", text)
    return re.sub(r"(?<=\]\()(?!https?:)", f"{FILES}/", text)


setup(
    version="0.1.0",
    description="Airbyte source connector: the statistics of SMS sent through Calltouch.",
    long_description=page(),
    long_description_content_type="text/markdown",
    license="MIT",
    project_urls={
        "Documentation": f"{FILES}/docs/calltouch-sms.md",
        "Changelog": f"{FILES}/CHANGELOG.md",
        "Source": FILES,
    },
    classifiers=[
        "Development Status :: 4 - Beta",
        "Intended Audience :: Developers",
        "Natural Language :: English",
        "Natural Language :: Russian",
        "Operating System :: POSIX",
        "Programming Language :: Python :: 3.10",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Programming Language :: Python :: 3.14",
        "Topic :: Database",
        "Typing :: Typed",
    ],
    packages=find_namespace_packages(include=["source_calltouch_sms*"]),
    package_data={"source_calltouch_sms": ["spec.json", "schemas/*.json", "py.typed"]},
    install_requires=[
        "airbyte-cdk>=7.39,<7.40",
        "airbyte-protocol-models-dataclasses>=0.17,<0.18",
        "jsonschema>=4.17,<5",
        "orjson>=3.10,<4",
        "pendulum>=3.0,<4",
        "requests>=2.32,<3",
    ],
    entry_points={"console_scripts": ["source-calltouch-sms = source_calltouch_sms.run:run"]},
)
