"""A server of S3's and of Google's XML protocol on this machine, with buckets in memory, for tests.

It knows what both have in common (GET, HEAD, PUT, DELETE, listings in pages, uploads in parts, writes on conditions),
who may come in, and how to misbehave: to forget conditions, to refuse from some request on, to be slow.
"""

import email.utils
import hashlib
import re
import threading
import time
import urllib.parse
import xml.etree.ElementTree as ElementTree
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple
from xml.sax.saxutils import escape

import pytest

from mbrl_jax.storage import bucket

KEY, SECRET = "some-key", "some-secret"
PAGE = 7
"""Objects in a page of a listing: so few that every test of some size needs several."""


def environment(url):
    """What a process needs in its environment to speak to a server, in either protocol."""
    keys = {"AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": SECRET, "GOOGLE_BEARER_TOKEN": "token"}
    return {"AWS_ENDPOINT_URL": url, "GOOGLE_BASE_URL": url, "AWS_REGION": "us-east-1", **keys}


@pytest.fixture
def s3(tmp_path, monkeypatch):
    """A server on this machine with a bucket, whose keys are in the environment; copies lie in a folder of the test."""
    with Server("a-bucket") as started:
        for name, value in environment(started.url).items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("MBRL_COPIES", str(tmp_path / "copies"))
        bucket.bucket.cache_clear()
        yield started
        bucket.bucket.cache_clear()


class Stored(NamedTuple):
    content: bytes
    e_tag: str
    generation: int
    when: float


class Store:
    """What lies in the buckets, and every request that came."""

    def __init__(self, *buckets):
        self.buckets = {name: {} for name in buckets}
        self.lock, self.generation, self.uploads = threading.Lock(), 0, {}
        self.requests, self.conditional, self.refuse = [], True, None

    def put(self, bucket, key, content, if_none=False, if_match=None, if_generation=None):
        """Stores an object unless a condition does not hold; None then."""
        with self.lock:
            there = self.buckets[bucket].get(key)
            if self.conditional:
                if if_none and there is not None:
                    return None
                if if_match is not None and (there is None or there.e_tag != if_match):
                    return None
                if if_generation is not None and if_generation != (there.generation if there else 0):
                    return None
            self.generation += 1
            e_tag = f'"{hashlib.md5(content).hexdigest()}"'
            self.buckets[bucket][key] = Stored(content, e_tag, self.generation, time.time())
            return self.buckets[bucket][key]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    store: Store

    def log_message(self, *words):
        pass

    def answer(self, code, body=b"", **headers):
        self.send_response(code)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)) if self.command != "HEAD" else headers.get("size", "0"))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def fail(self, code, name):
        self.answer(code, f"<Error><Code>{name}</Code><Message>{name}</Message></Error>".encode())

    def handle_any(self):
        url = urllib.parse.urlsplit(self.path)
        self.words = dict(urllib.parse.parse_qsl(url.query, keep_blank_values=True))
        _, self.bucket, *rest = urllib.parse.unquote(url.path).split("/", 2)
        self.key = rest[0] if rest else ""
        self.body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.store.requests.append((self.command, self.key))
        refused = self.store.refuse and self.store.refuse(self.command, self.key)
        if refused:
            return self.fail(400, refused if isinstance(refused, str) else "RequestTimeTooSkewed")
        google = self.headers.get("Authorization", "").startswith("Bearer ")
        if not google and f"Credential={KEY}/" not in self.headers.get("Authorization", ""):
            return self.fail(403, "InvalidAccessKeyId")
        if self.bucket not in self.store.buckets:
            return self.fail(404, "NoSuchBucket")
        return getattr(self, f"on_{self.command.lower()}")()

    def on_get(self):
        if not self.key:
            return self.listing()
        found = self.store.buckets[self.bucket].get(self.key)
        if found is None:
            return self.fail(404, "NoSuchKey")
        facts = {"ETag": found.e_tag, "Last_Modified": email.utils.formatdate(found.when, usegmt=True)}
        facts["x_goog_generation"] = str(found.generation)
        asked = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        if asked:
            first, last = int(asked[1]), min(int(asked[2]), len(found.content) - 1)
            facts["Content_Range"] = f"bytes {first}-{last}/{len(found.content)}"
            return self.answer(206, found.content[first : last + 1], **facts)
        return self.answer(200, found.content, size=str(len(found.content)), **facts)

    on_head = on_get

    def listing(self):
        prefix, after = self.words.get("prefix", ""), self.words.get("continuation-token", "")
        after = max(after, self.words.get("start-after", ""))
        with self.store.lock:
            keys = sorted(key for key in self.store.buckets[self.bucket] if key.startswith(prefix) and key > after)
            rows = [(key, self.store.buckets[self.bucket][key]) for key in keys[:PAGE]]
        more = len(keys) > PAGE
        shown = "".join(
            f"<Contents><Key>{escape(key)}</Key><Size>{len(one.content)}</Size><ETag>{escape(one.e_tag)}</ETag>"
            f"<LastModified>{time.strftime('%Y-%m-%dT%H:%M:%S.000Z', time.gmtime(one.when))}</LastModified></Contents>"
            for key, one in rows
        )
        token = f"<NextContinuationToken>{escape(keys[PAGE - 1])}</NextContinuationToken>" if more else ""
        text = f"<ListBucketResult><IsTruncated>{str(more).lower()}</IsTruncated>{token}{shown}</ListBucketResult>"
        self.answer(200, text.encode(), Content_Type="application/xml")

    def stored(self, found):
        if found is None:
            return self.fail(412, "PreconditionFailed")
        return self.answer(200, ETag=found.e_tag, x_goog_generation=str(found.generation))

    def on_put(self):
        if "partNumber" in self.words:
            with self.store.lock:
                self.store.uploads[self.words["uploadId"]][int(self.words["partNumber"])] = self.body
            return self.answer(200, ETag=f'"{hashlib.md5(self.body).hexdigest()}"')
        generation = self.headers.get("x-goog-if-generation-match")
        none, match = self.headers.get("If-None-Match") == "*", self.headers.get("If-Match")
        number = None if generation is None else int(generation)
        self.stored(self.store.put(self.bucket, self.key, self.body, none, match, number))

    def on_post(self):
        if "uploads" in self.words:
            with self.store.lock:
                self.store.generation += 1
                name = f"upload-{self.store.generation}"
                self.store.uploads[name] = {}
            text = f"<InitiateMultipartUploadResult><Bucket>{self.bucket}</Bucket><Key>{escape(self.key)}</Key>"
            return self.answer(200, f"{text}<UploadId>{name}</UploadId></InitiateMultipartUploadResult>".encode())
        if "uploadId" in self.words:
            parts = self.store.uploads.pop(self.words["uploadId"])
            found = self.store.put(self.bucket, self.key, b"".join(parts[number] for number in sorted(parts)))
            text = f"<CompleteMultipartUploadResult><ETag>{escape(found.e_tag)}</ETag></CompleteMultipartUploadResult>"
            return self.answer(200, text.encode(), x_goog_generation=str(found.generation))
        tree = ElementTree.fromstring(re.sub(rb' xmlns="[^"]*"', b"", self.body))
        keys = [node.text for node in tree.iter("Key")]
        for key in keys:
            self.store.buckets[self.bucket].pop(key, None)
        gone = "".join(f"<Deleted><Key>{escape(key)}</Key></Deleted>" for key in keys)
        return self.answer(200, f"<DeleteResult>{gone}</DeleteResult>".encode())

    def on_delete(self):
        if "uploadId" in self.words:
            self.store.uploads.pop(self.words["uploadId"], None)
        else:
            self.store.buckets[self.bucket].pop(self.key, None)
        self.answer(204)


for _method in ("GET", "HEAD", "PUT", "POST", "DELETE"):
    setattr(Handler, f"do_{_method}", Handler.handle_any)


for _method in ("GET", "HEAD", "PUT", "POST", "DELETE"):
    setattr(Handler, f"do_{_method}", Handler.handle_any)


class Server:
    """The server while a context lasts: `url`, and `store` with what lies there."""

    def __init__(self, *buckets):
        self.store = Store(*buckets)
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), type("Own", (Handler,), {"store": self.store}))
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self):
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_):
        self._server.shutdown()
        self._server.server_close()
