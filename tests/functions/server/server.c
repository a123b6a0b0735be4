/* A server function with nothing around it, and the ways in which one misbehaves.
 *
 * The environment says what it does as a whole:
 *     PORT            where it listens
 *     LISTEN          on which address (0.0.0.0); "never" for nowhere
 *     LISTEN_AFTER    how many milliseconds after its start
 *     EXIT_AT_START   ends at once with this code
 *     EAT_AT_START    wants more memory than there is
 *     IGNORE_TERM     goes on at SIGTERM; without it the exit code is then 3
 * The path of a request what it does next:
 *     /env    answers with its environment         /exit/7   ends with that code
 *     /eat    wants more memory than there is      /deaf     listens no longer
 *     /starve a child of it wants more memory than there is; no answer
 *     /wait/20/…   answers after 20 ms with its revision and the path; all others wait
 *     else    answers with "hello" and the path
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum { MOST = 256, ROOM = 8192 };

struct client {
    int fd;
    size_t length;
    char data[ROOM];
};

extern char **environ;
static struct client clients[MOST];
static int count, listener = -1;

static const char *setting(const char *name, const char *fallback)
{
    const char *value = getenv(name);
    return value ? value : fallback;
}

static void end(int number)
{
    (void)number;
    _exit(3);
}

static void eat(void)
{
    for (;;)
        memset(malloc(1 << 20), 1, 1 << 20);
}

static int listen_on(const char *address, int port)
{
    struct sockaddr_in four = {.sin_family = AF_INET, .sin_port = htons(port)};
    struct sockaddr_in6 six = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
    int is_six = strchr(address, ':') != NULL, one = 1;
    int fd = socket(is_six ? AF_INET6 : AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    inet_pton(AF_INET, address, &four.sin_addr);
    inet_pton(AF_INET6, address, &six.sin6_addr);
    if (is_six) /* else it would take IPv4 too */
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof one);
    if (bind(fd, is_six ? (void *)&six : (void *)&four, is_six ? sizeof six : sizeof four) ||
        listen(fd, 128)) {
        perror("cannot listen");
        exit(1);
    }
    return fd;
}

static void answer(struct client *client)
{
    static char body[ROOM * 4], head[128];
    char *path = strchr(client->data, ' ') + 1;
    *strchr(path, ' ') = 0;
    size_t length = snprintf(body, sizeof body, "hello %s\n", path);
    if (strcmp(path, "/env") == 0) {
        length = 0;
        for (char **pair = environ; *pair && length < sizeof body; pair++)
            length += snprintf(body + length, sizeof body - length, "%s\n", *pair);
    } else if (strncmp(path, "/exit/", 6) == 0) {
        exit(atoi(path + 6));
    } else if (strcmp(path, "/eat") == 0) {
        eat();
    } else if (strcmp(path, "/starve") == 0) {
        if (fork() == 0)
            eat();
        wait(NULL);
        shutdown(client->fd, SHUT_RDWR);
        return;
    } else if (strcmp(path, "/deaf") == 0) {
        close(listener);
        listener = -1;
    } else if (strncmp(path, "/wait/", 6) == 0) {
        usleep(atoi(path + 6) * 1000);
        length = snprintf(body, sizeof body, "%s %s\n", setting("K_REVISION", "?"), path);
    }
    int size = snprintf(head, sizeof head,
        "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: %zu\r\n\r\n", length);
    memmove(body + size, body, length);
    memcpy(body, head, size);
    if (write(client->fd, body, size + length) < 0)
        perror("write");
}

/* 0 when the client is gone. */
static int serve(struct client *client)
{
    ssize_t got = read(client->fd, client->data + client->length, ROOM - 1 - client->length);
    if (got <= 0)
        return 0;
    client->length += got;
    client->data[client->length] = 0;
    if (strstr(client->data, "\r\n\r\n")) {
        answer(client);
        client->length = 0;
    }
    return 1;
}

int main(void)
{
    const char *address = setting("LISTEN", "0.0.0.0");
    signal(SIGPIPE, SIG_IGN);
    signal(SIGTERM, getenv("IGNORE_TERM") ? SIG_IGN : end);
    dprintf(1, "out: starting\n");
    dprintf(2, "err: starting\n");
    if (getenv("EXIT_AT_START"))
        return atoi(getenv("EXIT_AT_START"));
    if (getenv("EAT_AT_START")) {
        usleep(300000); /* an engine misses what happens before it watches */
        eat();
    }
    usleep(atoi(setting("LISTEN_AFTER", "0")) * 1000);
    if (strcmp(address, "never") != 0)
        listener = listen_on(address, atoi(setting("PORT", "8080")));
    for (;;) {
        struct pollfd news[MOST + 1] = {{.fd = listener, .events = POLLIN}};
        for (int i = 0; i < count; i++)
            news[i + 1] = (struct pollfd){.fd = clients[i].fd, .events = POLLIN};
        poll(news, count + 1, -1);
        for (int i = count; i > 0; i--)
            if (news[i].revents && !serve(&clients[i - 1])) {
                close(clients[i - 1].fd);
                clients[i - 1] = clients[--count];
            }
        if (news[0].revents && count < MOST) {
            int one = 1, fd = accept(listener, NULL, NULL);
            if (fd < 0)
                continue;
            setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
            clients[count].length = 0;
            clients[count++].fd = fd;
        }
    }
}
