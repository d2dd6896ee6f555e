# The API: no model stack, about 200 MB. Also holds `iconotext db upgrade`.
# Build from the top folder: docker build -f deploy/api.Dockerfile .

# The version that the tests run on.
ARG PYTHON=3.11

FROM python:${PYTHON}-slim AS build
WORKDIR /build
RUN python -m venv /opt/iconotext
ENV PATH=/opt/iconotext/bin:$PATH
# What we depend on first: this layer stays as long as these two files do.
COPY pyproject.toml constraints.txt README.md LICENSE ./
RUN --mount=type=cache,target=/root/.cache/pip pip install -c constraints.txt '.[api]'
COPY api api
COPY client client
COPY shared shared
RUN pip install --no-deps --force-reinstall .

FROM python:${PYTHON}-slim
RUN useradd --system --uid 10001 --create-home iconotext \
    && install -d -o iconotext -g iconotext /var/lib/iconotext /var/lib/iconotext/blobs
COPY --from=build /opt/iconotext /opt/iconotext
COPY deploy/gunicorn.conf.py /etc/iconotext/gunicorn.conf.py
ENV PATH=/opt/iconotext/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    ICONOTEXT_API_HOST=0.0.0.0 \
    ICONOTEXT_DATA_DIR=/var/lib/iconotext \
    ICONOTEXT_LOG_FORMAT=json
USER iconotext
WORKDIR /var/lib/iconotext
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=5s --start-period=20s --retries=3 \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/readyz', timeout=4)"]
CMD ["gunicorn", "--config", "/etc/iconotext/gunicorn.conf.py"]
