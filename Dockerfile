# Freshet with its clients for Kafka: one image for `freshet work`, `freshet serve` and everything else.
#
#   docker build -t freshet .
#   docker run --rm freshet --help
ARG PYTHON=3.11-slim-bookworm

# Where things are built; nothing of it but /app is in the image. hnswlib comes as source, hence the compiler.
FROM python:${PYTHON} AS build
RUN apt-get update \
    && apt-get install -y --no-install-recommends g++ \
    && rm -rf /var/lib/apt/lists/*
# The image may run on another processor than it was built on.
ENV HNSWLIB_NO_NATIVE=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
WORKDIR /source
COPY . .
RUN pip wheel --no-deps --wheel-dir /wheels . \
    && python -m venv /app \
    && /app/bin/pip install --constraint deploy/constraints.txt "$(ls /wheels/freshet-*.whl)[kafka]" \
    && /app/bin/pip uninstall --yes pip \
    && find /app -type d -name tests -prune -exec rm -rf {} +

FROM python:${PYTHON}
RUN useradd --uid 10001 --home-dir /data --no-create-home --shell /usr/sbin/nologin freshet \
    && install -d -o freshet -g freshet /data /cache
COPY --from=build /app /app
# Kernels are compiled at the first start and kept in /cache: give it a volume, and later starts are quick.
ENV PATH=/app/bin:$PATH PYTHONUNBUFFERED=1 NUMBA_CACHE_DIR=/cache MPLCONFIGDIR=/cache \
    HEALTH_URL=http://127.0.0.1:8080/healthz
USER 10001:10001
WORKDIR /data
VOLUME ["/data", "/cache"]
EXPOSE 8080 9100
# HEALTH_URL: what `freshet serve` answers; for `freshet work` its /metrics.
HEALTHCHECK --interval=10s --timeout=5s --start-period=120s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request; urllib.request.urlopen(os.environ['HEALTH_URL'], timeout=4)"]
ENTRYPOINT ["freshet"]
CMD ["--help"]
