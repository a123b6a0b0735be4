"""The Python server of the cold-start figure: the standard library's, on $PORT or, with
an argument, on a unix socket at that path."""

from __future__ import annotations

import os
import socketserver
import sys
from http.server import BaseHTTPRequestHandler

BODY = b'{"msg":"hello"}'


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(BODY)))
        self.end_headers()
        self.wfile.write(BODY)

    def address_string(self) -> str:
        return "client"

    def log_message(self, *_: object) -> None:
        """Nothing is logged."""


class TcpServer(socketserver.ThreadingTCPServer):
    allow_reuse_address = True


if len(sys.argv) > 1:
    server = socketserver.ThreadingUnixStreamServer(sys.argv[1], Handler)
    os.chmod(sys.argv[1], 0o777)
    server.serve_forever()
TcpServer(("", int(os.environ["PORT"])), Handler).serve_forever()
