# Two stages: the first installs the locked dependencies by hash and the package, the second holds only the result.
#
#   docker build -t cmdhttp .
#   docker run --read-only --tmpfs /tmp --cap-drop ALL --security-opt no-new-privileges \
#       -v cmdhttp-data:/data -v "$PWD/policies:/policies:ro" -p 127.0.0.1:8080:8080 cmdhttp
#
# Writes only to /data (jobs, output, audit) and /tmp. Pin the base image by digest where you build for production.
ARG PYTHON_VERSION=3.13

FROM python:${PYTHON_VERSION}-slim AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
WORKDIR /src
COPY requirements-build.lock requirements.lock ./
RUN python -m venv /opt/cmdhttp \
    && /opt/cmdhttp/bin/pip install --require-hashes --only-binary :all: -r requirements.lock \
    && python -m venv /opt/build \
    && /opt/build/bin/pip install --require-hashes --only-binary :all: -r requirements-build.lock
COPY LICENSE README.md pyproject.toml ./
COPY cmdhttp ./cmdhttp
RUN /opt/build/bin/pip wheel --no-deps --no-index --no-build-isolation --wheel-dir /dist . \
    && /opt/cmdhttp/bin/pip install --no-deps --no-index /dist/*.whl \
    && /opt/cmdhttp/bin/pip uninstall --yes pip

FROM python:${PYTHON_VERSION}-slim
# A fixed uid, so that volumes keep their owner from one image to the next.
RUN groupadd --system --gid 10001 cmdhttp \
    && useradd --system --uid 10001 --gid 10001 --home-dir /data --no-create-home --shell /usr/sbin/nologin cmdhttp \
    && install -d -o 10001 -g 10001 -m 0700 /data \
    && install -d -m 0755 /policies
COPY --from=build /opt/cmdhttp /opt/cmdhttp
ENV PATH=/opt/cmdhttp/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    CMDHTTP_POLICIES=/policies \
    CMDHTTP_DATA=/data \
    CMDHTTP_LISTEN=0.0.0.0:8080 \
    CMDHTTP_OPS_LISTEN=127.0.0.1:9000
USER 10001:10001
WORKDIR /data
VOLUME ["/data"]
EXPOSE 8080
STOPSIGNAL SIGTERM
# The operations listener stays inside the container; http.client reads no proxy variables.
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s --retries=3 \
    CMD ["python", "-c", "import http.client, sys; c = http.client.HTTPConnection('127.0.0.1', 9000, timeout=2); c.request('GET', '/healthz'); sys.exit(c.getresponse().status != 200)"]
ENTRYPOINT ["cmdhttp"]
CMD ["serve"]
