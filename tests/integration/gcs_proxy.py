"""A loopback stand-in for Google Cloud Storage, for TensorFlow's gs:// file system.

TensorFlow's endpoints cannot be changed, but it honours HTTPS_PROXY and CURL_CA_BUNDLE.
So this is a CONNECT proxy that ends the TLS of Google's two storage hosts with a
certificate of its own and hands the requests to fake-gcs-server on loopback. On request
it lets some of them fail.
"""

import http.client
import http.server
import re
import ssl
import threading
import time
from collections.abc import Callable

HOSTS = ("www.googleapis.com", "storage.googleapis.com")
# Headers that belong to one connection, not to the message.
_DROPPED = ("transfer-encoding", "connection", "proxy-connection", "content-length")

# How a client asks how much of an upload has arrived.
_ASKS_FOR_PROGRESS = re.compile(r"bytes \*/[1-9]\d*")

OK, UNAVAILABLE, FORBIDDEN, CUT, STALL = "ok", "503", "403", "cut", "stall"


class GcsProxy:
    """Serves until closed; use it as a context manager.

    Args:
        port: of fake-gcs-server on 127.0.0.1.
        certificate: TLS context for Google's hosts.
        choose_fault: called with each request's number, method and bytes of body;
            returns one of OK, UNAVAILABLE and FORBIDDEN (answer so), CUT (take half of
            the body and close the connection), STALL.
        stall_seconds: how long STALL gives no answer.
    """

    def __init__(
        self,
        port: int,
        certificate: ssl.SSLContext,
        choose_fault: Callable[[int, str, int], str] = lambda *_: OK,
        stall_seconds: float = 20.0,
    ):
        self.faults: list[str] = []
        self._lock = threading.Lock()
        self._number = 0
        proxy = self

        class Handler(_Handler):
            upstream_port = port
            tls = certificate
            stall = stall_seconds

            def pick_fault(self):
                with proxy._lock:
                    proxy._number += 1
                    length = int(self.headers.get("Content-Length") or 0)
                    fault = choose_fault(proxy._number, self.command, length)
                    if fault != OK:
                        proxy.faults.append(fault)
                    return fault

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    @property
    def num_requests(self) -> int:
        return self._number

    def __enter__(self) -> "GcsProxy":
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_):
        self._server.shutdown()
        self._server.server_close()


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # Without this, each answer waits 40 ms for the client to acknowledge its headers.
    disable_nagle_algorithm = True

    def log_message(self, *_):
        pass

    def do_CONNECT(self):
        host = self.path.partition(":")[0]
        if host not in HOSTS:
            self.send_error(403, f"only {HOSTS} are served")
            return
        self.send_response(200, "Connection established")
        self.end_headers()
        self.connection = self.tls.wrap_socket(self.connection, server_side=True)
        self.rfile = self.connection.makefile("rb")
        self.wfile = self.connection.makefile("wb", buffering=0)
        self.close_connection = False

    def forward(self):
        fault = self.pick_fault()
        if fault == CUT:
            self.rfile.read(int(self.headers["Content-Length"]) // 2)
            self.close_connection = True
            return
        body = self._read_body()
        if fault == STALL:
            time.sleep(self.stall)
        elif fault in (UNAVAILABLE, FORBIDDEN):
            self._answer(int(fault), {}, b"injected")
            return
        if _ASKS_FOR_PROGRESS.fullmatch(self.headers.get("Content-Range", "")):
            # Nothing has arrived: this upload failed here as a whole. fake-gcs-server
            # takes the question for the end of the upload, and keeps an empty object.
            self._answer(308, {}, b"")
            return
        upstream = http.client.HTTPConnection("127.0.0.1", self.upstream_port)
        headers = {
            name: value
            for name, value in self.headers.items()
            if name.lower() not in _DROPPED
        }
        upstream.request(self.command, self.path, body, headers)
        response = upstream.getresponse()
        content = response.read()
        self._answer(response.status, dict(response.getheaders()), content)
        upstream.close()

    do_GET = do_POST = do_PUT = do_DELETE = do_HEAD = forward

    def _answer(self, status: int, headers: dict[str, str], content: bytes) -> None:
        self.send_response_only(status)
        for name, value in headers.items():
            if name.lower() == "location":
                value = value.replace("http://", "https://", 1)
            if name.lower() not in _DROPPED:
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def _read_body(self) -> bytes:
        if "chunked" in self.headers.get("Transfer-Encoding", ""):
            body = b""
            while size := int(self.rfile.readline(), 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return body
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))
