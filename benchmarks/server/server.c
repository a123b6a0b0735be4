/* The server that everything warm is measured with: one process, epoll, HTTP/1.1 with
 * keep-alive, and nothing else, so that what is measured is what stands before it.
 *
 *   server          listens on TCP, every address, port $PORT
 *   server PATH     listens on a unix socket
 *
 *   GET  /          {"msg":"hello"}
 *   GET  /bytes/N   N bytes
 *   POST /...       {"received":N}, after N bytes of body (Content-Length or chunked)
 */
#define _GNU_SOURCE
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

enum { HEAD_MAX = 16384, READ_MAX = 262144, CONNECTIONS = 1024 };
enum phase { HEAD, BODY, CHUNK_SIZE, CHUNK, CHUNK_END, TRAILER };

struct connection {
    int fd;
    enum phase phase;
    char head[HEAD_MAX];   /* of the request; later one line of chunked framing */
    size_t length;         /* used of head */
    unsigned long long left, received, to_send;
    char answer[256];
    size_t answer_length, answer_sent;
    int writing, upload, closes;
};

static char bytes[READ_MAX];
static int poller;

static void watch(struct connection *c, int op, unsigned events) {
    struct epoll_event event = {.events = events, .data.ptr = c};
    epoll_ctl(poller, op, c->fd, &event);
}

static void drop(struct connection *c) {
    close(c->fd);
    free(c);
}

/* 1 when all of the answer is out, 0 when the socket is full, -1 when it is gone. */
static int flush(struct connection *c) {
    while (c->answer_sent < c->answer_length || c->to_send) {
        ssize_t sent;
        if (c->answer_sent < c->answer_length) {
            sent = send(c->fd, c->answer + c->answer_sent, c->answer_length - c->answer_sent,
                        MSG_NOSIGNAL | (c->to_send ? MSG_MORE : 0));
        } else {
            size_t part = c->to_send < sizeof bytes ? c->to_send : sizeof bytes;
            sent = send(c->fd, bytes, part, MSG_NOSIGNAL);
        }
        if (sent < 0) return errno == EAGAIN ? 0 : -1;
        if (c->answer_sent < c->answer_length) c->answer_sent += sent;
        else c->to_send -= sent;
    }
    return 1;
}

static int answer(struct connection *c) {
    char body[64] = "";
    int size = 0;
    if (c->upload) size = sprintf(body, "{\"received\":%llu}", c->received);
    else if (!c->to_send) size = sprintf(body, "{\"msg\":\"hello\"}");
    c->answer_sent = 0;
    c->answer_length = sprintf(c->answer,
        "HTTP/1.1 200 OK\r\nContent-Type: %s\r\nContent-Length: %llu\r\n%s\r\n%s",
        size ? "application/json" : "application/octet-stream",
        size ? (unsigned long long)size : c->to_send, c->closes ? "Connection: close\r\n" : "", body);
    c->phase = HEAD;
    int done = flush(c);
    if (done < 0 || (done && c->closes)) return -1;
    if (!done) {
        c->writing = 1;
        watch(c, EPOLL_CTL_MOD, EPOLLOUT);
    }
    return 0;
}

static char *header(struct connection *c, const char *name) {
    char *found = strcasestr(c->head, name);
    return found ? found + strlen(name) : NULL;
}

/* Read the head in c->head, which ends in NUL; -1 where the connection is to end. */
static int begin(struct connection *c) {
    char *value;
    c->received = c->to_send = c->left = 0;
    c->upload = !strncmp(c->head, "POST", 4) || !strncmp(c->head, "PUT", 3);
    c->closes = (value = header(c, "\r\nconnection:")) && !strncasecmp(value + strspn(value, " "), "close", 5);
    if (!strncmp(c->head, "GET /bytes/", 11)) c->to_send = strtoull(c->head + 11, NULL, 10);
    if ((value = header(c, "\r\nexpect:")) && send(c->fd, "HTTP/1.1 100 Continue\r\n\r\n", 25, MSG_NOSIGNAL) < 0)
        return -1;
    if (header(c, "\r\ntransfer-encoding:")) {
        c->phase = CHUNK_SIZE;
        c->length = 0;
        return 0;
    }
    if ((value = header(c, "\r\ncontent-length:"))) c->left = strtoull(value, NULL, 10);
    if (!c->left) return answer(c);
    c->phase = BODY;
    return 0;
}

/* A line of chunked framing has come: a size, what ends a chunk, or a trailer. */
static int framing(struct connection *c) {
    size_t length = c->length;
    c->head[length] = 0;
    c->length = 0;
    if (c->phase == CHUNK_SIZE) {
        c->left = strtoull(c->head, NULL, 16);
        c->phase = c->left ? CHUNK : TRAILER;
    } else if (c->phase == CHUNK_END) {
        c->phase = CHUNK_SIZE;
    } else if (length <= 2) {
        return answer(c);
    }
    return 0;
}

/* Take what has come; returns how much of it was used, -1 where the connection ends. */
static ssize_t take(struct connection *c, const char *data, size_t size) {
    if (c->phase == BODY || c->phase == CHUNK) {
        size_t part = size < c->left ? size : c->left;
        c->left -= part;
        c->received += part;
        if (c->left) return part;
        c->length = 0;
        if (c->phase == CHUNK) c->phase = CHUNK_END;
        else if (answer(c) < 0) return -1;
        return part;
    }
    size_t used = 0;
    while (used < size) {
        if (c->length + 1 >= HEAD_MAX) return -1;
        char now = c->head[c->length++] = data[used++];
        if (now != '\n') continue;
        if (c->phase != HEAD) return framing(c) < 0 ? -1 : (ssize_t)used;
        if (c->length >= 4 && !memcmp(c->head + c->length - 4, "\r\n\r\n", 4)) {
            c->head[c->length] = 0;
            c->length = 0;
            return begin(c) < 0 ? -1 : (ssize_t)used;
        }
    }
    return used;
}

static int readable(struct connection *c) {
    static char buffer[READ_MAX];
    ssize_t size = recv(c->fd, buffer, sizeof buffer, 0);
    if (size <= 0) return size < 0 && errno == EAGAIN ? 0 : -1;
    for (ssize_t used = 0; used < size;) {
        ssize_t part = take(c, buffer + used, size - used);
        if (part < 0) return -1;
        used += part;
    }
    return 0;
}

static int writable(struct connection *c) {
    int done = flush(c);
    if (done < 0 || (done && c->closes)) return -1;
    if (done) {
        c->writing = 0;
        watch(c, EPOLL_CTL_MOD, EPOLLIN);
    }
    return 0;
}

static int listen_at(const char *path) {
    int fd, on = 1;
    if (path) {
        struct sockaddr_un place = {.sun_family = AF_UNIX};
        strncpy(place.sun_path, path, sizeof place.sun_path - 1);
        fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
        unlink(path);
        if (bind(fd, (struct sockaddr *)&place, sizeof place)) return -1;
        chmod(path, 0777);
    } else {
        const char *port = getenv("PORT");
        struct sockaddr_in place = {.sin_family = AF_INET, .sin_port = htons(port ? atoi(port) : 8080)};
        fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
        if (bind(fd, (struct sockaddr *)&place, sizeof place)) return -1;
    }
    return listen(fd, 512) ? -1 : fd;
}

int main(int count, char **arguments) {
    struct epoll_event events[256];
    int on = 1, listener = listen_at(count > 1 ? arguments[1] : NULL);
    if (listener < 0) return perror("listen"), 1;
    memset(bytes, 'x', sizeof bytes);
    poller = epoll_create1(0);
    struct connection door = {.fd = listener};
    watch(&door, EPOLL_CTL_ADD, EPOLLIN);
    for (;;) {
        int ready = epoll_wait(poller, events, 256, -1);
        for (int i = 0; i < ready; i++) {
            struct connection *c = events[i].data.ptr;
            if (c != &door) {
                if ((c->writing ? writable(c) : readable(c)) < 0) drop(c);
                continue;
            }
            int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK);
            if (fd < 0) continue;
            setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
            c = calloc(1, sizeof *c);
            c->fd = fd;
            watch(c, EPOLL_CTL_ADD, EPOLLIN);
        }
    }
}
