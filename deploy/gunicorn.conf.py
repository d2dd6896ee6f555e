"""How gunicorn serves the API in a container; processes are counted by `WEB_CONCURRENCY`."""

from __future__ import annotations

from api.settings import ApiSettings
from shared.settings import read

_settings = read(ApiSettings)

wsgi_app = "api.app:create_app()"
bind = f"{_settings.api_host}:{_settings.api_port}"
# A long-poll or an event stream holds a thread, and most of the time does nothing with it.
worker_class = "api.server.Worker"
threads = _settings.api_threads
worker_connections = _settings.api_connections
# Longer than a proxy keeps an idle connection (60 s as a rule): we must not close one under a request.
keepalive = 75
# For the requests in flight after SIGTERM; clients of event streams come back elsewhere.
graceful_timeout = 30
# The heartbeat file: on a disk, a slow fsync looks like a dead process.
worker_tmp_dir = "/dev/shm"  # noqa: S108  # gunicorn makes a file of its own, unlinked at once
# Nobody steers it from inside the container.
control_socket_disable = True
