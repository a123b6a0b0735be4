/* The door of a sandbox: hands out connections into its network namespace.
 *
 * Runs alone in a container without any network but `lo`, whose namespace the function's
 * container joins. Connects out to the gateway's socket, says who it is, and then opens
 * TCP connections to the function's port on demand: the connected socket itself is passed
 * to the gateway (SCM_RIGHTS), which then talks to the function without us.
 *
 *     door /path/of/the/socket token
 *     door /path/of/the/socket token uid gid
 *
 * The second form is for a sandbox that has a network: started as root with NET_ADMIN, it
 * first bars the way to everything but the internet, then gives up all it was given and
 * becomes that user. Nobody hears of it before that is done.
 *
 * One message each, in network byte order (SOCK_SEQPACKET keeps them apart):
 *     gateway -> door    number, port, patience in milliseconds
 *     door -> gateway    number, errno or 0 with the socket
 * Ends when the gateway does.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <grp.h>
#include <ifaddrs.h>
#include <linux/capability.h>
#include <linux/fib_rules.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum { MOST = 64, HANDSHAKE_MS = 100, EAGER_MS = 1000 };

struct request {
    uint32_t number, port;
    int64_t began, until, next;
};

static struct request waiting[MOST];
static int count;

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

/* Servers listen on either family of the loopback. */
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

/* -- The guard of a sandbox with a network (rtnetlink(7)) ------------------------------
 *
 * A table of addresses that cannot be reached, looked up before the ordinary one. Names
 * are still asked for on port 53, wherever the machine's own name servers are: a router or
 * a cloud mostly has them at a private address.
 */

enum { BARRED = 100, ROOM_FOR_ONE = 256 };

/* Special-purpose addresses: RFC 6890, and multicast. */
static const char *const private_networks[] = {
    "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16",
    "172.16.0.0/12", "192.0.0.0/24", "192.168.0.0/16", "198.18.0.0/15", "224.0.0.0/4",
    "240.0.0.0/4",
};

struct message {
    struct nlmsghdr head;
    char room[ROOM_FOR_ONE];
};

static void begin(struct message *m, int type, const void *body, size_t size)
{
    memset(m, 0, sizeof *m);
    m->head.nlmsg_len = NLMSG_LENGTH(size);
    m->head.nlmsg_type = type;
    m->head.nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE;
    memcpy(NLMSG_DATA(&m->head), body, size);
}

static void add(struct message *m, int type, const void *value, size_t size)
{
    struct rtattr *to = (void *)((char *)m + NLMSG_ALIGN(m->head.nlmsg_len));
    to->rta_type = type;
    to->rta_len = RTA_LENGTH(size);
    memcpy(RTA_DATA(to), value, size);
    m->head.nlmsg_len = NLMSG_ALIGN(m->head.nlmsg_len) + RTA_ALIGN(to->rta_len);
}

/* 0 when the kernel has done it, else -1 and errno. */
static int ask(int kernel, struct message *m)
{
    struct { struct nlmsghdr head; struct nlmsgerr error; char rest[ROOM_FOR_ONE]; } got;
    if (send(kernel, m, m->head.nlmsg_len, 0) < 0 || recv(kernel, &got, sizeof got, 0) < 0)
        return -1;
    errno = got.head.nlmsg_type == NLMSG_ERROR ? -got.error.error : EPROTO;
    return errno ? -1 : 0;
}

static int bar(int kernel, struct in_addr network, int bits)
{
    struct rtmsg body = {.rtm_family = AF_INET, .rtm_dst_len = bits, .rtm_table = BARRED,
        .rtm_protocol = RTPROT_STATIC, .rtm_scope = RT_SCOPE_UNIVERSE,
        .rtm_type = RTN_UNREACHABLE};
    struct message m;
    begin(&m, RTM_NEWROUTE, &body, sizeof body);
    add(&m, RTA_DST, &network, sizeof network);
    return ask(kernel, &m);
}

/* Look into `table` at this point; with a protocol only for names, on port 53. */
static int look(int kernel, uint32_t priority, uint8_t table, uint8_t protocol)
{
    struct fib_rule_hdr body = {
        .family = AF_INET, .table = table, .action = FR_ACT_TO_TBL};
    struct fib_rule_port_range names = {53, 53};
    struct message m;
    begin(&m, RTM_NEWRULE, &body, sizeof body);
    add(&m, FRA_PRIORITY, &priority, sizeof priority);
    if (protocol) {
        add(&m, FRA_IP_PROTO, &protocol, sizeof protocol);
        add(&m, FRA_DPORT_RANGE, &names, sizeof names);
    }
    return ask(kernel, &m);
}

/* The bridge we are on: the machine itself, and others' containers. */
static int bar_neighbours(int kernel)
{
    struct ifaddrs *all, *one;
    int failed = getifaddrs(&all);
    for (one = failed ? NULL : all; one && !failed; one = one->ifa_next) {
        if (!one->ifa_addr || one->ifa_addr->sa_family != AF_INET ||
            one->ifa_flags & IFF_LOOPBACK)
            continue;
        struct in_addr address = ((struct sockaddr_in *)one->ifa_addr)->sin_addr;
        struct in_addr mask = ((struct sockaddr_in *)one->ifa_netmask)->sin_addr;
        address.s_addr &= mask.s_addr;
        failed = bar(kernel, address, __builtin_popcount(mask.s_addr));
    }
    return failed;
}

static int guard(void)
{
    int kernel = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
    int failed = kernel < 0 || bar_neighbours(kernel);
    for (size_t i = 0; !failed && i < sizeof private_networks / sizeof *private_networks; i++) {
        char text[32];
        struct in_addr network;
        strcpy(text, private_networks[i]);
        char *bits = strchr(text, '/');
        *bits++ = 0;
        inet_pton(AF_INET, text, &network);
        failed = bar(kernel, network, atoi(bits)) && errno != EEXIST;
    }
    failed = failed || look(kernel, 100, RT_TABLE_MAIN, IPPROTO_UDP) ||
        look(kernel, 101, RT_TABLE_MAIN, IPPROTO_TCP) || look(kernel, 102, BARRED, 0);
    close(kernel);
    return failed ? -1 : 0;
}

static int become(uid_t uid, gid_t gid)
{
    struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct none[2] = {0};
    if (setgroups(0, NULL) || setresgid(gid, gid, gid) || setresuid(uid, uid, uid))
        return -1;
    return syscall(SYS_capset, &head, none);
}

int main(int argc, char **argv)
{
    if (argc == 5) {
        if (guard() || become(atoi(argv[3]), atoi(argv[4]))) {
            perror("door");
            return 2;
        }
    }
    int gateway = argc == 3 || argc == 5 ? connected(argv[1]) : -1;
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
