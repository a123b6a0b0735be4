/* The door of a sandbox: hands out connections into its network namespace.
 *
 * Runs alone in a container, mostly without any network but `lo`, whose namespace the
 * function's container joins. Connects out to the gateway's socket, says who it is, and
 * then opens TCP connections to the function's port on demand: the connected socket itself
 * is passed to the gateway (SCM_RIGHTS), which then talks to the function without us.
 *
 *     door /path/of/the/socket token
 *     door /path/of/the/socket token uid gid [address/bits:port ...]
 *
 * In the second form the network has a way out. Then it starts as root, puts the guard in
 * place (guard.c, with what it lets pass), becomes who it is told to be, and only then
 * connects: that it has come says that the guard is there. Without it, it ends with exit
 * code NO_GUARD + errno.
 *
 * One message each, in network byte order (SOCK_SEQPACKET keeps them apart):
 *     gateway -> door    number, port, patience in milliseconds
 *     door -> gateway    number, errno or 0 with the socket
 * Ends when the gateway does.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "filter.h"
#include "guard.h"

enum { MOST = 64, HANDSHAKE_MS = 100, EAGER_MS = 1000, OWN = 4 };

struct request {
    uint32_t number, port;
    int64_t began, until, next;
};

static struct request waiting[MOST];
static int count;
static struct in_addr own[OWN];
static int own_count;

static int64_t now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* A connection to the address, or -1 and errno. */
static int attempt(const struct sockaddr *address, socklen_t size)
{
    int one = 1, error = 0;
    socklen_t length = sizeof error;
    int fd = socket(address->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (connect(fd, address, size) == 0)
        return fd;
    if (errno == EINPROGRESS) { /* its queue is full: the handshake takes a while */
        struct pollfd ready = {.fd = fd, .events = POLLOUT};
        if (poll(&ready, 1, HANDSHAKE_MS) != 1)
            error = EAGAIN;
        else
            getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &length);
        if (error == 0)
            return fd;
        errno = error;
    }
    error = errno;
    close(fd);
    errno = error;
    return -1;
}

/* With a way out there is an address besides the loopback's: a server may listen on it alone. */
static void find_own(void)
{
    struct ifaddrs *first, *one;
    if (getifaddrs(&first) != 0)
        return;
    for (one = first; one && own_count < OWN; one = one->ifa_next)
        if (one->ifa_addr && one->ifa_addr->sa_family == AF_INET && !(one->ifa_flags & IFF_LOOPBACK))
            own[own_count++] = ((struct sockaddr_in *)one->ifa_addr)->sin_addr;
    freeifaddrs(first);
}

/* Servers listen on either family of the loopback, or on an address of their own. */
static int open_port(uint32_t port)
{
    struct sockaddr_in four = {.sin_family = AF_INET, .sin_port = htons(port)};
    struct sockaddr_in6 six = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
    four.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    six.sin6_addr = in6addr_loopback;
    int fd = attempt((struct sockaddr *)&four, sizeof four);
    if (fd >= 0 || errno != ECONNREFUSED)
        return fd;
    fd = attempt((struct sockaddr *)&six, sizeof six);
    for (int i = 0; fd < 0 && i < own_count; i++) {
        four.sin_addr = own[i];
        fd = attempt((struct sockaddr *)&four, sizeof four);
    }
    if (fd < 0)
        errno = ECONNREFUSED;
    return fd;
}

static int answer(int gateway, uint32_t number, int error, int fd)
{
    uint32_t words[2] = {htonl(number), htonl(error)};
    struct iovec data = {.iov_base = words, .iov_len = sizeof words};
    union { char bytes[CMSG_SPACE(sizeof(int))]; struct cmsghdr align; } control = {0};
    struct msghdr message = {.msg_iov = &data, .msg_iovlen = 1};
    if (fd >= 0) {
        message.msg_control = control.bytes;
        message.msg_controllen = sizeof control.bytes;
        struct cmsghdr *rights = CMSG_FIRSTHDR(&message);
        rights->cmsg_level = SOL_SOCKET;
        rights->cmsg_type = SCM_RIGHTS;
        rights->cmsg_len = CMSG_LEN(sizeof(int));
        memcpy(CMSG_DATA(rights), &fd, sizeof fd);
    }
    int sent = sendmsg(gateway, &message, MSG_NOSIGNAL);
    if (fd >= 0)
        close(fd);
    return sent;
}

/* One try for a request; 1 when it has been answered. */
static int serve(int gateway, struct request *request)
{
    int64_t time = now();
    if (time < request->next)
        return 0;
    int fd = open_port(request->port);
    int error = fd < 0 ? errno : 0;
    if (error && time < request->until) {
        request->next = time + (time - request->began < EAGER_MS ? 1 : 5);
        return 0;
    }
    answer(gateway, request->number, error, fd);
    return 1;
}

static int connected(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    strncpy(address.sun_path, path, sizeof address.sun_path - 1);
    if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof address) != 0)
        return -1;
    return fd;
}

/* 0 when the gateway may know that we are here, or the exit code. */
static int prepare(int argc, char **argv)
{
    if (argc < 3 || argc == 4)
        return 1;
    if (argc == 3)
        return 0;
    int error = guard(argv + 5);
    if (error == 0)
        error = become(strtoul(argv[3], NULL, 10), strtoul(argv[4], NULL, 10));
    return error ? NO_GUARD + error : 0;
}

int main(int argc, char **argv)
{
    int problem = prepare(argc, argv);
    if (problem)
        return problem;
    find_own();
    int gateway = connected(argv[1]);
    if (gateway < 0 || send(gateway, argv[2], strlen(argv[2]), MSG_NOSIGNAL) < 0)
        return 1;
    for (;;) {
        struct pollfd news = {.fd = gateway, .events = POLLIN};
        uint32_t words[3];
        if (poll(&news, 1, count ? 1 : -1) == 1) {
            if (recv(gateway, words, sizeof words, 0) != sizeof words)
                return 0;
            int64_t time = now();
            struct request asked = {.number = ntohl(words[0]), .port = ntohl(words[1]),
                .began = time, .until = time + ntohl(words[2]), .next = time};
            if (count < MOST)
                waiting[count++] = asked;
            else
                answer(gateway, asked.number, EAGAIN, -1);
        }
        for (int i = 0; i < count;)
            if (serve(gateway, &waiting[i]))
                waiting[i] = waiting[--count];
            else
                i++;
    }
}
