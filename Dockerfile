# The server in a container, with its state and its videos under /data.
#   docker run -i --rm -e AVM_API_KEY -v videos:/data IMAGE                  MCP on stdin and stdout
#   docker run --rm --network host -e AVM_API_KEY -v videos:/data IMAGE serve --port 8765      MCP over HTTP
# Over HTTP it answers on this machine's own address only, so the container has to share the host's network. Add
# -e AVM_HTTP_TOKEN to keep other users of the host out; /healthz, which the health check asks for, needs no token.
ARG PYTHON_VERSION=3.13

FROM python:${PYTHON_VERSION}-slim-bookworm AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_NO_CACHE_DIR=1
WORKDIR /src
RUN python -m venv /opt/venv
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY avm_mcp ./avm_mcp
RUN /opt/venv/bin/python -m pip install --constraint constraints.txt . \
 && /opt/venv/bin/python -m pip uninstall --yes pip

FROM python:${PYTHON_VERSION}-slim-bookworm
LABEL io.modelcontextprotocol.server.name="io.github.example/avm-mcp" \
      org.opencontainers.image.title="avm-mcp" \
      org.opencontainers.image.description="Make videos from text or a picture with AI Video Maker; no job is lost or paid twice." \
      org.opencontainers.image.version="0.1.0" \
      org.opencontainers.image.source="https://github.com/example/avm-mcp" \
      org.opencontainers.image.licenses="MIT"
# The certificates come with the base image. Without them the build fails here, not at a user's first call.
RUN test -s /etc/ssl/certs/ca-certificates.crt \
 && useradd --uid 10001 --create-home --shell /usr/sbin/nologin app \
 && install -d -o app -g app /data
COPY --from=build /opt/venv /opt/venv
COPY manifests/docker/health.py /opt/health.py
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    AVM_OUTPUT_DIR=/data \
    AVM_STATE_DIR=/data/.state \
    AVM_INPUT_DIRS=/data
USER 10001:10001
WORKDIR /data
VOLUME ["/data"]
EXPOSE 8765
HEALTHCHECK --interval=30s --timeout=5s --start-period=15s \
    CMD ["python", "-IS", "/opt/health.py"]
ENTRYPOINT ["avm-mcp"]
