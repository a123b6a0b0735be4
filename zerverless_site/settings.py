"""All settings, in reading order. Every environment variable is declared here once."""

from __future__ import annotations

import sys
from pathlib import Path
from urllib.parse import urlsplit

from runtime.hosts import problem_of as functions_host_problem
from zerverless_site import clusters, databases, logs, secrets
from zerverless_site.env import Reader, check_docker_host

BASE_DIR = Path(__file__).resolve().parent.parent
read = Reader()

# -- Where things are -----------------------------------------------------------------
DATA_DIR = Path(
    read.text(
        "ZERVERLESS_DATA_DIR",
        str(BASE_DIR / "data"),
        "Database, keys, Git cache and sockets of this installation.",
    )
).resolve()
RUN_DIR = DATA_DIR / "run"
WEB_SOCKET = RUN_DIR / "web.sock"
ZERVERLESS_PORT = read.integer(
    "ZERVERLESS_PORT", "8000", "The one public port, served by the gateway.", 1, 65535
)
ZERVERLESS_BIND = read.text(
    "ZERVERLESS_BIND", "127.0.0.1", "The address the gateway listens on."
)
ZERVERLESS_BASE_URL = read.text(
    "ZERVERLESS_BASE_URL",
    f"http://127.0.0.1:{ZERVERLESS_PORT}",
    "The dashboard's own address; gives allowed hosts, CSRF origins and links.",
).rstrip("/")
ZERVERLESS_ALLOWED_HOSTS = read.words(
    "ZERVERLESS_ALLOWED_HOSTS", "", "More host names the dashboard answers to."
)
ZERVERLESS_FUNCTIONS_HOST = read.text(
    "ZERVERLESS_FUNCTIONS_HOST",
    "",
    "HOST: functions only there; *.HOST: each namespace at a host name of its own.",
)
ZERVERLESS_FUNCTIONS_SANDBOX = read.switch(
    "ZERVERLESS_FUNCTIONS_SANDBOX",
    "on",
    "Answer a function's HTML with Content-Security-Policy: sandbox on a shared host.",
)
ZERVERLESS_TRUSTED_PROXIES = read.networks(
    "ZERVERLESS_TRUSTED_PROXIES",
    "",
    "Addresses whose X-Forwarded-* headers are believed.",
)

# -- Docker (the original names) ------------------------------------------------------
DOCKER_ENABLED = read.switch(
    "DOCKER_ENABLED", "on", "Off refuses to build or run anything and says so."
)
DOCKER_HOST = read.text(
    "DOCKER_HOST",
    "unix:///var/run/docker.sock",
    "The Docker daemon: unix://PATH, or tcp://HOST:2376 with verified TLS.",
    check_docker_host,
)
DOCKER_TLS_VERIFY = read.switch(
    "DOCKER_TLS_VERIFY", "off", "Verify the daemon by TLS; needed for tcp://."
)
DOCKER_CERT_PATH = read.text(
    "DOCKER_CERT_PATH", "", "Directory with ca.pem, cert.pem and key.pem."
)
DOCKER_IMAGE_PREFIX = read.text(
    "DOCKER_IMAGE_PREFIX", "zerverless", "First part of every image name we build."
)
DOCKER_BUILD_TIMEOUT = read.duration(
    "DOCKER_BUILD_TIMEOUT", "10m", "A build, and its trial, may take this long."
)

# -- Git ------------------------------------------------------------------------------
ZERVERLESS_POLL_INTERVAL = read.duration(
    "ZERVERLESS_POLL_INTERVAL",
    "5m",
    "How often a repository is polled; at least 10s.",
    least=10,
)
ZERVERLESS_GIT_PROTOCOLS = read.words(
    "ZERVERLESS_GIT_PROTOCOLS",
    "https",
    "Protocols a repository URL may use: https, http, and for development file.",
)
ZERVERLESS_GIT_ALLOW = read.git_allow(
    "ZERVERLESS_GIT_ALLOW",
    "",
    "Private Git servers that are connected to all the same: git.internal:3000, "
    "10.0.0.5, 10.0.0.0/8, [fd00::5]:443.",
)
ZERVERLESS_GIT_TIMEOUT = read.duration(
    "ZERVERLESS_GIT_TIMEOUT", "2m", "A Git command still running after this is killed."
)
ZERVERLESS_REPOSITORY_MAX = read.size(
    "ZERVERLESS_REPOSITORY_MAX", "1Gi", "Largest pack a fetch may write."
)

# -- Builds ---------------------------------------------------------------------------
ZERVERLESS_BUILD_CONCURRENCY = read.integer(
    "ZERVERLESS_BUILD_CONCURRENCY", "1", "Builds at once; the rest wait in line."
)
ZERVERLESS_BUILD_MEMORY = read.size(
    "ZERVERLESS_BUILD_MEMORY", "2Gi", "Memory all running builds may use together."
)
ZERVERLESS_BUILD_CPU = read.integer(
    "ZERVERLESS_BUILD_CPU", "1", "Processors all running builds may use together."
)
ZERVERLESS_BUILD_LOG_MAX = read.size(
    "ZERVERLESS_BUILD_LOG_MAX", "10Mi", "Stored log of one build; head and tail stay."
)
ZERVERLESS_CONTEXT_MAX = read.size(
    "ZERVERLESS_CONTEXT_MAX", "512Mi", "Largest build context, uncompressed."
)
ZERVERLESS_CONTEXT_FILES_MAX = read.integer(
    "ZERVERLESS_CONTEXT_FILES_MAX", "50000", "Most files in a build context."
)

# -- Invocations ----------------------------------------------------------------------
ZERVERLESS_REQUEST_TIMEOUT = read.duration(
    "ZERVERLESS_REQUEST_TIMEOUT", "30s", "Default and longest default run of a request."
)
ZERVERLESS_COLD_START_TIMEOUT = read.duration(
    "ZERVERLESS_COLD_START_TIMEOUT", "30s", "A container not started by then is 503."
)
ZERVERLESS_MAX_BODY = read.size(
    "ZERVERLESS_MAX_BODY", "6Mi", "Largest request body and largest answer."
)
ZERVERLESS_GATEWAYS = read.integer(
    "ZERVERLESS_GATEWAYS",
    "1",
    "Gateway processes on the one port; each has instances of its own.",
    1,
    16,
)
ZERVERLESS_MAX_STREAM = read.size(
    "ZERVERLESS_MAX_STREAM",
    "1Gi",
    "Largest request body for a server function; it is passed on as it comes.",
)
ZERVERLESS_CONCURRENCY = read.integer(
    "ZERVERLESS_CONCURRENCY", "32", "Requests in all functions at once; more get 429."
)
ZERVERLESS_FUNCTION_CONCURRENCY = read.integer(
    "ZERVERLESS_FUNCTION_CONCURRENCY",
    "24",
    "Requests in one function at once where its manifest does not say.",
)
ZERVERLESS_PRIMED_MAX = read.integer(
    "ZERVERLESS_PRIMED_MAX",
    "4",
    "Containers started ahead for one function that is being called; 0 for none.",
    0,
    64,
)
ZERVERLESS_PRIMED_MEMORY = read.size(
    "ZERVERLESS_PRIMED_MEMORY",
    "4Gi",
    "Memory limits of all containers started ahead, added up.",
)
ZERVERLESS_PRIMED_KEEP = read.duration(
    "ZERVERLESS_PRIMED_KEEP", "45s", "They go when a function was not called so long."
)

# -- Instances of server functions ----------------------------------------------------
ZERVERLESS_SANDBOXES_AHEAD = read.integer(
    "ZERVERLESS_SANDBOXES_AHEAD",
    "2",
    "Sandboxes that wait for server functions to start in; 0 for none.",
    0,
    64,
)
ZERVERLESS_DOORS_DIR = read.text(
    "ZERVERLESS_DOORS_DIR",
    "",
    "A directory that Docker sees under the same path, where that is not so of the "
    "data directory; for sockets.",
)
ZERVERLESS_EGRESS = read.switch(
    "ZERVERLESS_EGRESS",
    "on",
    "Off refuses network: egress in manifests and starts no such function any more.",
)
ZERVERLESS_EGRESS_ALLOW = read.reachable(
    "ZERVERLESS_EGRESS_ALLOW",
    "",
    "Private addresses that egress reaches all the same: 10.0.0.5:5432, 10.0.0.0/8.",
)
ZERVERLESS_INSTANCE_CONCURRENCY = read.integer(
    "ZERVERLESS_INSTANCE_CONCURRENCY",
    "32",
    "Requests in one instance at once where its manifest does not say.",
)
ZERVERLESS_INSTANCE_QUEUE = read.integer(
    "ZERVERLESS_INSTANCE_QUEUE",
    "256",
    "Requests of one function waiting for an instance; more get 429.",
)
ZERVERLESS_PAUSE_AFTER = read.duration(
    "ZERVERLESS_PAUSE_AFTER",
    "10s",
    "An instance without a request for so long is paused until the next one.",
)
ZERVERLESS_INSTANCE_MEMORY = read.size(
    "ZERVERLESS_INSTANCE_MEMORY",
    "0",
    "Memory limits of one gateway's instances, added up; 0: three quarters of the "
    "machine's memory without ZERVERLESS_PRIMED_MEMORY, at least a quarter.",
)
ZERVERLESS_DRAIN = read.duration(
    "ZERVERLESS_DRAIN", "30s", "Time to end for the requests of a replaced instance."
)

# -- Retention ------------------------------------------------------------------------
ZERVERLESS_KEEP_IMAGES = read.integer(
    "ZERVERLESS_KEEP_IMAGES", "5", "Latest images kept per function."
)
ZERVERLESS_KEEP_INVOCATIONS = read.integer(
    "ZERVERLESS_KEEP_INVOCATIONS", "1000", "Latest invocations kept per function."
)
ZERVERLESS_RETENTION_LOGS = read.duration(
    "ZERVERLESS_RETENTION_LOGS", "14d", "Build logs, syncs and invocations kept."
)
ZERVERLESS_RETENTION_TRAFFIC = read.duration(
    "ZERVERLESS_RETENTION_TRAFFIC", "14d", "Counted requests kept, minute by minute."
)
ZERVERLESS_DISK_FREE_MIN = read.size(
    "ZERVERLESS_DISK_FREE_MIN", "2Gi", "No build starts with less free disk than this."
)

# -- People and logs ------------------------------------------------------------------
ZERVERLESS_ADMIN_USERNAME = read.text(
    "ZERVERLESS_ADMIN_USERNAME", "admin", "Name of the first administrator."
)
ZERVERLESS_ADMIN_PASSWORD = read.text(
    "ZERVERLESS_ADMIN_PASSWORD",
    "",
    "Password of the first administrator; without it a setup link is printed.",
)
ZERVERLESS_SAMPLE = read.switch(
    "ZERVERLESS_SAMPLE", "off", "Register the sample application at start."
)
ZERVERLESS_METRICS_TOKEN = read.text(
    "ZERVERLESS_METRICS_TOKEN", "", "Token of /metrics; made in the data directory."
)
ZERVERLESS_LOG_LEVEL = read.choice(
    "ZERVERLESS_LOG_LEVEL",
    "info",
    "The least serious lines to log.",
    "debug",
    "info",
    "warning",
    "error",
    "critical",
)
ZERVERLESS_LOG_FORMAT = read.choice(
    "ZERVERLESS_LOG_FORMAT",
    "auto",
    "json, text, or auto: text on a terminal.",
    "auto",
    "json",
    "text",
)
DEBUG = read.switch("ZERVERLESS_DEBUG", "off", "Django's debug pages; never in public.")
SECRET_KEY = read.text(
    "ZERVERLESS_SECRET_KEY", "", "Signing key; made once in the data directory."
)
ZERVERLESS_ENCRYPTION_KEY = read.words(
    "ZERVERLESS_ENCRYPTION_KEY", "", "Keys of stored passwords, newest first."
)
DATABASE_URL = read.text(
    "DATABASE_URL",
    f"sqlite:///{DATA_DIR / 'db.sqlite3'}",
    "sqlite:///PATH or postgres://USER:PASSWORD@HOST/NAME.",
)
if DOCKER_HOST.startswith("tcp://") and not DOCKER_TLS_VERIFY:
    read.refuse("DOCKER_HOST", "tcp:// needs DOCKER_TLS_VERIFY=on and DOCKER_CERT_PATH")
if _problem := functions_host_problem(ZERVERLESS_FUNCTIONS_HOST, ZERVERLESS_BASE_URL):
    read.refuse("ZERVERLESS_FUNCTIONS_HOST", _problem)
read.finish()

SECRET_KEY = SECRET_KEY or secrets.read_or_create(DATA_DIR / "secret-key")
ENCRYPTION_KEYS = secrets.keys(ZERVERLESS_ENCRYPTION_KEY, DATA_DIR / "encryption-key")
ZERVERLESS_METRICS_TOKEN = ZERVERLESS_METRICS_TOKEN or secrets.read_or_create(
    DATA_DIR / "metrics-token"
)

# -- Django ---------------------------------------------------------------------------
_base = urlsplit(ZERVERLESS_BASE_URL)
_https = _base.scheme == "https"
ALLOWED_HOSTS = [
    _base.hostname or "localhost",
    "localhost",
    "127.0.0.1",
    "[::1]",
    *ZERVERLESS_ALLOWED_HOSTS,
]
CSRF_TRUSTED_ORIGINS = [ZERVERLESS_BASE_URL]

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.humanize",
    "django.contrib.messages",
    "django.contrib.sessions",
    "whitenoise.runserver_nostatic",
    "django.contrib.staticfiles",
    "django_htmx",
    "django_q",
    "applications",
    "builds",
    "runtime",
    "zerverless_site",
]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.auth.middleware.LoginRequiredMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
    "zerverless_site.middleware.SecurityHeadersMiddleware",
]
ROOT_URLCONF = "zerverless_site.urls"
WSGI_APPLICATION = "zerverless_site.wsgi.application"
# A POST to /alice/api must reach the function as it came, never be redirected.
APPEND_SLASH = False
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "zerverless_site.banners.banners",
            ],
        },
    },
]
DATABASES = databases.configuration(DATABASE_URL)
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in (
        "UserAttributeSimilarityValidator",
        "MinimumLengthValidator",
        "CommonPasswordValidator",
    )
]
LOGIN_URL = "login"
LOGIN_REDIRECT_URL = "overview"
LOGOUT_REDIRECT_URL = "login"
# Functions share the host: the control plane's cookies stay under /-/.
SESSION_COOKIE_NAME = "zerverless_session"
SESSION_COOKIE_PATH = CSRF_COOKIE_PATH = "/-/"
CSRF_COOKIE_NAME = "zerverless_csrf"
MESSAGE_STORAGE = "django.contrib.messages.storage.session.SessionStorage"
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = _https
SECURE_SSL_REDIRECT = False  # the proxy that ends TLS redirects; see docs/operations.md
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
SECURE_HSTS_SECONDS = 31536000 if _https else 0
SECURE_HSTS_INCLUDE_SUBDOMAINS = SECURE_HSTS_PRELOAD = False
SECURE_REFERRER_POLICY = "same-origin"
SILENCED_SYSTEM_CHECKS = ["security.W005", "security.W008", "security.W021"]

LANGUAGE_CODE = "en"
TIME_ZONE = "UTC"
STATIC_URL = "/-/static/"
STATIC_ROOT = DATA_DIR / "static"
STATICFILES_DIRS = [BASE_DIR / "static"]
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {
        "BACKEND": "whitenoise.storage.CompressedManifestStaticFilesStorage"
    },
}
DATA_UPLOAD_MAX_MEMORY_SIZE = 1 << 20

# -- The queue: a hint, never the truth (docs/architecture.md) ------------------------
Q_CLUSTER = clusters.configuration(ZERVERLESS_BUILD_CONCURRENCY, DOCKER_BUILD_TIMEOUT)

# -- Logs -----------------------------------------------------------------------------
LOGS_ARE_TEXT = ZERVERLESS_LOG_FORMAT == "text" or (
    ZERVERLESS_LOG_FORMAT == "auto" and sys.stderr.isatty()
)
LOGGING = logs.configuration(ZERVERLESS_LOG_LEVEL, as_text=LOGS_ARE_TEXT)
