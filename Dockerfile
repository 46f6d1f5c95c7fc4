ARG BASE_IMAGE=docker.io/airbyte/python-connector-base:4.1.1
FROM ${BASE_IMAGE}

LABEL io.airbyte.name="airbyte/source-calltouch-sms" \
      io.airbyte.version="0.1.0" \
      org.opencontainers.image.title="source-calltouch-sms" \
      org.opencontainers.image.description="Airbyte source connector: the statistics of SMS sent through Calltouch" \
      org.opencontainers.image.version="0.1.0" \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.documentation="https://docs.airbyte.com/integrations/sources/calltouch-sms" \
      org.opencontainers.image.source="https://github.com/airbytehq/airbyte/tree/master/airbyte-integrations/connectors/source-calltouch-sms"

ENV AIRBYTE_ENTRYPOINT="python /airbyte/integration_code/main.py"
ENTRYPOINT ["python", "/airbyte/integration_code/main.py"]
WORKDIR /airbyte/integration_code

# Where a proxy has certificates of its own, they come as the secret `ca`, and this is their path.
ARG PIP_CERT

# setup.py alone decides on the dependencies: new code does not install them anew.
COPY setup.py ./
RUN --mount=type=secret,id=ca \
    touch README.md \
    && pip install --no-cache-dir --use-pep517 . \
    && pip uninstall --yes source-calltouch-sms \
    && rm -rf README.md build *.egg-info

USER airbyte
# Of the user, who could not read what a strict umask has checked out. The last step, and the only
# one for the code: where storage copies whole images, each step costs.
COPY --chown=airbyte:airbyte . ./
