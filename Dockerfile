# By digest, so that it stays the same image; `metadata.yaml` names it too.
ARG BASE_IMAGE=docker.io/airbyte/python-connector-base:4.1.1@sha256:a268b44c733ae699a60f5fbc06a324945dba98945c6e2ab7f8609f2f895b0d28

FROM ${BASE_IMAGE} AS builder

# Where a proxy has certificates of its own, they come as the secret `ca`; pip and uv each have a
# variable for its path.
ARG PIP_CERT
ARG SSL_CERT_FILE
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 UV_NO_CACHE=1 UV_COMPILE_BYTECODE=1
WORKDIR /build

# It stays in this stage.
COPY requirements-uv.txt ./
RUN --mount=type=secret,id=ca pip install --only-binary :all: --require-hashes --target /uv -r requirements-uv.txt

# The lock alone decides on the dependencies: new code does not install them anew.
COPY pyproject.toml uv.lock ./
RUN --mount=type=secret,id=ca /uv/bin/uv export --quiet --frozen --no-default-groups --no-emit-project --output-file lock.txt \
    && /uv/bin/uv pip install --system --only-binary :all: --require-hashes --requirement lock.txt

COPY setup.py README.md LICENSE ./
COPY source_calltouch_sms ./source_calltouch_sms
# Built by the lock's setuptools.
RUN /uv/bin/uv pip install --system --offline --no-deps --no-build-isolation .

FROM ${BASE_IMAGE}

# setup.py's, as integration_tests/image/build.sh gives it.
ARG VERSION
LABEL io.airbyte.name="airbyte/source-calltouch-sms" \
      io.airbyte.version="${VERSION}" \
      org.opencontainers.image.title="source-calltouch-sms" \
      org.opencontainers.image.description="Airbyte source connector: the statistics of SMS sent through Calltouch" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.documentation="https://github.com/OWNER/source-calltouch-sms/blob/main/docs/calltouch-sms.md" \
      org.opencontainers.image.source="https://github.com/OWNER/source-calltouch-sms"

COPY --from=builder /usr/local /usr/local

# The platform starts AIRBYTE_ENTRYPOINT, Docker the other.
ENV AIRBYTE_ENTRYPOINT="/usr/local/bin/source-calltouch-sms"
# Of the threads that fetch pages, each would else keep freed memory of its own; and what a page of
# over 1 MB took is given back to the system, where the heap would keep it in pieces.
ENV MALLOC_ARENA_MAX=2 MALLOC_MMAP_THRESHOLD_=1000000
ENTRYPOINT ["/usr/local/bin/source-calltouch-sms"]
WORKDIR /airbyte/integration_code

USER airbyte
