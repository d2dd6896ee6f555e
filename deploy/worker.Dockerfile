# The worker: torch as PyPI has it, which runs on NVIDIA GPUs and on CPUs; about 7 GB.
# Build from the top folder: docker build -f deploy/worker.Dockerfile .

# The version that the tests run on.
ARG PYTHON=3.11

FROM python:${PYTHON}-slim AS build
WORKDIR /build
RUN python -m venv /opt/iconotext
ENV PATH=/opt/iconotext/bin:$PATH
# What we depend on first: this layer, the large one, stays as long as these two files do.
COPY pyproject.toml constraints.txt README.md LICENSE ./
RUN --mount=type=cache,target=/root/.cache/pip pip install -c constraints.txt '.[starter]'
COPY client client
COPY shared shared
COPY worker worker
RUN pip install --no-deps --force-reinstall .

FROM python:${PYTHON}-slim
RUN useradd --system --uid 10001 --create-home iconotext \
    && install -d -o iconotext -g iconotext /var/lib/iconotext /var/lib/iconotext/blobs /var/lib/iconotext/cache
COPY --from=build /opt/iconotext /opt/iconotext
ENV PATH=/opt/iconotext/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    ICONOTEXT_DATA_DIR=/var/lib/iconotext \
    ICONOTEXT_LOG_FORMAT=json
USER iconotext
WORKDIR /var/lib/iconotext
HEALTHCHECK --interval=30s --timeout=10s --start-period=120s --retries=3 CMD ["python", "-m", "worker.health"]
# SIGTERM, in the exec form so that it reaches Python: no new jobs, those in flight end within ICONOTEXT_DRAIN
# or go back to the queue. Give the container longer than that before it is killed.
STOPSIGNAL SIGTERM
CMD ["python", "-m", "worker"]
