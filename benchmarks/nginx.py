"""The reference of everything warm: nginx, one worker, to a server on a unix socket."""

from __future__ import annotations

import subprocess
import tempfile
import time
from pathlib import Path

from benchmarks.client import answers
from tests.fixtures.stack import free_port

# Bodies pass as they come, as they do with us: by default nginx would write them to
# files first. No access log: the gateway writes one, so this is the harder comparison.
CONFIG = """\
worker_processes 1;
daemon off;
pid {folder}/pid;
error_log {folder}/error.log warn;
events {{ worker_connections 1024; }}
http {{
  access_log off;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  keepalive_requests 100000000;
  client_max_body_size 0;
  upstream function {{
    server unix:{socket};
    keepalive 64;
    keepalive_requests 100000000;
  }}
  server {{
    listen 127.0.0.1:{port};
    location / {{
      proxy_pass http://function;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_request_buffering off;
      proxy_max_temp_file_size 0;
    }}
  }}
}}
"""


class Nginx:
    """A running nginx; its `url`."""

    def __init__(self, socket: Path) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="zn"))
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        config = self._folder / "nginx.conf"
        config.write_text(CONFIG.format(folder=self._folder, socket=socket, port=port))
        command = ["nginx", "-e", f"{self._folder}/error.log", "-c", str(config)]
        self._process = subprocess.Popen(command)
        deadline = time.monotonic() + 10
        while not answers(self.url):
            if time.monotonic() > deadline:
                raise RuntimeError((self._folder / "error.log").read_text())
            time.sleep(0.05)

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait(10)
        subprocess.run(["rm", "-rf", str(self._folder)], check=True)
