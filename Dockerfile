# The platform: gateway, control plane and workers are this one image with different commands.
FROM python:3.11-slim AS door
RUN apt-get update && apt-get install -y --no-install-recommends gcc libc6-dev
COPY runtime/door/ .
RUN cc -static -Os -s -Wall -Wextra -o door *.c

FROM python:3.11-slim
# Git, a static busybox for containers started ahead, and of Docker only the client, with the BuildKit that image builds
# need. Debian 12 has it in docker.io, whose daemon is not wanted here; later releases have packages of their own for it.
RUN apt-get update \
 && apt-get install -y --no-install-recommends busybox-static ca-certificates git \
 && if apt-cache show docker-cli docker-buildx >/dev/null 2>&1; \
    then apt-get install -y --no-install-recommends docker-cli docker-buildx; \
    else cd /tmp && apt-get download docker.io && dpkg-deb --fsys-tarfile docker.io_*.deb | tar -xC / ./usr/bin/docker \
      && rm docker.io_*.deb; \
    fi \
 && rm -rf /var/lib/apt/lists/* \
 && groupadd --gid 10001 zerverless \
 && useradd --uid 10001 --gid 10001 --home-dir /data/home --no-create-home --shell /usr/sbin/nologin zerverless \
 && install -d -o zerverless -g zerverless -m 700 /data
WORKDIR /app
COPY requirements.txt .
RUN pip install --no-cache-dir --disable-pip-version-check -r requirements.txt
COPY . .
COPY --from=door door runtime/door/door
RUN python -m compileall -q . >/dev/null
ENV PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 HOME=/data/home \
    ZERVERLESS_DATA_DIR=/data ZERVERLESS_BIND=0.0.0.0
USER zerverless
VOLUME /data
EXPOSE 8000
STOPSIGNAL SIGTERM
CMD ["python", "manage.py", "serve"]
