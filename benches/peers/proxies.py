"""The proxies, each set up for the same work: one worker, the session's header injected into every request, connections
to the upstream kept, no access log (but Doorward's access log and audit trail in rows of their own)."""

import json
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import tools

TOKEN = "session-of-the-comparison-00000001"

CONNECTIONS_MAX = 20_000
UPSTREAM_CONNECTIONS_MAX = 1024


@dataclass(frozen=True)
class Place:
    """What a proxy is given: a folder of its own, where it listens, and what is behind it."""

    folder: Path
    plain: int
    tls: int
    upstream: int
    certificate: Path
    key: Path
    both: Path


@dataclass(frozen=True)
class Launch:
    """How a proxy is started."""

    command: list[str]
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Peer:
    """One row of the comparison."""

    name: str
    version: Callable[[], str]
    prepare: Callable[[Place], Launch]
    # What it needs from Debian; nothing where it is a wheel or our own.
    package: str | None = None
    wheel: bool = False
    # Whether callgrind can run it: Go's runtime and Envoy's allocator cannot.
    countable: bool = False
    # Only for long bodies: it does the rest as its namesake does.
    bodies_only: bool = False
    # Refuses clients without a key.
    asks_for_key: bool = False


def said(*command: str) -> str:
    """What a program says of its version, on whatever it says it on."""
    answer = subprocess.run(command, capture_output=True, text=True, timeout=30)
    return (answer.stdout + answer.stderr).strip()


# --- nginx ----------------------------------------------------------------------------------------

NGINX_TUNED = "proxy_buffer_size 64k; proxy_buffers 8 64k; proxy_busy_buffers_size 128k; client_body_buffer_size 256k;"


def nginx(place: Place, more: str) -> Launch:
    paths = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    temporary = "\n".join(f"  {path}_temp_path {place.folder}/{path};" for path in paths)
    (place.folder / "nginx.conf").write_text(f"""daemon off;
worker_processes 1;
worker_rlimit_nofile {CONNECTIONS_MAX};
pid {place.folder}/nginx.pid;
error_log stderr error;
events {{ worker_connections {CONNECTIONS_MAX - 1000}; }}
http {{
{temporary}
  access_log off;
  keepalive_timeout 600s;
  keepalive_requests 1000000000;
  client_max_body_size 0;
  {more}
  upstream up {{
    server 127.0.0.1:{place.upstream};
    keepalive {UPSTREAM_CONNECTIONS_MAX};
    keepalive_requests 1000000000;
    keepalive_timeout 600s;
  }}
  server {{
    listen 127.0.0.1:{place.plain} backlog=4096;
    listen 127.0.0.1:{place.tls} ssl http2 backlog=4096;
    ssl_certificate {place.certificate};
    ssl_certificate_key {place.key};
    ssl_protocols TLSv1.2 TLSv1.3;
    location / {{
      proxy_pass http://up;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_set_header Host $http_host;
      proxy_set_header authtoken {TOKEN};
      proxy_request_buffering off;
      proxy_max_temp_file_size 0;
    }}
  }}
}}
""")
    # One process, as the others are; a master would cost nothing per request.
    return Launch(
        [
            tools.found("nginx") or "nginx",
            "-p",
            str(place.folder),
            "-e",
            "stderr",
            "-g",
            "master_process off;",
            "-c",
            str(place.folder / "nginx.conf"),
        ]
    )


def nginx_version() -> str:
    return said(tools.found("nginx") or "nginx", "-v").rpartition("/")[2]


# --- HAProxy --------------------------------------------------------------------------------------


def haproxy(place: Place) -> Launch:
    file = place.folder / "haproxy.cfg"
    file.write_text(f"""global
  maxconn {CONNECTIONS_MAX // 2 - 50}
  nbthread 1
defaults
  mode http
  timeout connect 5s
  timeout client 600s
  timeout server 600s
  timeout http-keep-alive 600s
  http-reuse safe
frontend clients
  bind 127.0.0.1:{place.plain}
  bind 127.0.0.1:{place.tls} ssl crt {place.both} alpn h2,http/1.1
  default_backend upstream
backend upstream
  http-request set-header authtoken {TOKEN}
  server up 127.0.0.1:{place.upstream}
""")
    return Launch([tools.found("haproxy") or "haproxy", "-db", "-f", str(file)])


def haproxy_version() -> str:
    return said(tools.found("haproxy") or "haproxy", "-v").split()[2]


# --- Envoy ----------------------------------------------------------------------------------------


ENVOY_TYPE = "type.googleapis.com/envoy.extensions"


def envoy_listener(name: str, port: int, tls: Mapping[str, Any] | None) -> dict[str, Any]:
    manager = {
        "@type": f"{ENVOY_TYPE}.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": name,
        "route_config": {
            "request_headers_to_add": [
                {"header": {"key": "authtoken", "value": TOKEN}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}
            ],
            "virtual_hosts": [
                {
                    "name": "all",
                    "domains": ["*"],
                    "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "up", "timeout": "0s"}}],
                }
            ],
        },
        "http_filters": [
            {
                "name": "router",
                "typed_config": {"@type": f"{ENVOY_TYPE}.filters.http.router.v3.Router"},
            }
        ],
    }
    chain: dict[str, Any] = {"filters": [{"name": "http", "typed_config": manager}]}
    if tls:
        chain["transport_socket"] = {"name": "tls", "typed_config": tls}
    return {
        "name": name,
        "filter_chains": [chain],
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": port}},
    }


def envoy(place: Place) -> Launch:
    certificate = {
        "certificate_chain": {"filename": str(place.certificate)},
        "private_key": {"filename": str(place.key)},
    }
    tls = {
        "@type": f"{ENVOY_TYPE}.transport_sockets.tls.v3.DownstreamTlsContext",
        "common_tls_context": {"alpn_protocols": ["h2", "http/1.1"], "tls_certificates": [certificate]},
    }
    endpoint = {"endpoint": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": place.upstream}}}}
    thresholds = {
        "max_connections": CONNECTIONS_MAX,
        "max_pending_requests": CONNECTIONS_MAX,
        "max_requests": CONNECTIONS_MAX,
    }
    cluster = {
        "name": "up",
        "type": "STATIC",
        "connect_timeout": "5s",
        "circuit_breakers": {"thresholds": [thresholds]},
        "load_assignment": {"cluster_name": "up", "endpoints": [{"lb_endpoints": [endpoint]}]},
    }
    file = place.folder / "envoy.json"
    file.write_text(
        json.dumps(
            {
                "static_resources": {
                    "listeners": [envoy_listener("plain", place.plain, None), envoy_listener("tls", place.tls, tls)],
                    "clusters": [cluster],
                }
            }
        )
    )
    return Launch(
        [
            tools.wheel_program("envoy"),
            "-c",
            str(file),
            "--concurrency",
            "1",
            "--log-level",
            "error",
            "--disable-hot-restart",
        ]
    )


def envoy_version() -> str:
    # As `version: COMMIT/1.40.0/Clean/RELEASE/BoringSSL`, after the program's own path.
    return said(tools.wheel_program("envoy"), "--version").rpartition("version: ")[2].split("/")[1]


# --- Traefik and Caddy ----------------------------------------------------------------------------

ONE_GO_WORKER = {"GOMAXPROCS": "1"}


def traefik(place: Place) -> Launch:
    # It reads no JSON, but JSON is YAML.
    (place.folder / "routes.yaml").write_text(
        json.dumps(
            {
                "http": {
                    "routers": {
                        "plain": {
                            "rule": "PathPrefix(`/`)",
                            "entryPoints": ["plain"],
                            "service": "up",
                            "middlewares": ["session"],
                        },
                        "tls": {
                            "rule": "PathPrefix(`/`)",
                            "entryPoints": ["tls"],
                            "service": "up",
                            "middlewares": ["session"],
                            "tls": {},
                        },
                    },
                    "middlewares": {"session": {"headers": {"customRequestHeaders": {"authtoken": TOKEN}}}},
                    "services": {
                        "up": {
                            "loadBalancer": {
                                "servers": [{"url": f"http://127.0.0.1:{place.upstream}"}],
                                "serversTransport": "kept",
                            }
                        }
                    },
                    "serversTransports": {"kept": {"maxIdleConnsPerHost": UPSTREAM_CONNECTIONS_MAX}},
                },
                "tls": {
                    "stores": {
                        "default": {
                            "defaultCertificate": {"certFile": str(place.certificate), "keyFile": str(place.key)}
                        }
                    }
                },
            }
        )
    )
    file = place.folder / "traefik.yaml"
    timeouts = {"transport": {"respondingTimeouts": {"readTimeout": "0s", "idleTimeout": "600s"}}}
    file.write_text(
        json.dumps(
            {
                # Nothing is sent home.
                "global": {"checkNewVersion": False, "sendAnonymousUsage": False},
                "log": {"level": "ERROR"},
                "entryPoints": {
                    "plain": {"address": f"127.0.0.1:{place.plain}", **timeouts},
                    "tls": {"address": f"127.0.0.1:{place.tls}", **timeouts},
                },
                "providers": {"file": {"filename": str(place.folder / "routes.yaml"), "watch": False}},
            }
        )
    )
    return Launch([tools.wheel_program("traefik"), f"--configFile={file}"], ONE_GO_WORKER)


def traefik_version() -> str:
    return said(tools.wheel_program("traefik"), "version").split()[1]


def caddy(place: Place) -> Launch:
    handler = {
        "handler": "reverse_proxy",
        "upstreams": [{"dial": f"127.0.0.1:{place.upstream}"}],
        "headers": {"request": {"set": {"authtoken": [TOKEN]}}},
        "transport": {
            "protocol": "http",
            "keep_alive": {
                "max_idle_conns": UPSTREAM_CONNECTIONS_MAX,
                "max_idle_conns_per_host": UPSTREAM_CONNECTIONS_MAX,
            },
        },
    }
    server = {"routes": [{"handle": [handler]}], "automatic_https": {"disable": True}, "idle_timeout": "600s"}
    file = place.folder / "caddy.json"
    file.write_text(
        json.dumps(
            {
                "admin": {"disabled": True, "config": {"persist": False}},
                "logging": {"logs": {"default": {"level": "ERROR"}}},
                "apps": {
                    "http": {
                        "servers": {
                            "plain": {"listen": [f"127.0.0.1:{place.plain}"], **server},
                            "tls": {
                                "listen": [f"127.0.0.1:{place.tls}"],
                                "tls_connection_policies": [{"alpn": ["h2", "http/1.1"]}],
                                **server,
                            },
                        }
                    },
                    "tls": {
                        "certificates": {"load_files": [{"certificate": str(place.certificate), "key": str(place.key)}]}
                    },
                },
            }
        )
    )
    home = {"HOME": str(place.folder), "XDG_DATA_HOME": str(place.folder), "XDG_CONFIG_HOME": str(place.folder)}
    return Launch([tools.wheel_program("caddy"), "run", "--config", str(file)], {**ONE_GO_WORKER, **home})


def caddy_version() -> str:
    return said(tools.wheel_program("caddy"), "version").split()[0].removeprefix("v")


# --- Doorward -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ClientKey:
    """A client's key, as `doorward key new` makes it."""

    key: str
    digest: str


def new_key(binary: str) -> ClientKey:
    # The key is on standard output, the lines of the configuration beside it.
    words = said(binary, "key", "new", "bench").replace('"', " ").split()
    keys = [word for word in words if word.startswith("doorward_")]
    digests = [word for word in words if word.startswith("sha256:")]
    if not keys or not digests:
        raise tools.Missing(f"{binary} makes no client key")
    return ClientKey(keys[0], digests[0])


def doorward(place: Place, binary: str, digest: str, more: str) -> Launch:
    file = place.folder / "doorward.toml"
    file.write_text(f"""[runtime]
cores = 1

[log]
level = "warn"

[limits]
connections_max = {CONNECTIONS_MAX}

[timeouts]
idle = "600s"

[listeners.plain]
address = "127.0.0.1:{place.plain}"

[listeners.tls]
address = "127.0.0.1:{place.tls}"
tls = {{ certificate = "{place.certificate}", key = "{place.key}" }}

[clients.bench]
keys = ["{digest}"]
grants = [{{}}]

[upstreams.bench]
url = "http://127.0.0.1:{place.upstream}"
recipe_file = "{tools.HERE}/recipe.toml"

# Counted for every request, and never reached.
[upstreams.bench.limits]
rate = {{ requests = 1000000, per = "1s" }}

[upstreams.bench.accounts.bench]
username = "bench"
password = {{ env = "PEERS_PASSWORD" }}

[[routes]]
upstream = "bench"
{more}""")
    return Launch([binary, "run", "-c", str(file)], {"PEERS_PASSWORD": "a password of the comparison"})


ACCESS_LOG = """
[access_log]
path = "access.log"
"""

AUDIT = """
[audit]
path = "audit.jsonl"
"""


def doorward_peers(name: str, binary: str, digest: str) -> list[Peer]:
    """A binary's rows: bare, with the access log, with the audit trail."""

    def version() -> str:
        return said(binary, "--version").split()[1]

    def row(row_name: str, more: str) -> Peer:
        return Peer(
            row_name, version, lambda place: doorward(place, binary, digest, more), countable=True, asks_for_key=True
        )

    return [row(name, ""), row(f"{name}+log", ACCESS_LOG), row(f"{name}+audit", AUDIT)]


OTHERS = (
    Peer("nginx", nginx_version, lambda place: nginx(place, ""), package="nginx", countable=True),
    Peer("nginx-tuned", nginx_version, lambda place: nginx(place, NGINX_TUNED), package="nginx", bodies_only=True),
    Peer("haproxy", haproxy_version, haproxy, package="haproxy", countable=True),
    Peer("envoy", envoy_version, envoy, wheel=True),
    Peer("traefik", traefik_version, traefik, wheel=True),
    Peer("caddy", caddy_version, caddy, wheel=True),
)
